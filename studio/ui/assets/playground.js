/* The Playground's chat: facts under each answer, branches, context meter, differences, the link. Text stays text. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, make = S.make, word = S.word, say = S.say;
  const LETTERS = "abcdefg";
  const NONE = -1;
  const play = (S.play = { value: {}, trigger: null });
  const comparison = () => play.value.comparison || { columns: [], shown: 1, id: "" };
  const isBusy = () => Boolean(document.querySelector("#prompt .stop-button"));
  const title = (choice) => (play.value.titles || {})[choice] || choice;

  /* ---- the state: everything else listens to it ---- */
  W.comparison = (element, value, options, trigger) => {
    const before = comparison().id;
    play.value = value || {};
    play.trigger = trigger;
    const now = comparison().id;
    if (now !== before) S.address({ comparison: now || null }); // not at the start: the address may name one to open
    S.emit("comparison");
  };
  play.path = (column) => {
    const { turns, leaf } = comparison().columns[column]?.conversation || { turns: [], leaf: NONE }, found = [];
    for (let at = leaf; at !== NONE; at = turns[at].parent) found.unshift(at);
    return found;
  };
  const turnsOf = (column) => comparison().columns[column]?.conversation.turns || [];

  /* ---- under each column ---- */
  W.paneFacts = (element, value) => {
    const column = value.column;
    const draw = () => {
      const path = play.path(column), turns = turnsOf(column), last = path[path.length - 1];
      const answer = last !== undefined && turns[last].role === "assistant" ? turns[last] : null;
      const answering = (play.value.busy || []).includes(column) && isBusy();
      const parts = [];
      if (answer?.facts && !answering) parts.push(factsLine(answer.facts), notes(answer.facts), scores(answer.facts), meter(answer.facts));
      if (path.length && !isBusy()) parts.push(branches(column, path, turns, answer?.content ? thumbs(column, path, turns) : []));
      element.replaceChildren(make("div", { class: "st-pane-facts", "data-column": column }, ...parts));
      mark();
    };
    S.on("comparison", element, draw);
    S.on("busy", element, draw);
    draw();
  };
  /* What is not known, as of an answer that was stopped, is left out. */
  function factsLine(facts) {
    const rate = facts.tokens && facts.seconds ? say("play_rate", { n: S.number(facts.tokens / facts.seconds, 1) }) : "";
    const tokens = facts.tokens === null ? "" : say("play_tokens", { n: S.number(facts.tokens) });
    const more = [
      facts.first_token_seconds === null ? null : say("play_first_token", { n: S.number(facts.first_token_seconds, 2) }),
      facts.cached_tokens ? say("play_cached", { n: S.number(facts.cached_tokens) }) : null,
      facts.shared_batch === null ? null : word(facts.shared_batch ? "play_shared_batch" : "play_alone"),
    ].filter(Boolean).join("\n");
    const finish = { stop: "play_finish_stop", length: "play_finish_length", stopped: "play_finish_stopped" }[facts.finish];
    return make("p", { class: "st-facts-line", title: more || null },
      make("span", {}, rate),
      make("span", {}, tokens),
      make("span", { class: `st-finish ${facts.finish || ""}` }, finish ? word(finish) : facts.finish || ""),
      make("span", { class: "st-differs", role: "status" }));
  }
  /* In sight, not in a tooltip: a finger has none. */
  function notes(facts) {
    const told = (facts.notes || []).map((note) => (play.value.notes || {})[note] || note);
    return told.length ? make("p", { class: "st-pane-note" }, told.join(" ")) : null;
  }
  /* A thumb is kept beside the arena's, and is gone from the page with it: the arena lists them. */
  const given = new Map(); // what was rated → good or bad
  function thumbs(column, path, turns) {
    const { choice, drawn } = comparison().columns[column], said = path.map((at) => ({ role: turns[at].role, content: turns[at].content }));
    const answer = said.pop().content, system = drawn.system.trim() ? [{ role: "system", content: drawn.system }] : [];
    const key = JSON.stringify([choice, said, answer]);
    const rate = async (good) => {
      const value = given.get(key) === good ? null : good;
      const { temperature, top_p, max_tokens } = drawn;
      const body = JSON.stringify({ choice, name: title(choice), messages: [...system, ...said], answer, temperature, top_p, max_tokens, voter: S.arena.voter, good: value, finish: turns[path[path.length - 1]].facts?.finish || "" });
      const response = await fetch("api/playground/thumb", { method: "POST", headers: { "content-type": "application/json" }, body });
      if (!response.ok) throw new Error((await response.json()).message);
      given.set(key, value);
      S.toast(word(value === null ? "play_thumb_taken" : "play_thumb_kept"));
      S.emit("comparison");
      S.emit("arena-votes");
    };
    const button = (good) => make("button", { type: "button", class: "st-button small st-thumb", "aria-pressed": String(given.get(key) === good), "aria-label": word(good ? "arena_good" : "arena_bad"), title: word(good ? "arena_good" : "arena_bad"), "data-good": String(good), onclick: S.arena.loud(() => rate(good)) }, S.arena.hand(good));
    return [button(true), button(false)];
  }
  function scores(facts) {
    const entries = Object.entries(facts.scores);
    if (!entries.length) return null;
    const best = Math.max(...entries.map(([, [logprob]]) => logprob));
    const line = ([choice, [logprob, tokens]]) => make("tr", { class: logprob === best && entries.length > 1 ? "best" : null },
      make("th", { scope: "row" }, title(choice)), make("td", {}, S.number(logprob, 1)), make("td", {}, tokens ? `(${S.number(logprob / tokens, 2)})` : "–"));
    return make("table", { class: "st-scores", title: word("play_score_help") }, make("caption", {}, word("play_score_caption")), make("tbody", {}, ...entries.map(line)));
  }
  function meter(facts) {
    const used = facts.prompt_tokens === null || facts.tokens === null ? null : facts.prompt_tokens + facts.tokens;
    return used === null || !facts.context ? null : contextMeter(used, facts.context);
  }
  function contextMeter(used, context) {
    const share = Math.min(1, used / context);
    return make("div", { class: `st-context${share > 0.9 ? " full" : ""}` }, make("span", {}, word("play_context")),
      make("u", { role: "meter", "aria-label": word("play_context"), "aria-valuenow": used, "aria-valuemin": 0, "aria-valuemax": context }, make("i", { style: `width:${(100 * share).toFixed(1)}%` })),
      make("b", {}, say("play_context_used", { used: S.number(used), context: S.number(context) })));
  }
  function branches(column, path, turns, more) {
    const send = (event, data) => () => { if (!isBusy()) play.trigger(event, { column, ...data }); };
    const rows = [];
    let questions = 0, answers = 0;
    for (const at of path) {
      const question = turns[at].role === "user", n = question ? ++questions : ++answers;
      const siblings = turns.map((turn, index) => (turn.parent === turns[at].parent ? index : -1)).filter((index) => index >= 0);
      if (siblings.length < 2) continue;
      const place = siblings.indexOf(at), label = say(question ? "play_question_branch" : "play_answer_branch", { n });
      const step = (to, sign, name) => make("button", { type: "button", class: "st-step", disabled: siblings[to] === undefined, "aria-label": `${word(name)}: ${label}`, title: word(name), onclick: send("branch", { turn: siblings[to] }) }, sign);
      rows.push(make("span", { class: "st-branch" }, label, step(place - 1, "‹", "play_previous"), make("b", {}, `${place + 1} / ${siblings.length}`), step(place + 1, "›", "play_next")));
    }
    return make("div", { class: "st-branches" }, make("button", { type: "button", class: "st-button quiet st-again", onclick: send("again", {}) }, word("play_again")), ...more, ...rows);
  }

  /* ---- the prompt: how long the conversation becomes ---- */
  W.promptMeter = (element) => {
    let timer = 0, asked = "";
    const count = async () => {
      const text = document.querySelector("#prompt textarea")?.value || "", column = comparison().columns[0];
      const choice = column?.choice || "base:starter";
      const said = play.path(0).map((at) => ({ role: turnsOf(0)[at].role, content: turnsOf(0)[at].content }));
      if (said.at(-1)?.role === "user") said.pop(); // what nobody has answered is passed over by the next question
      const system = document.querySelector("#system-prompt textarea")?.value ?? column?.drawn.system ?? "";
      const messages = [...(system.trim() ? [{ role: "system", content: system }] : []), ...said, ...(text.trim() ? [{ role: "user", content: text }] : [])];
      if (!text.trim() || isBusy()) { asked = ""; return element.replaceChildren(); }
      const body = JSON.stringify({ choice, messages });
      if (body === asked) return;
      asked = body;
      const response = await fetch("api/playground/tokens", { method: "POST", headers: { "content-type": "application/json" }, body });
      const told = response.ok ? await response.json() : { tokens: null };
      if (asked !== body) return; // something else was typed meanwhile
      element.replaceChildren(...(told.tokens === null ? [] : [make("div", { class: "st-prompt-count", title: word("play_context_of") }, told.context ? contextMeter(told.tokens, told.context) : say("play_tokens", { n: S.number(told.tokens) }))]));
    };
    const soon = () => { clearTimeout(timer); timer = setTimeout(() => element.isConnected && count().catch(() => {}), 500); };
    document.addEventListener("input", (event) => { if (event.target.closest?.("#prompt, #system-prompt")) soon(); });
    S.on("comparison", element, soon);
  };

  /* ---- the prompt's button tells whether answers are on their way; a question is edited as it was written ---- */
  let wasBusy = false;
  new MutationObserver((changes) => {
    if (isBusy() !== wasBusy) { wasBusy = !wasBusy; S.emit("busy"); }
    for (const node of changes.flatMap((change) => [...change.addedNodes])) {
      const box = node.nodeType === 1 && (node.matches("[id^=chat-] textarea") ? node : node.querySelector("[id^=chat-] .message textarea, textarea.edit-textarea"));
      if (!box || box.dataset.plain) continue;
      box.dataset.plain = "1";
      setTimeout(() => {
        const plain = box.value.replaceAll("&lt;", "<").replaceAll("&amp;", "&");
        if (plain !== box.value) { box.value = plain; box.dispatchEvent(new Event("input", { bubbles: true })); }
      }, 0);
    }
  }).observe(document.documentElement, { childList: true, subtree: true });

  /* ---- differences: ranges over the page's own text; nothing is added to it ---- */
  const LONGEST = 16e6; // cells of the comparison
  const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });
  function wordsIn(root) {
    const found = [], walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.parentElement.closest("button, .katex-mathml, .katex-html, .thought-group")) continue;
      for (const part of segmenter.segment(node.data)) if (part.segment.trim()) found.push({ text: part.segment, node, at: part.index });
    }
    return found;
  }
  /** The positions in `after` that a longest common subsequence with `before` leaves out; null when that is too much work. */
  S.differing = (before, after) => {
    let start = 0, end = 0;
    while (start < before.length && start < after.length && before[start] === after[start]) start++;
    while (end < before.length - start && end < after.length - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
    const a = before.slice(start, before.length - end), b = after.slice(start, after.length - end);
    if (a.length * b.length > LONGEST) return null;
    const width = b.length + 1, table = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--)
      table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    const found = [];
    for (let i = 0, j = 0; j < b.length; ) {
      if (i < a.length && a[i] === b[j]) { i++; j++; }
      else if (i < a.length && table[(i + 1) * width + j] >= table[i * width + j + 1]) i++;
      else found.push(start + j++);
    }
    return found;
  };
  const lastAnswer = (letter) => [...document.querySelectorAll(`#chat-${letter} .message.bot, #chat-${letter} .bot .message`)].pop();
  let marking = false, markTimer = 0;
  function mark() { clearTimeout(markTimer); markTimer = setTimeout(markNow, 150); }
  function markNow() {
    if (!CSS.highlights) return;
    CSS.highlights.delete("st-differs");
    document.querySelectorAll(".st-differs").forEach((place) => { place.textContent = ""; });
    if (!marking || isBusy()) return;
    const answers = [...LETTERS].slice(0, Number(comparison().shown)).map(lastAnswer), ranges = [];
    if (!answers[0]) return;
    const first = wordsIn(answers[0]).map((one) => one.text);
    answers.forEach((root, column) => {
      if (!column || !root) return;
      const words = wordsIn(root), positions = S.differing(first, words.map((one) => one.text));
      const place = document.querySelector(`.st-pane-facts[data-column="${column}"] .st-differs`);
      if (place) place.textContent = positions === null ? word("play_differences_long") : positions.length ? say("play_differences_count", { n: S.number(positions.length) }) : word("play_differences_none");
      for (const position of positions || []) {
        const { node, at, text } = words[position], range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + text.length);
        ranges.push(range);
      }
    });
    if (ranges.length) CSS.highlights.set("st-differs", new Highlight(...ranges));
  }
  document.addEventListener("change", (event) => {
    if (!event.target.closest?.("#differences")) return;
    marking = event.target.checked;
    if (marking && !CSS.highlights) S.toast(word("play_differences_unable"), "bad");
    markNow();
  });

  /* ---- the link ---- */
  W.shareLink = (element) => {
    const draw = () => {
      const id = comparison().id;
      if (!id) return element.replaceChildren(make("p", { class: "st-note" }, word("play_link_none")));
      const link = new URL(location.pathname, location.origin);
      link.search = new URLSearchParams({ tab: "playground", comparison: id });
      const field = make("input", { type: "text", readonly: true, value: String(link), "aria-label": word("play_link"), onfocus: () => field.select() });
      const copy = async () => {
        field.select();
        // Only safe origins may write to the clipboard; elsewhere the selected link is copied the old way.
        if (navigator.clipboard) await navigator.clipboard.writeText(field.value); else document.execCommand("copy");
        S.toast(word("play_copied"));
      };
      element.replaceChildren(make("div", { class: "st-share" }, make("span", {}, word("play_link")), field, make("button", { type: "button", class: "st-button", onclick: copy }, word("play_copy"))));
    };
    S.on("comparison", element, draw);
    draw();
  };
})();
