/* The Train tab: the advice with its reasons, the guide beside the choices, and why a choice is grey. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, make = S.make, word = S.word;
  S.say = (key, values) => word(key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));

  /* ---- advice ---- */
  const shown = (value) => (typeof value === "number" ? value.toLocaleString(S.language, { maximumSignificantDigits: 4 }) : value === true ? "✓" : String(value));
  W.advice = (element, data) => {
    if (!data || (!data.choices && !data.problem)) return element.replaceChildren();
    const told = JSON.stringify(data);
    if (element.dataset.told === told && element.firstChild) return; // what is open stays open
    element.dataset.told = told;
    const head = make("div", { class: "st-card-head" }, make("h3", {}, word("train_advice")), make("span", { class: "st-note" }, word(data.simple ? "train_advice_used" : "train_advice_free")));
    if (data.problem) return element.replaceChildren(make("div", { class: "st-card st-bad" }, head, make("p", {}, data.problem)));
    const open = element.querySelector("details")?.open;
    const valued = data.choices.filter((choice) => choice.key), hints = data.choices.filter((choice) => !choice.key);
    const chip = (choice) => make("span", { class: "st-chip", "data-key": choice.key, title: choice.reason }, make("em", {}, choice.title), make("b", {}, shown(choice.value)));
    const why = (choice) => [make("dt", {}, choice.title, choice.key ? make("b", {}, shown(choice.value)) : null),
      make("dd", {}, make("p", {}, choice.reason), choice.note ? make("p", { class: "st-today" }, make("b", {}, word("train_advice_note")), " ", choice.note) : null, make("small", {}, S.say("train_advice_section", { n: choice.section })))];
    element.replaceChildren(make("div", { class: "st-card" }, head,
      make("div", { class: "st-chips" }, ...valued.map(chip)),
      ...hints.map((hint) => make("p", { class: "st-note st-hint" }, hint.reason)),
      make("details", { class: "st-why", open }, make("summary", {}, word("train_advice_why")), make("dl", {}, ...valued.flatMap(why)))));
  };

  /* ---- a preset or the advice goes into the form, but for what the user changed while it was on its way ---- */
  let spent = "";
  S.carry = (carried, now) => {
    const { before, after, id } = JSON.parse(carried || "{}"), same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
    const METHODS = 3; // preset, objective, tuner: with another one chosen, this one is not wanted any more
    if (!after || id === spent) return now;
    spent = id;
    if (!same(before.slice(0, METHODS), now.slice(0, METHODS))) return now;
    return now.map((value, index) => (same(value, before[index]) ? after[index] : value));
  };

  /* ---- the guide ---- */
  let guide = null;
  const loadGuide = () => (guide ||= fetch("api/guide").then((response) => response.json()));
  W.guide = async (element, data, options) => {
    const topics = await loadGuide();
    element.replaceChildren(make("div", { class: "st-guides" }, ...options.topics.filter((name) => topics[name]).map((name) => topic(name, topics[name]))));
  };
  function topic(name, one) {
    const cell = (text) => make("td", {}, text);
    const table = make("div", { class: "st-guide-table" }, make("table", {}, make("thead", {}, make("tr", {}, ...one.columns.map((text) => make("th", {}, text)))),
      make("tbody", {}, ...one.rows.map((row) => make("tr", {}, ...row.map(cell))))));
    const today = one.today.map((text) => make("p", { class: "st-today" }, make("b", {}, `${word("guide_today")}:`), " ", text));
    return make("details", { class: "st-guide", "data-topic": name }, make("summary", {}, one.title), make("p", { class: "st-note" }, one.why), table, ...today, make("small", {}, S.say("train_advice_section", { n: one.section })));
  }

  /* ---- what is not possible is grey, with the reason; a grey choice cannot be chosen by mouse, finger or keyboard ---- */
  const menus = new Set(); // all that have ever had an impossible choice: one may have become possible
  S.impossible = {};
  S.greyOut = () => {
    for (const id of Object.keys(S.impossible)) menus.add(id);
    for (const id of menus) {
      for (const entry of document.querySelectorAll(`#${id} ul[role=listbox] li[data-index]`)) {
        const reason = (S.impossible[id] || {})[entry.dataset.index];
        entry.classList.toggle("st-impossible", Boolean(reason));
        if (reason) { entry.dataset.reason = reason; entry.setAttribute("aria-disabled", "true"); entry.title = reason; }
        else { delete entry.dataset.reason; entry.removeAttribute("aria-disabled"); entry.removeAttribute("title"); }
      }
    }
  };
  const brings = (node) => node.nodeType === 1 && (node.matches("ul.options, div.options, li[data-index]") || node.querySelector("li[data-index]"));
  new MutationObserver((changes) => { // while the user types, entries take other choices' places
    if (changes.some((change) => (change.type === "attributes" ? change.target.matches("li") : [...change.addedNodes].some(brings)))) S.greyOut();
  }).observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-index"] });
  for (const kind of ["mousedown", "pointerdown", "click", "touchstart"]) {
    document.addEventListener(kind, (event) => {
      if (event.target.closest?.("li.st-impossible")) { event.preventDefault(); event.stopPropagation(); }
    }, { capture: true, passive: false });
  }
  /* Gradio deals with a key some moments later: only then is it known which entry Enter would choose. */
  const SETTLED = 40; // milliseconds
  document.addEventListener("keydown", (event) => {
    const input = event.target, menu = event.key === "Enter" && event.isTrusted && [...menus].find((id) => input.closest?.(`#${id}`));
    if (!menu) return;
    event.preventDefault();
    event.stopPropagation();
    setTimeout(() => {
      const active = input.getAttribute("aria-activedescendant"); // none while the list is closed: nothing to choose
      const reason = active && (S.impossible[menu] || {})[active.split("-").at(-1)];
      if (reason) S.toast(reason, "bad");
      else if (active && document.activeElement === input) input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
    }, SETTLED);
  }, { capture: true });
})();
