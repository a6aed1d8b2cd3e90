/* The Memory tab: a form that asks /api/memory as you type, and who draws the answer. All text goes in as text nodes. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, make = S.make, word = S.word;
  const M = (S.memory = { views: [], menus: null, answer: null, asked: 0, milliseconds: [] });
  const START = { model: "meta-llama/Llama-2-7b-hf", card: "RTX 4090", tuner: "lora", quantization: "none", r: 16, target_modules: "all-linear", lora_dropout: 0, batch: 4, length: 2048, checkpointing: true, optim: "adamw_torch", objective: "sft", dtype: "bfloat16", accumulation: 1, loss: "fused", padded: true, attention: "sdpa", reference: "adapter", cards: 1, sharding: "none", supervised_share: 1, double_quant: true, autocast: true, reward_model: false };
  const LORA = ["lora", "adalora", "shira"];
  M.form = { ...START };
  M.extra = {}; // options of the tuner that the form does not show
  M.data = null; // the data set or the planned job whose tokens are known: {name, tokens}

  M.gib = (bytes, digits = 1) => `${S.number(bytes / 1073741824, digits)}\u00a0GiB`;
  /** A count of weights, short: 70.6 B. */
  M.count = (number) => {
    const [size, unit] = number >= 1e9 ? [1e9, " B"] : number >= 1e6 ? [1e6, " M"] : [1, ""];
    return number === null ? "–" : S.number(number / size, unit ? 1 : 0) + unit;
  };
  M.say = (key, values) => word(key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
  M.percent = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${S.number(Math.abs(100 * share))}\u00a0%`;

  /** The form as the server wants it. */
  M.wish = () => {
    const { r, target_modules, lora_dropout, ...rest } = M.form;
    const rank = M.form.tuner === "adalora" ? { init_r: r } : { r };
    return { ...rest, options: { ...(LORA.includes(M.form.tuner) ? { ...rank, target_modules, lora_dropout } : {}), ...M.extra } };
  };
  /** The address says what the form does, so that it can be kept and sent. */
  const told = () => {
    const { options, ...rest } = M.wish();
    const changes = Object.fromEntries(Object.entries(rest).filter(([name, value]) => value !== START[name]));
    const same = !Object.keys(changes).length && !Object.keys(M.extra).length && ["r", "target_modules", "lora_dropout"].every((name) => M.form[name] === START[name]);
    if (S.tab() === "memory") S.address({ memory: same ? null : JSON.stringify({ ...changes, options, ...(M.data ? { data: M.data } : {}) }) });
  };
  async function post(path, body) {
    const response = await fetch(`api/memory${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    if (response.status === 401) location.reload();
    const answer = await response.json();
    if (response.ok) return answer;
    throw new Error([answer.error?.message || word("data_not_understood"), answer.error?.hint].filter(Boolean).join(" "));
  }
  /** The simulation of the form; where it is believed, its numbers take the formula's place until the form changes. */
  M.simulate = async () => {
    const before = M.answer, found = await post("/simulate", M.wish());
    if (found.shown && M.answer === before && !busy) {
      M.answer = { knobs: [], table: [], free: null, jobs: 0, ...before, ways: [], ...found.shown, simulated: true, unknown: "" };
      for (const view of M.views) view();
    }
    return found;
  };

  /* One question at a time; what changed meanwhile is asked when the answer is there, so that the last one wins. */
  let busy = false, again = false;
  M.ask = async () => {
    if (busy) { again = true; return; }
    busy = true;
    const began = performance.now();
    try { M.answer = await post("", M.wish()); M.trouble = ""; }
    catch (error) { M.answer = null; M.trouble = error.message; }
    M.milliseconds.push(performance.now() - began);
    busy = false;
    if (again) { again = false; M.ask(); return; }
    told();
    for (const view of M.views) view();
    document.getElementById("memory")?.setAttribute("data-answers", ++M.asked);
  };

  /** Take changes over, as one of the knobs or a figure of the document offers them, and ask. */
  M.apply = (changes) => {
    const { options = null, ...rest } = changes;
    for (const name of invalid) controls[name].value = M.form[name];
    for (const name of invalid) controls[name].setAttribute("aria-invalid", "false");
    invalid.clear();
    document.querySelector("#memory .st-memory-answer")?.classList.remove("stale");
    Object.assign(M.form, rest);
    if (options) {
      const { r, init_r, target_modules, lora_dropout, ...extra } = options;
      Object.assign(M.form, { r: r ?? init_r ?? M.form.r, target_modules: target_modules ?? "all-linear", lora_dropout: lora_dropout ?? 0 });
      M.extra = extra;
    }
    fill();
    M.ask();
  };
  M.reset = (changes) => {
    M.form = { ...START, card: M.form.card };
    M.extra = {};
    M.data = changes.data?.tokens > 0 ? { name: String(changes.data.name || ""), tokens: Number(changes.data.tokens) } : null;
    if (picker) picker.value = "";
    M.apply(Object.fromEntries(Object.entries(changes).filter(([name]) => name in START || name === "options")));
  };

  /** Open the tab with these settings, as the Train tab's plan has them. */
  M.open = (wish) => {
    const { card, ...rest } = wish;
    const settings = card ? wish : rest;
    S.openTab("memory");
    S.address({ tab: "memory", memory: JSON.stringify(settings) });
    if (M.menus) M.reset(settings);
  };
  M.address = (wish) => `?tab=memory&memory=${encodeURIComponent(JSON.stringify(wish))}`;

  /* ---- the form ---- */
  let picker = null;
  const controls = {}, invalid = new Set();
  const field = (name, control, classes = "") => {
    controls[name] = control;
    control.id = `memory-${name}`;
    const show = word(`memory_${name}`);
    return make("label", { class: `st-field ${classes}`, "data-field": name }, make("span", {}, show), control);
  };
  const changed = (name, read) => (event) => {
    const value = read(event.target);
    invalid[value === null ? "add" : "delete"](name);
    event.target.setAttribute("aria-invalid", String(value === null));
    document.querySelector("#memory .st-memory-answer")?.classList.toggle("stale", invalid.size > 0);
    if (value === null) return;
    M.form[name] = value;
    tidy(name);
    M.ask();
  };
  const select = (name, choices) => {
    const menu = make("select", { class: "st-input", onchange: changed(name, (one) => one.value) }, ...choices.map(([value, title]) => make("option", { value }, title)));
    return field(name, menu);
  };
  const number = (name, least, most, step = 1) => field(name, make("input", { class: "st-input", type: "number", min: least, max: most, step,
    oninput: changed(name, (one) => (one.value !== "" && Number(one.value) >= least && Number(one.value) <= most ? Number(one.value) : null)) }));
  const check = (name) => field(name, make("input", { type: "checkbox", onchange: changed(name, (one) => one.checked) }), "check");
  const titled = (group, names) => names.map((name) => [name, word(`memory_${group}.${name}`)]);

  function model(menus) {
    const input = make("input", { class: "st-input", list: "memory-models", autocomplete: "off", spellcheck: "false", onchange: changed("model", (one) => one.value.trim() || null), onfocus: (event) => event.target.select() });
    const list = make("datalist", { id: "memory-models" }, ...menus.models.map((one) => make("option", { value: one.name }, one.parameters ? `${S.number(one.parameters / 1e9, 1)} B` : "")));
    return [field("model", input, "wide"), list];
  }
  function card(menus) {
    const kinds = [...new Set(menus.cards.map((one) => one.kind))];
    const menu = make("select", { class: "st-input", onchange: changed("card", (one) => one.value) },
      ...kinds.map((kind) => make("optgroup", { label: word(`memory_kind.${kind.replace(" ", "_")}`) },
        ...menus.cards.filter((one) => one.kind === kind).map((one) => make("option", { value: one.name }, `${one.name} · ${S.number(one.usable / 1073741824, 1)} GiB${one.free === null ? "" : ` (${M.gib(one.free)} ${word("memory_free")})`}`)))));
    return field("card", menu, "wide");
  }
  /** One click: the longest example and the learned share of a data set, as its audit knows them. */
  function dataset(menus) {
    const note = make("p", { class: "st-note wide", id: "memory-dataset-note", "aria-live": "polite" });
    picker = make("select", { class: "st-input", id: "memory-dataset", onchange: async () => {
      const chosen = menus.datasets.find((one) => one.id === picker.value);
      note.textContent = "";
      M.data = null;
      if (!chosen) return M.apply({ supervised_share: 1 });
      const response = await fetch(`api/memory/datasets/${encodeURIComponent(chosen.id)}?model=${encodeURIComponent(M.form.model)}`);
      const answer = await response.json();
      if (!response.ok) { note.textContent = [answer.error?.message, answer.error?.hint].filter(Boolean).join(" "); return; }
      const said = { longest: S.number(answer.longest), share: S.number(100 * answer.learned), by: answer.by };
      note.textContent = M.say(answer.own ? "memory_dataset_filled" : "memory_dataset_nearly", said);
      M.data = { name: chosen.name, tokens: Math.round(answer.tokens * chosen.rows) };
      M.apply({ length: answer.longest, supervised_share: Math.round(1000 * answer.learned) / 1000 });
    } }, make("option", { value: "" }, word("memory_dataset_none")), ...menus.datasets.map((one) => make("option", { value: one.id }, `${one.name} · ${S.number(one.rows)}`)));
    return menus.datasets.length ? [make("label", { class: "st-field wide" }, make("span", {}, word("memory_dataset")), picker), note] : [];
  }
  function form(menus) {
    return make("div", { class: "st-card st-memory-form" },
      make("div", { class: "st-fields" }, ...model(menus), card(menus), ...dataset(menus),
        select("tuner", menus.tuners.map((name) => [name, word(`memory_tuner.${name}`)])), select("quantization", titled("quantization", ["none", "int8", "nf4"])),
        number("r", 1, 1024), select("target_modules", titled("targets", ["all-linear", "attention", "q_v"])),
        number("batch", 1, 4096), number("length", 1, 1048576), check("checkpointing"), check("padded")),
      make("details", {}, make("summary", {}, word("memory_more")),
        make("div", { class: "st-fields" }, select("objective", menus.objectives.map((name) => [name, name.toUpperCase()])), select("optim", menus.optimizers.map((name) => [name, name])),
          select("dtype", [["bfloat16", "bfloat16"], ["float16", "float16"], ["float32", "float32"]]), number("accumulation", 1, 4096),
          number("supervised_share", 0.001, 1, 0.001), number("lora_dropout", 0, 0.9, 0.05), select("loss", titled("loss", ["fused", "full"])), select("attention", [["sdpa", "sdpa"], ["eager", "eager"]]),
          select("reference", titled("reference", ["adapter", "model", "precomputed"])), number("cards", 1, 1024), select("sharding", titled("sharding", ["none", "ddp", "zero2", "zero3", "fsdp"])))));
  }
  /** What cannot go together follows the last choice. */
  function tidy(name) {
    const full = ["full", "partial"].includes(M.form.tuner);
    if (name === "tuner") M.extra = {};
    if (full && M.form.quantization !== "none") {
      if (name === "quantization") M.form.tuner = "lora"; else M.form.quantization = "none";
    }
    if (M.form.cards > 1 && M.form.sharding === "none") M.form.sharding = "ddp";
    fill();
  }
  function fill() {
    for (const [name, control] of Object.entries(controls)) {
      if (control.type === "checkbox") control.checked = M.form[name];
      else if (document.activeElement !== control || control.value === "") control.value = M.form[name];
    }
    const hidden = { r: !LORA.includes(M.form.tuner), target_modules: !LORA.includes(M.form.tuner), lora_dropout: !LORA.includes(M.form.tuner), reference: !["dpo", "kto", "ppo", "grpo", "rloo"].includes(M.form.objective) };
    for (const [name, hide] of Object.entries(hidden)) controls[name].closest("label").hidden = hide;
  }

  W.memory = async (element) => {
    element.replaceChildren(make("div", { class: "st-loading" }));
    const response = await fetch("api/memory/menus");
    if (!response.ok) return element.replaceChildren(S.empty(word("memory_title"), word("data_no_answer")));
    M.menus = await response.json();
    invalid.clear();
    if (M.menus.cards[0].free !== null) M.form.card = M.menus.cards[0].name;
    M.views = [];
    element.replaceChildren(make("div", { class: "st-memory" }, make("div", { class: "st-memory-side" }, form(M.menus)), make("div", { class: "st-stack st-memory-answer" }, ...M.parts())));
    fill();
    const given = new URL(location.href).searchParams.get("memory");
    if (!given) return M.ask();
    try { M.reset(JSON.parse(given)); } catch (error) { S.toast(word("memory_address"), "bad"); M.ask(); }
  };
})();
