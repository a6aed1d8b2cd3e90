/* The Data tab: one room that shows an import, or a data set with its views. It asks /api/datasets; text stays text. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, make = S.make, word = S.word;
  const D = (S.data = {
    id: "", // the data set that is shown
    about: null, // its record and what the steps leave of it
    views: {}, // name → function(panel)
    look: { model: "starter", template: "model", max_length: 512 }, // with what it is audited
    touched: {}, // what of it the user chose: "Train on this" takes it along
  });

  /* ---- words and elements ---- */
  D.say = (key, values) => word(key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
  /** A share in words: what is not nothing, or not everything, never looks like it. */
  D.percent = (share) => {
    if (share > 0 && share < 0.001) return "< 0.1 %";
    if (share < 1 && share > 0.999) return "> 99.9 %";
    return `${S.number(100 * share, (share > 0 && share < 0.1) || (share > 0.99 && share < 1) ? 1 : 0)} %`;
  };
  D.button = (text, run, kind = "", more = {}) => make("button", { type: "button", class: `st-button small ${kind}`, onclick: run, ...more }, text);
  D.link = (text, run, more = {}) => make("button", { type: "button", class: "st-link", onclick: run, ...more }, text);
  D.field = (label, control, classes = "") => make("label", { class: `st-field ${classes}` }, make("span", {}, label), control);
  D.select = (choices, value, run, more = {}) => {
    const menu = make("select", { class: "st-input", onchange: () => run(menu.value), ...more }, ...choices.map(([name, title]) => make("option", { value: name }, title)));
    menu.value = value;
    return menu;
  };
  D.bar = (share, unknown = false) => make("div", { class: `st-progress large${unknown ? " unknown" : ""}`, role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * share) }, make("i", { style: `width:${unknown ? 100 : Math.max(1, 100 * share)}%` }));
  D.place = (problem) => ["row", "line", "column"].filter((name) => problem[name]).map((name) => `${word(name)} ${problem[name]}`).join(" · ");
  D.problems = (list) => make("ul", { class: "st-problems" }, ...list.map((one) => make("li", {}, make("b", {}, D.place(one)), make("span", {}, one.message), make("em", {}, one.hint))));
  D.trouble = (error, ...more) => make("div", { class: "st-card st-bad", role: "alert" }, make("b", {}, error.message), error.hint ? make("p", { class: "st-note" }, error.hint) : null, ...more);

  /* ---- asking ---- */
  class Refused extends Error {
    constructor(message, hint = "", status = 0) { super(message); this.hint = hint; this.status = status; }
  }
  async function ask(path, options) {
    let response, body = null;
    try {
      response = await fetch(`api/datasets/${path}`, options);
      body = await response.json();
    } catch (error) {
      if (!response || response.ok) throw new Refused(word("data_no_answer"));
    }
    if (response.status === 401) location.reload();
    if (response.ok) return body;
    throw new Refused(body?.error?.message || word("data_not_understood"), body?.error?.hint, response.status);
  }
  D.get = (path, query) => ask(query ? `${path}?${new URLSearchParams(query)}` : path);
  D.post = (path, body = {}) => ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  /** A handler whose refusal becomes a toast. */
  D.loud = (run) => async (...given) => {
    try { return await run(...given); }
    catch (error) {
      if (!(error instanceof Refused)) throw error;
      S.toast([error.message, error.hint].filter(Boolean).join(" "), "bad");
    }
  };
  /** What of `look` the user chose by hand. */
  D.changed = () => ({ ...D.touched });
  D.isRefusal = (error) => error instanceof Refused;
  let menus = null;
  D.menus = () => (menus ||= D.get("menus"));

  /** Draw a task until it has ended, twice a second, not while the page is hidden; returns what stops that. */
  D.follow = (task, draw) => {
    let stopped = false, timer = 0;
    const look = async () => {
      if (stopped) return;
      if (!document.hidden) {
        let view;
        try { view = await D.get(`tasks/${encodeURIComponent(task)}`); }
        catch (error) {
          if (!D.isRefusal(error)) throw error;
          if (error.status) view = { state: "failed", error: { message: error.message, hint: error.hint } };
        }
        if (stopped) return;
        if (view) draw(view);
        if (view && view.state !== "running") return;
      }
      timer = setTimeout(look, 500);
    };
    look();
    return () => { stopped = true; clearTimeout(timer); };
  };

  /* ---- the room ---- */
  const root = make("div", { class: "st-stack st-data" });
  D.root = root;
  D.importing = ""; // the task that is shown, "upload" before there is one
  D.expected = ""; // the data set that an import has made and the menu is about to choose
  D.shows = (task) => {
    D.importing = task;
    D.expected = "";
    document.body.toggleAttribute("data-importing", Boolean(task)); // hides "Train on this": it would mean another set
  };
  let first = true;
  W.dataset = (element, value) => {
    if (root.parentNode !== element) element.replaceChildren(root);
    if (value?.task) return D.followImport(value.task);
    if (value?.refused) return D.refused({ errors: [value.refused] });
    if (value?.dataset) {
      const opening = first; // the page has just opened, and its first choice comes after what the user did since
      first = false;
      return opening && D.importing && value.dataset !== D.expected ? void (D.id = value.dataset) : D.open(value.dataset);
    }
    D.id = "";
    if (!D.importing) D.leave();
  };
  W.dataMessenger = (element, value, options, trigger) => { D.arrived = (id) => trigger(options.event, { dataset: id }); };

  /** Back from an import to the data set that was chosen, or to the empty room. */
  D.leave = () => {
    D.shows("");
    if (D.id) return D.open(D.id);
    if (!first) S.address({ dataset: "" }); // a page that opens is about to read there which one to show
    root.replaceChildren(S.empty(word("data_empty_title"), word("data_empty_text")));
  };
  D.open = async (id) => {
    D.shows("");
    D.id = id;
    S.address({ dataset: id });
    root.replaceChildren(make("div", { class: "st-loading" }));
    try { D.about = await D.get(id); }
    catch (error) {
      if (!D.isRefusal(error)) throw error;
      if (id === D.id) root.replaceChildren(D.trouble(error, D.button(word("data_again"), () => D.open(id))));
      return;
    }
    if (id === D.id && !D.importing) draw();
  };
  /** After a step: the header again, and whoever shows rows. */
  D.refresh = async (current) => {
    D.about.current = current;
    S.emit("data-current", current);
  };

  function draw() {
    const { record } = D.about, changer = make("div", { hidden: true });
    const panels = {}, buttons = {};
    const show = (name) => {
      for (const [other, button] of Object.entries(buttons)) {
        button.setAttribute("aria-selected", other === name);
        button.tabIndex = other === name ? 0 : -1;
        panels[other].hidden = other !== name;
      }
      if (!panels[name].childElementCount) D.views[name](panels[name]);
      S.emit("data-view", name);
    };
    D.show = show;
    for (const name of ["learn", "rows", "keep"]) {
      panels[name] = make("div", { class: "st-stack", role: "tabpanel", id: { learn: "learned", rows: "rows", keep: "keep" }[name], hidden: true, "aria-label": word(`data_view_${name}`) });
      buttons[name] = make("button", { type: "button", role: "tab", class: "st-tab", "data-view": name, onclick: () => show(name) }, word(`data_view_${name}`));
    }
    const tabs = make("div", { class: "st-tabs", role: "tablist", onkeydown: (event) => turn(event, Object.values(buttons)) }, ...Object.values(buttons));
    const parts = [head(record), figures(record, changer), changer];
    if (record.dropped_rows.length) parts.push(make("p", { class: "st-note" }, D.say("data_left_out_note", { n: S.number(record.dropped_rows.length), rows: spans(record.dropped_rows) })));
    if (record.warnings.length) parts.push(make("details", { class: "st-card st-warn" }, make("summary", {}, `${word("data_warnings")} (${S.number(record.warnings.length)})`), D.problems(record.warnings)));
    root.replaceChildren(...parts, tabs, ...Object.values(panels));
    show("learn");
  }
  function turn(event, buttons) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  }
  function spans(numbers) {
    const shown = numbers.slice(0, 12).join(", ");
    return numbers.length > 12 ? `${shown} …` : shown;
  }
  function head(record) {
    const about = [record.source_name, record.kind, record.encoding, new Date(record.created).toLocaleString(S.language)].filter(Boolean);
    return make("div", { class: "st-data-head" }, make("h2", {}, record.name), make("p", {}, about.join(" · ")),
      D.about.origin?.made_from === "arena" ? make("p", { id: "made-from" }, D.say("data_made_from_arena", { n: S.number(D.about.origin.rounds.length) })) : null);
  }

  /** The cards above the views; those about tokens are filled in when an audit is there. */
  function figures(record, changer) {
    const statistics = record.statistics, asked = S.number(statistics.prompt_characters_median), answered = S.number(statistics.answer_characters_median);
    const rows = S.kpi(word("kpi_rows"), ""), learned = S.kpi(word("kpi_learned"), "–"), length = S.kpi(word("kpi_length"), `${asked} + ${answered}`, word("kpi_characters"));
    const format = S.kpi(word("kpi_format"), D.about.title, record.reason);
    format.querySelector("span").append(" ", D.link(word("data_change"), () => D.changeFormat(changer), { id: "change-format" }));
    const set = (card, value, note) => {
      card.children[1].textContent = value;
      card.children[1].className = "";
      card.children[2].textContent = card.title = note;
    };
    const count = (current) => {
      const gone = record.rows - current.rows;
      set(rows, S.number(current.rows), gone ? D.say("data_of_rows", { n: S.number(record.rows), gone: S.number(gone) }) : word("data_all_rows"));
    };
    const grid = make("div", { class: "st-kpis k5" }, rows, format, S.kpi(word("kpi_type"), word(`type_${record.dataset_type}`), D.say("data_turns", { n: S.number(statistics.turns_median ?? 1) })), learned, length);
    count(D.about.current);
    S.on("data-current", grid, count);
    S.on("data-report", grid, ({ tokens }) => {
      if (!tokens?.sequences) return set(learned, "–", "");
      set(learned, D.percent(tokens.learned_share), word("kpi_of_tokens"));
      set(length, S.number(tokens.quantiles.p50 ?? 0), D.say("kpi_tokens_note", { p95: S.number(tokens.quantiles.p95 ?? 0) }));
    });
    return grid;
  }

  /* ---- download and delete ---- */
  D.views.keep = (panel) => {
    const card = (title, text, ...actions) => make("div", { class: "st-card" }, make("h3", {}, title), make("p", { class: "st-note" }, text), make("div", { class: "st-actions flat" }, ...actions));
    const fetching = (ending, text, kind = "") => make("a", { class: `st-button small ${kind}`, href: `api/datasets/${D.id}/cleaned.${ending}`, download: true, id: `download-${ending}` }, text);
    panel.replaceChildren(
      card(word("data_download"), word("data_download_text"), fetching("jsonl", word("data_download_jsonl"), "primary"), fetching("csv", word("data_download_csv"))),
      card(word("data_delete"), word("data_delete_text"), D.button(word("data_delete"), D.loud(remove), "danger", { id: "delete-dataset" })));
  };
  async function remove() {
    if (!confirm(D.say("data_delete_sure", { name: D.about.record.name }))) return;
    await D.post(`${D.id}/delete`);
    S.toast(word("data_deleted"));
    D.id = "";
    D.leave();
    D.arrived("");
  }
})();
