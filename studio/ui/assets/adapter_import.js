/* Bringing an adapter in: an upload, the Hub, a folder of the server; how far it is, and what became of it. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, A = S.adapters, make = S.make, word = S.word;
  const ENDINGS = ".zip,.safetensors,.json,.jinja,.txt";

  W.adapterImport = (element, value, options) => {
    const base = make("input", { class: "st-input", list: "import-bases", id: "import-base", placeholder: word("adapters_base_named"), autocomplete: "off", spellcheck: "false", maxlength: 400 });
    const known = make("datalist", { id: "import-bases" });
    const name = make("input", { class: "st-input", id: "import-name", placeholder: word("adapters_name_source"), autocomplete: "off", maxlength: 80 });
    const wish = () => ({ base: base.value.trim(), name: name.value.trim() });
    const state = make("div", { class: "st-stack", id: "import-state", "aria-live": "polite" });
    const sources = { upload: () => upload(wish, state), hub: () => hub(wish, state), ...(options.folders ? { folder: () => folder(wish, state) } : {}) };
    const body = make("div", { class: "st-import-source" }), buttons = {};
    const show = (chosen) => {
      for (const [other, button] of Object.entries(buttons)) button.setAttribute("aria-pressed", other === chosen);
      body.replaceChildren(sources[chosen]());
    };
    for (const one of Object.keys(sources)) buttons[one] = make("button", { type: "button", "data-source": one, onclick: () => show(one) }, word(`data_source_${one}`));
    element.replaceChildren(A.card(word("adapters_import"), "import-card", make("p", { class: "st-note" }, word("adapters_import_text")),
      make("div", { class: "st-import-grid" },
        make("div", { class: "st-stack" }, make("div", { class: "st-segments", role: "group", "aria-label": word("adapters_import") }, ...Object.values(buttons)), body),
        make("div", { class: "st-stack" }, A.field(word("adapters_base"), base, word("adapters_base_note")), known, A.field(word("adapters_name"), name))), state));
    S.on("adapters", element, (listing) => known.replaceChildren(...listing.bases.map((one) => make("option", { value: one.name }, one.title))));
    show("upload");
  };

  /* ---- sources ---- */
  function upload(wish, state) {
    const chosen = ({ target }) => { const found = A.withPaths(target.files); target.value = ""; begin(found); };
    const begin = (found) => {
      if (!found.length) return;
      const { files, name, key, values } = A.oneAdapter(found), wished = wish();
      if (key) return state.replaceChildren(A.trouble({ message: A.say(key, values || {}), hint: word("adapters_folder_hint") }));
      send(files, { ...wished, name: wished.name || name.slice(0, 80) }, state);
    };
    const input = make("input", { type: "file", multiple: true, accept: ENDINGS, id: "import-files", onchange: chosen });
    const folder = make("input", { type: "file", webkitdirectory: true, hidden: true, id: "import-directory", onchange: chosen });
    const zone = make("label", { class: "st-drop", for: "import-files" }, make("b", {}, word("adapters_drop")), make("span", {}, word("adapters_drop_text")), input);
    for (const event of ["dragover", "dragleave", "drop"]) zone.addEventListener(event, (happened) => {
      happened.preventDefault();
      zone.classList.toggle("over", event === "dragover");
      if (event === "drop") A.dropped(happened.dataTransfer).then(begin, () => state.replaceChildren(A.trouble({ message: word("adapters_folder_unread"), hint: word("adapters_folder_hint") })));
    });
    return make("div", { class: "st-stack" }, zone, make("div", { class: "st-actions flat" }, A.button(word("adapters_choose_folder"), () => folder.click(), "", { id: "import-choose-folder" })), folder);
  }
  function hub(wish, state) {
    const id = make("input", { class: "st-input", placeholder: "organisation/adapter", required: true, autocomplete: "off", spellcheck: "false", id: "import-hub-id" });
    const start = async (event) => {
      event.preventDefault();
      await started(() => A.post("/hub", { id: id.value.trim(), ...wish() }), state);
    };
    return make("form", { class: "st-import-hub", onsubmit: start }, A.field(word("adapters_hub_id"), id), make("button", { type: "submit", class: "st-button primary", id: "import-hub" }, word("data_fetch")));
  }
  function folder(wish, state) {
    const list = make("div", { class: "st-folder", id: "import-folder" });
    const open = A.loud(async (root, path) => {
      const found = await A.ask(`/folder?${new URLSearchParams({ root, path })}`);
      const entry = (icon, text, run, more = {}) => make("button", { type: "button", class: "st-folder-entry", onclick: run, ...more }, make("span", { "aria-hidden": "true" }, icon), make("b", {}, text));
      const below = (name) => (path ? `${path}/${name}` : name);
      const take = (place) => started(() => A.post("/folder", { root, path: place, ...wish() }), state);
      const roots = make("select", { class: "st-input", onchange: () => open(Number(roots.value), "") }, ...found.roots.map((name, index) => make("option", { value: index }, name)));
      roots.value = root;
      list.replaceChildren(...(found.roots.length > 1 ? [roots] : []), make("div", { class: "st-note" }, `${found.roots[root]}/${path}`),
        ...(path ? [entry("↑", "..", () => open(root, path.split("/").slice(0, -1).join("/")))] : []),
        ...(found.adapter ? [A.button(word("adapters_take_folder"), () => take(path), "primary", { id: "import-take" })] : []),
        ...found.folders.map((name) => entry("▸", name, () => open(root, below(name)))), ...found.zips.map((name) => entry("·", name, () => take(below(name)))),
        ...(found.folders.length + found.zips.length || found.adapter ? [] : [make("p", { class: "st-note" }, word("adapters_folder_empty"))]));
    });
    open(0, "");
    return list;
  }

  /* ---- under way ---- */
  const card = (title, ...parts) => make("div", { class: "st-card st-import" }, make("div", { class: "st-card-head" }, make("h3", {}, title)), ...parts);
  /** Upload files with their progress, then begin the import. */
  function send(files, wish, state) {
    const size = files.reduce((sum, file) => sum + file.size, 0), title = files.length > 1 ? `${files[0].name} + ${files.length - 1}` : files[0].name;
    const limit = A.listing?.limit ?? Infinity;
    if (size > limit) return state.replaceChildren(A.trouble({ message: A.say("adapters_too_large", { size: A.bytes(size), limit: A.bytes(limit) }), hint: word("adapters_too_large_hint") }));
    const form = new FormData(), request = new XMLHttpRequest(), bar = make("div"), told = make("div", { class: "st-import-known" });
    for (const file of files) form.append("files", file, file.name);
    const gone = () => state.replaceChildren(A.trouble({ message: word("adapters_upload_broke"), hint: word("adapters_upload_broke_hint") }));
    state.replaceChildren(card(A.say("data_uploading", { name: title }), bar, told, make("div", { class: "st-actions flat" }, A.button(word("data_cancel"), () => { request.abort(); state.replaceChildren(); }, "danger", { id: "import-cancel" }))));
    request.upload.onprogress = (event) => { bar.replaceChildren(A.bar(event.loaded / Math.max(1, event.total))); told.textContent = `${A.bytes(event.loaded)} / ${A.bytes(event.total)}`; };
    request.onerror = gone;
    request.onload = () => {
      if (request.status !== 200) return gone();
      started(() => A.post("/upload", { paths: JSON.parse(request.responseText), ...wish }), state);
    };
    request.open("POST", "gradio_api/upload");
    request.send(form);
  }
  async function started(begin, state) {
    try { follow((await begin()).task, state); }
    catch (error) {
      if (error.hint === undefined) throw error;
      state.replaceChildren(A.trouble(error));
    }
  }
  function follow(task, state) {
    const bar = make("div"), told = make("div", { class: "st-import-known" });
    const path = `/tasks/${encodeURIComponent(task)}`;
    state.replaceChildren(card(word("adapters_checking"), bar, told, make("div", { class: "st-actions flat" }, A.button(word("data_cancel"), A.loud(() => A.post(`${path}/cancel`)), "danger", { id: "import-cancel" }))));
    A.follow(task, (view) => {
      if (view.state === "cancelled") { S.toast(word("data_cancelled")); return state.replaceChildren(); }
      if (view.state === "failed") return refused(view.error, path, state);
      if (view.state === "done") return done(view.result, state);
      bar.replaceChildren(A.bar(view.progress));
      const phase = view.told.phase ? word(`adapters_phase_${view.told.phase}`) : "";
      told.textContent = [phase, view.told.bytes ? A.bytes(view.told.bytes) : ""].filter(Boolean).join(" · ");
    });
  }
  /** What is wrong; with another base the same files can be tried again. */
  function refused(error, path, state) {
    const again = A.button(word("adapters_again"), () => {
      const base = document.getElementById("import-base");
      if (!base.value.trim()) { base.focus(); return S.toast(word("adapters_base_first")); }
      return started(() => A.post(`${path}/again`, { base: base.value.trim() }), state);
    }, "", { id: "import-again" });
    state.replaceChildren(A.trouble(error, make("div", { class: "st-actions flat" }, again)));
  }
  function done(record, state) {
    const left = record.left_out.length ? make("p", { class: "st-note" }, A.say("adapters_left_out", { names: record.left_out.join(", ") })) : null;
    const tokenizer = make("p", { class: "st-note" }, word(`adapters_tokenizer_${record.tokenizer}`));
    state.replaceChildren(make("div", { class: "st-card st-fine", id: "import-done" }, make("b", {}, A.say("adapters_done", { name: record.name, tuner: A.tuner(record.tuner), base: A.base(record.base_model) })), tokenizer, left,
      make("div", { class: "st-actions flat" }, A.button(word("jobs_chat"), () => S.chatWith(record.id), "primary"), A.button(word("adapters_inspect"), () => A.inspect([record.id])))));
    A.loud(A.refresh)();
  }
})();
