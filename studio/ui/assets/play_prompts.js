/* The prompt list's table: prompts × models, filled as the answers come. All text goes in as text nodes. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, make = S.make, word = S.word, say = S.say;
  const named = new URLSearchParams(location.search).get("batch") || "";

  W.promptTable = (element, value) => {
    const id = value?.batch || (element.dataset.batch ? "" : named);
    if (!id) { if (!element.dataset.batch) element.replaceChildren(make("p", { class: "st-note" }, word("play_table_empty"))); return; }
    element.dataset.batch = id;
    S.address({ batch: id });
    follow(element, id);
  };
  async function follow(element, id) {
    let since = -1, table = null;
    const current = () => element.isConnected && element.dataset.batch === id;
    while (current()) {
      if (!document.hidden) {
        const response = await fetch(`api/playground/batches/${encodeURIComponent(id)}?since=${since}`);
        const told = await response.json();
        if (!current()) return;
        if (!response.ok) { // the studio was started anew
          S.address({ batch: null });
          return element.replaceChildren(make("p", { class: "st-note" }, `${told.error?.message || ""} ${told.error?.hint || ""}`));
        }
        table ||= frame(element, told);
        table.draw(told);
        since = told.since;
        if (!told.running) return;
      }
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
  function frame(element, first) {
    const base = `api/playground/batches/${encodeURIComponent(first.id)}`;
    const text = make("b", { role: "status" }), bar = make("i"), progress = make("span", { class: "st-progress large" }, bar);
    const cancel = make("button", { type: "button", class: "st-button danger", id: "cancel-prompts", onclick: () => { cancel.disabled = true; fetch(`${base}/cancel`, { method: "POST" }); } }, word("play_table_cancel"));
    const load = (ending) => make("a", { class: "st-button", href: `${base}/answers.${ending}`, download: `answers.${ending}` }, ending.toUpperCase());
    const body = make("tbody"), rows = new Map();
    const head = make("tr", {}, make("th", { scope: "col" }, word("play_table_prompt")), ...first.models.map((model) => make("th", { scope: "col" }, model.title)));
    element.replaceChildren(make("div", { class: "st-card" },
      make("div", { class: "st-card-head" }, text, cancel, load("csv"), load("jsonl")), progress,
      make("div", { class: "st-answers", tabindex: 0, role: "region", "aria-label": word("play_section_prompts") }, make("table", {}, make("thead", {}, head), body))));
    const draw = (told) => {
      text.textContent = say(told.cancelled && !told.running ? "play_table_cancelled" : "play_table_progress", { done: S.number(told.done), of: S.number(told.of) });
      bar.style.width = `${told.of ? (100 * told.done) / told.of : 0}%`;
      cancel.style.display = told.running ? "" : "none";
      for (const row of told.rows) {
        const line = rows.get(row.row) || make("tr", {}, make("th", { scope: "row" }, row.prompt), ...first.models.map(() => make("td")));
        if (!rows.has(row.row)) { rows.set(row.row, line); body.append(line); }
        row.cells.forEach((cell, index) => { const place = line.children[index + 1]; if (cell && !place.firstChild) place.append(...shown(cell)); });
      }
    };
    return { draw };
  }
  function shown(cell) {
    if (cell.error) return [make("em", { class: "bad" }, cell.error)];
    const facts = [cell.tokens === null ? null : say("play_tokens", { n: S.number(cell.tokens) }), cell.finish === "length" ? word("play_finish_length") : null].filter(Boolean).join(" · ");
    const thought = cell.thought ? make("details", { class: "st-thought" }, make("summary", {}, word("play_thinking")), make("div", {}, cell.thought)) : null;
    return [...(thought ? [thought] : []), make("div", {}, cell.text || "…"), make("small", { class: cell.finish === "length" ? "st-finish length" : null }, facts)];
  }
})();
