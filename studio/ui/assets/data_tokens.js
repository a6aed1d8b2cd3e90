/* Examples as people read them (conversations) and as the model does: token by token, what is learned in colour. */
(function () {
  "use strict";
  const S = window.Studio, D = S.data, make = S.make, word = S.word;
  const SPECIAL = /^(<\|[^|>]*\|>|<｜[^｜>]*｜>|<\/?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>|\[\/?INST\]|<\/?think>|<\/?tool_call>)$/;
  const MOST_TOKENS = 3000; // pieces of one sequence that are put on the page before somebody asks for the rest
  const LONGEST = 4000; // characters of one message, likewise

  /* ---- conversations ---- */
  const long = (text) => {
    if (text.length <= LONGEST) return [text];
    const rest = make("span", {}, " … ", D.link(D.say("data_show_rest", { n: S.number(text.length - LONGEST) }), () => rest.replaceWith(text.slice(LONGEST))));
    return [text.slice(0, LONGEST), rest];
  };
  const code = (value) => make("pre", { class: "st-code" }, ...long(typeof value === "string" ? value : JSON.stringify(value, null, 2)));
  function bubble(message, badge) {
    const parts = [];
    if (message.reasoning_content) parts.push(make("details", { class: "st-reasoning" }, make("summary", {}, word("data_reasoning")), make("div", { class: "st-text" }, ...long(message.reasoning_content))));
    if (message.content || !message.tool_calls?.length) parts.push(message.role === "tool" ? code(message.content) : make("div", { class: `st-text${message.content ? "" : " nothing"}` }, ...(message.content ? long(message.content) : [word("data_nothing")])));
    for (const call of message.tool_calls || []) parts.push(make("div", { class: "st-call" }, make("b", {}, `${call.function.name}()`), code(call.function.arguments)));
    const weight = message.weight === 0 ? make("em", { class: "st-badge" }, word("data_not_learned")) : null;
    return make("div", { class: `st-bubble ${message.role}` }, make("div", { class: "st-bubble-head" }, make("b", {}, word(`role_${message.role}`)), message.name ? make("em", {}, message.name) : null, badge ? make("em", { class: `st-badge ${badge[1]}` }, badge[0]) : null, weight), ...parts);
  }
  const turns = (messages, badge) => messages.map((message, index) => bubble(message, index === messages.length - 1 ? badge : null));
  /** An example as a conversation. */
  D.bubbles = (example) => {
    if ("text" in example) return make("div", { class: "st-bubbles" }, make("div", { class: "st-text raw" }, ...long(example.text)));
    const tools = example.tools?.length ? [make("details", { class: "st-tools-of" }, make("summary", {}, D.say("data_tools", { names: example.tools.map((tool) => tool.function?.name ?? "?").join(", ") })), code(example.tools))] : [];
    if ("messages" in example) return make("div", { class: "st-bubbles" }, ...tools, ...turns(example.messages));
    if ("chosen" in example) {
      return make("div", { class: "st-bubbles" }, ...tools, ...turns(example.prompt), make("div", { class: "st-pair-of" },
        make("div", {}, ...turns(example.chosen, [word("data_chosen"), "good"])), make("div", {}, ...turns(example.rejected, [word("data_rejected"), "bad"]))));
    }
    const label = "label" in example ? [word(example.label ? "data_good" : "data_bad"), example.label ? "good" : "bad"] : null;
    return make("div", { class: "st-bubbles" }, ...tools, ...turns(example.prompt), ...turns(example.completion, label));
  };

  /* ---- tokens ---- */
  const piece = (text, kinds) => make("span", { class: `st-token${kinds}${SPECIAL.test(text) ? " special" : ""}` }, text);
  function sequence(told, label, which) {
    const text = make("div", { class: "st-tokens", tabindex: 0 });
    const pieces = [...told.tokens.map(([one, learned]) => [one, learned ? " learned" : ""]), ...(told.lost || []).map(([one]) => [one, " lost"])];
    const edge = told.tokens.length;
    const put = (from, to) => pieces.slice(from, to).forEach(([one, kinds], index) => {
      if (from + index === edge && told.cut) text.append(make("span", { class: "st-edge", title: word("data_cut_here") }, "✂"));
      text.append(piece(one, kinds));
    });
    put(0, MOST_TOKENS);
    if (pieces.length > MOST_TOKENS) {
      const rest = D.link(D.say("data_show_rest", { n: S.number(pieces.length - MOST_TOKENS) }), () => { rest.remove(); put(MOST_TOKENS, pieces.length); });
      text.append(" ", rest);
    }
    const badge = (kind, words, why) => make("em", { class: `st-badge ${kind}`, title: why }, words);
    const badges = [told.cut ? badge("warn", `${S.number(told.cut)} ${word("data_cut")}`, word("data_cut_why")) : null,
      told.learned ? null : badge("bad", word("data_nothing_learned"), word("data_nothing_learned_why")),
      told.learned ? (told.has_end ? badge("good", word("data_end"), word("data_end_why")) : badge("warn", word("data_no_end"), word("data_no_end_why"))) : null];
    return make("div", { class: "st-sequence" }, make("div", { class: "st-sequence-head" }, label ? make("b", { class: which ? "bad" : "good" }, label) : null,
      `${S.number(told.total)} ${word("data_tokens")} · ${S.number(told.learned)} ${word("data_learned")}`, ...badges.filter(Boolean)), text);
  }
  /** The sequences of one row, or why there are none. */
  D.sequences = (told, type) => {
    if (told.error) return [D.trouble(told.error)];
    return told.sequences.map((one, which) => sequence(one, type === "preference" ? word(which ? "data_rejected" : "data_chosen") : "", type === "preference" && which));
  };
  D.legend = () => make("div", { class: "st-legend" }, make("span", { class: "st-token learned" }, word("data_learned")), make("span", { class: "st-token" }, word("data_not_learned")),
    make("span", { class: "st-token special" }, word("data_special")), make("span", { class: "st-token lost" }, word("data_cut")));
  D.rowBadges = (told) => [told.dropped ? make("em", { class: "st-badge bad" }, word("data_left_out")) : null, told.changed ? make("em", { class: "st-badge" }, word("data_trimmed")) : null].filter(Boolean);

  /* ---- the first examples, or any ---- */
  D.examples = (place) => {
    let asked = { start: 1, count: 5 }, drawn = 0, shown = [], total = 0, known = false;
    const cards = make("div", { class: "st-stack", id: "examples", "aria-live": "polite" });
    const where = make("span", { class: "st-note" }), box = make("input", { class: "st-input number", type: "number", min: 1, "aria-label": word("data_go_to"), id: "goto-row" });
    const before = D.button("‹", () => load({ start: shown[0], count: asked.count, back: true }), "", { "aria-label": word("data_previous"), id: "examples-previous" });
    const after = D.button("›", () => load({ start: shown.at(-1) + 1, count: asked.count }), "", { "aria-label": word("data_next"), id: "examples-next" });
    const count = D.select([[1, "1"], [5, "5"], [10, "10"], [20, "20"]], 5, (value) => load({ start: shown[0] || 1, count: Number(value) }), { "aria-label": word("data_at_once") });
    const go = (event) => { event.preventDefault(); if (box.value) D.showRow(Number(box.value)); };
    const bar = make("div", { class: "st-examples-bar" }, make("h3", { class: "st-heading", id: "token-by-token" }, word("data_token_by_token")), D.legend(),
      make("div", { class: "st-pager" }, before, where, after, make("form", { onsubmit: go }, make("label", {}, word("data_go_to"), " ", box)), make("label", {}, word("data_at_once"), " ", count)));
    place.replaceChildren(bar, cards);

    async function load(wanted) {
      asked = wanted;
      if (wanted.count) count.value = wanted.count;
      const number = ++drawn, id = D.id;
      cards.classList.add("busy");
      if (!cards.childElementCount) cards.append(make("div", { class: "st-loading" }));
      const query = new URLSearchParams(D.look);
      if (wanted.row) query.set("row", wanted.row);
      else for (const [name, value] of Object.entries(wanted)) query.set(name, value);
      try {
        const told = await D.get(`${id}/tokens?${query}`);
        if (number !== drawn || id !== D.id) return;
        show(told);
      } catch (error) {
        if (!D.isRefusal(error)) throw error;
        if (number === drawn) cards.replaceChildren(D.trouble(error));
      }
      if (number === drawn) cards.classList.remove("busy");
    }
    function show(told) {
      known = true;
      shown = told.rows.map((one) => one.row);
      total = told.total;
      where.textContent = shown.length ? D.say("data_rows_shown", { rows: shown.length > 1 ? `${shown[0]}–${shown.at(-1)}` : shown[0], n: S.number(total) }) : "";
      before.disabled = !shown.length || shown[0] <= told.first;
      after.disabled = !shown.length || shown.at(-1) >= told.last;
      const type = D.about.record.dataset_type;
      cards.replaceChildren(...told.rows.map((one) => make("div", { class: "st-card st-example", "data-row": one.row },
        make("div", { class: "st-card-head" }, D.link(`${word("data_row")} ${S.number(one.row)}`, () => D.rowDialog(one.row), { class: "st-link title" }), ...D.rowBadges(one)), ...D.sequences(one, type))));
    }
    /** One row here, whoever names it. */
    D.showRow = (row) => {
      D.show("learn");
      asked = { row, count: 1 };
      load(asked);
      bar.scrollIntoView({ behavior: "smooth", block: "start" });
    };
    let later = 0;
    S.on("data-look", cards, () => { clearTimeout(later); later = setTimeout(() => load(asked), known ? 350 : 0); });
    S.on("data-current", cards, () => load(asked));
    load(asked);
  };
})();
