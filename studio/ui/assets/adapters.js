/* The Adapters tab: the list that its sections share, and the table of all adapters. It asks /api/adapters. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, make = S.make, word = S.word;
  const A = (S.adapters = {
    listing: null, // what /api/adapters said last
    chosen: [], // names of those to look into, in the order of choosing
  });

  /* ---- words, elements, asking ---- */
  A.say = (key, values) => word(key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
  A.button = (text, run, kind = "", more = {}) => make("button", { type: "button", class: `st-button small ${kind}`, onclick: run, ...more }, text);
  A.link = (text, run, more = {}) => make("button", { type: "button", class: "st-link", onclick: run, ...more }, text);
  A.field = (label, control, note = "") => make("label", { class: "st-field" }, make("span", {}, label), control, note ? make("small", { class: "st-note" }, note) : null);
  A.card = (title, id, ...children) => make("section", { class: "st-card st-adapters", id }, make("div", { class: "st-card-head" }, make("h3", {}, title)), ...children);
  A.bytes = (n) => (n < 1e6 ? `${S.number(Math.max(1, n / 1e3))} kB` : n < 1e9 ? `${S.number(n / 1e6, 1)} MB` : `${S.number(n / 1e9, 2)} GB`);
  A.base = (name) => (name === "starter" ? word("adapters_starter") : name.replace(/\/+$/, "").split("/").pop());
  A.tuner = (name) => (word(`tuner.${name}`) === `tuner.${name}` ? name : word(`tuner.${name}`));
  A.title = (entry) => (entry.step === null ? entry.title : `${entry.title} @ ${entry.step}`);
  /** {name: label}; where two labels are the same, the end of the id tells them apart. */
  A.apart = (entries, label) => {
    const shown = entries.map(label), repeated = (text) => shown.indexOf(text) !== shown.lastIndexOf(text);
    return Object.fromEntries(entries.map((entry, index) => [entry.name, repeated(shown[index]) ? `${shown[index]} · ${entry.name.split("@")[0].slice(-4)}` : shown[index]]));
  };
  A.trouble = (error, ...more) => make("div", { class: "st-card st-bad", role: "alert" }, make("b", {}, error.message), error.hint ? make("p", { class: "st-note" }, error.hint) : null, ...more);
  A.colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

  /** Plotly takes some HTML tags in texts for markup: none of ours has any. */
  A.plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  class Refused extends Error {
    constructor(message, hint = "") { super(message); this.hint = hint; }
  }
  A.ask = async (path, options) => {
    let response, body = null;
    try {
      response = await fetch(`api/adapters${path}`, options);
      body = await response.json();
    } catch (error) {
      if (!response || response.ok) throw new Refused(word("data_no_answer"));
    }
    if (response.status === 401) location.reload();
    if (response.ok) return body;
    throw new Refused(body?.error?.message || word("data_not_understood"), body?.error?.hint);
  };
  A.post = (path, body = {}) => A.ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  /** A handler whose refusal becomes a toast. */
  A.loud = (run) => async (...given) => {
    try { return await run(...given); }
    catch (error) {
      if (!(error instanceof Refused)) throw error;
      S.toast([error.message, error.hint].filter(Boolean).join(" "), "bad");
    }
  };
  /** Ask how far a task is twice a second until it has ended, not while the page is hidden; returns what stops that. */
  A.follow = (task, draw) => {
    let stopped = false;
    const look = async () => {
      if (stopped) return;
      if (!document.hidden) {
        let view;
        try { view = await A.ask(`/tasks/${encodeURIComponent(task)}`); }
        catch (error) {
          if (!(error instanceof Refused)) throw error;
          view = { state: "failed", error: { message: error.message, hint: error.hint } };
        }
        if (stopped) return;
        draw(view);
        if (view.state !== "running") return;
      }
      setTimeout(look, 500);
    };
    look();
    return () => { stopped = true; };
  };
  A.bar = (share) => make("div", { class: "st-progress large", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * share) }, make("i", { style: `width:${Math.max(1, 100 * share)}%` }));

  /* ---- the list that all sections share ---- */
  let reading = null, seen = "";
  A.refresh = () => (reading ||= A.ask("").then((listing) => {
    A.listing = listing;
    A.chosen = A.chosen.filter((name) => listing.adapters.some((one) => one.name === name));
    S.emit("adapters", listing);
  }).finally(() => { reading = null; }));
  /** Ask again when the tab opens, and when a job has ended since. */
  const look = A.loud(async () => {
    if (S.tab() !== "adapters") return;
    const now = S.list().map((job) => `${job.id}${job.status}`).join();
    if (A.listing && now === seen) return;
    seen = now;
    await A.refresh();
  });

  /* ---- the table ---- */
  W.adapterList = (element) => {
    let checkpoints = false;
    const draw = () => {
      const listing = A.listing;
      if (!listing) return element.replaceChildren(make("div", { class: "st-loading" }));
      const all = listing.adapters, broken = Object.entries(listing.unreadable);
      if (!all.length && !broken.length) {
        const empty = S.empty(word("adapters_empty_title"), word("adapters_empty_text"));
        empty.append(make("div", { class: "st-actions center" }, A.button(word("adapters_empty_train"), () => S.openTab("train"), "primary")));
        return element.replaceChildren(empty);
      }
      const kept = all.filter((entry) => entry.kind === "checkpoint").length;
      const shown = all.filter((entry) => checkpoints || entry.kind !== "checkpoint");
      const box = make("input", { type: "checkbox", id: "show-checkpoints", onchange: () => { checkpoints = box.checked; draw(); } });
      box.checked = checkpoints;
      const head = make("tr", {}, ...["name", "tuner", "base", "size", "origin", "made", "do"].map((key) => make("th", {}, word(`adapters_col_${key}`))));
      const body = [...shown.map(row), ...broken.map(damaged)];
      const card = A.card(word("adapters_title"), "adapter-shelf", make("div", { class: "st-scroll" }, make("table", { class: "st-shelf", id: "adapter-table" }, make("thead", {}, head), make("tbody", {}, ...body))));
      card.querySelector(".st-card-head").append(make("span", { class: "st-note" }, A.say("adapters_count", { n: S.number(shown.length) })), kept ? make("label", { class: "st-check" }, box, A.say("adapters_checkpoints", { n: S.number(kept) })) : "");
      element.replaceChildren(card);
    };
    S.on("adapters", element, draw);
    S.on("tab", element, look);
    S.on("jobs", element, look);
    draw();
    look();
  };
  function origin(entry) {
    if (entry.kind === "imported") return make("span", { title: entry.source }, word("adapters_kind_imported"), make("em", {}, ` ${entry.source}`));
    return A.link(word(`adapters_kind_${entry.kind}`), () => S.openJob(entry.job), { title: entry.job });
  }
  function row(entry) {
    const mine = entry.kind === "imported", made = new Date(entry.created);
    const buttons = [
      entry.speaks ? A.button(word("adapters_chat"), () => S.chatWith(entry.name), "", { "data-do": "chat" }) : make("span", { class: "st-note" }, word("adapters_gives_marks")),
      A.button(word("adapters_inspect"), () => A.inspect([entry.name]), "", { "data-do": "inspect" }),
      mine ? A.button(word("adapters_rename"), () => rename(entry), "quiet", { "data-do": "rename" }) : null,
      mine ? A.button(word("jobs_delete"), () => remove(entry.name, entry.title), "quiet", { "data-do": "delete" }) : null,
    ];
    return make("tr", { "data-adapter": entry.name }, make("td", {}, make("b", {}, A.title(entry)), make("small", {}, entry.name)), make("td", {}, A.tuner(entry.tuner)), make("td", { title: entry.base_model }, A.base(entry.base_model)), make("td", { class: "number" }, A.bytes(entry.bytes)), make("td", {}, origin(entry)), make("td", { class: "number" }, isNaN(made) ? "" : made.toLocaleString(S.language, { dateStyle: "short", timeStyle: "short" })), make("td", {}, make("div", { class: "st-row-actions" }, ...buttons)));
  }
  const damaged = ([id, why]) => make("tr", { "data-adapter": id }, make("td", {}, make("b", {}, id)), make("td", { colspan: 5, class: "bad" }, why), make("td", {}, A.button(word("jobs_delete"), () => remove(id, id), "quiet")));
  const rename = A.loud(async (entry) => {
    const name = prompt(word("adapters_rename_ask"), entry.title);
    if (name === null || name.trim() === entry.title) return;
    await A.post(`/${encodeURIComponent(entry.name)}/rename`, { name });
    await A.refresh();
  });
  const remove = A.loud(async (id, title) => {
    if (!confirm(A.say("adapters_delete_sure", { name: title }))) return;
    await A.post(`/${encodeURIComponent(id)}/delete`);
    S.toast(word("adapters_deleted"));
    await A.refresh();
  });
})();
