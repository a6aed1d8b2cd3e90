/* Where data comes from, and what the page shows while a file is read or after it was refused. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, D = S.data, make = S.make, word = S.word;
  const bytes = (n) => (n < 1e6 ? `${S.number(Math.max(1, n / 1e3))} kB` : n < 1e9 ? `${S.number(n / 1e6, 1)} MB` : `${S.number(n / 1e9, 1)} GB`);

  /* ---- sources ---- */
  W.dataSources = (element, value, options) => {
    const sources = { upload: () => null, hub, paste, ...(options.folders ? { folder } : {}) };
    const body = make("div", { class: "st-source-body" }), buttons = {};
    const show = (name) => {
      for (const [other, button] of Object.entries(buttons)) button.setAttribute("aria-pressed", other === name);
      document.body.dataset.source = name;
      const form = sources[name]();
      body.replaceChildren(...(form ? [form] : []));
      body.hidden = !form;
    };
    for (const name of Object.keys(sources)) buttons[name] = make("button", { type: "button", "data-source": name, onclick: () => show(name) }, word(`data_source_${name}`));
    element.replaceChildren(make("div", { class: "st-segments", role: "group", "aria-label": word("data_sources") }, ...Object.values(buttons)), body);
    show("upload");
  };
  const send = (path, read) => D.loud(async (event) => {
    event.preventDefault();
    const button = event.target.querySelector("button[type=submit]");
    button.disabled = true;
    try { D.followImport((await D.post(path, read())).task); }
    finally { button.disabled = false; }
  });
  const submit = (text, id) => make("button", { type: "submit", class: "st-button primary", id }, text);

  function hub() {
    const id = make("input", { class: "st-input", placeholder: "organisation/name", required: true, autocomplete: "off", spellcheck: "false", id: "hub-id" });
    const subset = make("input", { class: "st-input", placeholder: word("data_hub_default"), autocomplete: "off", id: "hub-subset" });
    const split = make("input", { class: "st-input", value: "train", required: true, autocomplete: "off", id: "hub-split" });
    const limit = make("input", { class: "st-input", type: "number", min: 1, max: 10000000, value: 1000, required: true, id: "hub-limit" });
    const read = () => ({ id: id.value, subset: subset.value.trim(), split: split.value.trim(), limit: Number(limit.value) });
    return make("form", { class: "st-source", onsubmit: send("hub", read) }, D.field(word("data_hub_id"), id, "wide"), D.field(word("data_hub_subset"), subset), D.field(word("data_hub_split"), split),
      D.field(word("data_hub_limit"), limit), submit(word("data_fetch"), "hub-fetch"));
  }
  function paste() {
    const text = make("textarea", { class: "st-input", rows: 7, required: true, spellcheck: "false", placeholder: '{"prompt": "…", "completion": "…"}', id: "paste-text" });
    const kinds = [["", word("data_paste_auto")], [".jsonl", "JSON / JSON Lines"], [".csv", "CSV"], [".tsv", "TSV"], [".txt", word("data_paste_text")]];
    const kind = D.select(kinds, "", () => {}, { id: "paste-kind" });
    return make("form", { class: "st-source", onsubmit: send("paste", () => ({ text: text.value, kind: kind.value })) },
      D.field(word("data_paste"), text, "wide"), D.field(word("data_paste_kind"), kind), submit(word("data_read"), "paste-read"));
  }
  function folder() {
    const list = make("div", { class: "st-folder", id: "server-folder" });
    const open = D.loud(async (root, path) => {
      const found = await D.get("folder", { root, path });
      const up = path.split("/").slice(0, -1).join("/");
      const entry = (icon, text, note, run) => make("button", { type: "button", class: "st-folder-entry", onclick: run }, make("span", { "aria-hidden": "true" }, icon), make("b", {}, text), make("em", {}, note));
      const below = (name) => (path ? `${path}/${name}` : name);
      const roots = found.roots.length > 1 ? [D.select(found.roots.map((name, index) => [index, name]), root, (chosen) => open(Number(chosen), ""))] : [];
      list.replaceChildren(...roots, make("div", { class: "st-note" }, `${found.roots[root]}/${path}`),
        ...(path ? [entry("↑", "..", "", () => open(root, up))] : []),
        ...found.folders.map((name) => entry("▸", name, "", () => open(root, below(name)))),
        ...found.files.map((file) => entry("·", file.name, bytes(file.bytes), D.loud(async () => D.followImport((await D.post("file", { root, path: below(file.name) })).task)))),
        ...(found.folders.length + found.files.length ? [] : [make("p", { class: "st-note" }, word("data_folder_empty"))]),
        ...(found.more ? [make("p", { class: "st-note" }, D.say("data_more", { n: S.number(found.more) }))] : []));
    });
    open(0, "");
    return list;
  }

  /* ---- under way ---- */
  const card = (title, ...parts) => make("div", { class: "st-card st-import", "aria-live": "polite" }, make("div", { class: "st-card-head" }, make("h3", {}, title)), ...parts);
  const back = () => (D.id ? D.link(word("data_back"), D.leave) : null);
  /** From the moment that a file is chosen: what was shown before is not what will be. */
  function uploading(names) {
    D.shows("upload");
    D.root.replaceChildren(card(D.say("data_uploading", { name: names }), D.bar(0, true), make("div", { class: "st-actions flat" }, back())));
  }
  const named = (files) => (files.length > 1 ? `${files[0].name} + ${files.length - 1}` : files[0]?.name || "");
  document.addEventListener("change", (event) => {
    if (event.target.matches?.("#upload input[type=file]") && event.target.files.length) uploading(named(event.target.files));
  }, true);
  document.addEventListener("drop", (event) => {
    if (event.target.closest?.("#upload") && event.dataTransfer?.files.length) uploading(named(event.dataTransfer.files));
  }, true);

  D.followImport = (task) => {
    D.shows(task);
    const title = make("h3", {}, word("data_reading")), bar = make("div"), known = make("div", { class: "st-import-known" }), first = make("div", { class: "st-stack" });
    const cancel = D.button(word("data_cancel"), D.loud(() => D.post(`tasks/${encodeURIComponent(task)}/cancel`)), "danger", { id: "import-cancel" });
    D.root.replaceChildren(make("div", { class: "st-card st-import" }, make("div", { class: "st-card-head" }, title), bar, known, make("div", { class: "st-actions flat" }, cancel)), first);
    let shown = "";
    D.follow(task, (view) => {
      if (D.importing !== task) return behind(view);
      if (view.state === "cancelled") { S.toast(word("data_cancelled")); return D.leave(); }
      if (view.state === "failed") return D.refused({ task, name: view.name, errors: [view.error] });
      if (view.state === "done") return done(task, view);
      title.textContent = `${word("data_reading")} ${view.name || ""}`;
      bar.replaceChildren(D.bar(view.progress, !view.progress));
      const told = view.told || {};
      known.textContent = [told.format, told.rows ? D.say("data_rows_so_far", { n: S.number(told.rows) }) : "", view.progress ? D.percent(view.progress) : "", told.reason].filter(Boolean).join(" · ");
      const examples = told.examples || [];
      if (examples.length && shown !== task) {
        shown = task;
        first.replaceChildren(make("h3", { class: "st-heading" }, word("data_first_examples")), ...examples.slice(0, 3).map((example) => make("div", { class: "st-card" }, D.bubbles(example))));
      }
    });
  };
  /** The user looks at something else by now: what came is told, and stands in the menu. */
  function behind({ state, name, result }) {
    if (state !== "done" && state !== "failed") return;
    if (!result?.record) return S.toast(D.say("data_refused_behind", { name }), "bad");
    S.toast(D.say("data_ready_behind", { name: result.record.name }));
    D.arrived(D.id);
  }
  function done(task, { name, result: verdict }) {
    if (!verdict.record) return D.refused({ ...verdict, task, name });
    D.expected = verdict.record.id;
    D.arrived(verdict.record.id); // the menu chooses it, and its change opens it here
  }

  /* ---- refused ---- */
  D.refused = (verdict) => {
    D.shows(verdict.task || "refused");
    const { task, name, errors = [], encodings = [], columns = [], suggestion } = verdict;
    const way = verdict.can_drop ? "drop" : encodings.length ? "encoding" : suggestion ? "map" : "hint";
    // The encodings stand below with samples: no need to name them in every line.
    const told = encodings.length ? errors.slice(0, 5).map((one) => ({ ...one, hint: "" })) : errors;
    const again = D.loud(async (changes) => D.followImport((await D.post(`tasks/${encodeURIComponent(task)}/again`, changes)).task));
    const parts = [make("div", { class: "st-card st-bad", role: "alert" }, make("h3", {}, word("data_refused") + (name ? `: ${name}` : "")), D.problems(told),
      make("p", { class: "st-note" }, word(`data_refused_${way}`)),
      make("div", { class: "st-actions flat" }, verdict.can_drop ? D.button(word("data_drop_bad"), () => again({ drop_bad_rows: true }), "primary", { id: "drop-bad" }) : null, back()))];
    if (encodings.length) parts.push(choices(encodings, (encoding) => again({ encoding })));
    const rows = verdict.first_rows || [];
    if (task && columns.length) {
      const editor = D.mappingEditor({ columns, rows, suggestion, title: word(suggestion ? "data_map_title" : "data_map_other"), use: (mapping) => again(mapping) });
      parts.push(verdict.can_drop ? folded(word("data_map_other"), editor) : editor);
    }
    D.root.replaceChildren(...parts);
  };
  const folded = (title, content) => make("details", { class: "st-folded" }, make("summary", {}, title), content);
  function choices(encodings, use) {
    return make("div", { class: "st-card", id: "encodings" }, make("h3", {}, word("data_encoding_title")), make("p", { class: "st-note" }, word("data_encoding_text")),
      make("div", { class: "st-encodings" }, ...encodings.map(([name, sample]) => make("button", { type: "button", class: "st-encoding", "data-encoding": name, onclick: () => use(name) }, make("b", {}, name), make("span", {}, sample)))));
  }
})();
