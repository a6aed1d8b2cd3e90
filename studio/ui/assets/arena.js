/* The Arena tab: who may answer, and rounds in which two of them do without saying which. It asks /api/arena; text stays text. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, make = S.make, word = S.word;
  const A = (S.arena = { menus: null, round: null, next: null, voted: 0, cycle: 0, rewritten: {}, thumbs: {}, unfolded: {} });
  const SIDES = ["left", "right"], POLL = 150, SLOW_POLL = 2000; // milliseconds
  const stored = (name, fallback) => { try { return JSON.parse(localStorage.getItem(name)) ?? fallback; } catch (error) { return fallback; } };
  const keep = () => localStorage.setItem("studio-arena", JSON.stringify(A.form));
  A.form = { contenders: [], base: "", source: "typed", prompts: "", dataset: "", system: "", temperature: 0.7, top_p: 0.9, max_tokens: 256, ...stored("studio-arena", {}) };
  A.voter = localStorage.getItem("studio-voter") || `voter-${Math.random().toString(16).slice(2, 6)}`;
  A.say = S.say;

  /* ---- asking ---- */
  A.ask = async (path, body) => {
    const options = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const response = await fetch(`api/arena/${path}`, options);
    if (response.status === 401) location.reload();
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    throw new Error([answer.error?.message || word("data_not_understood"), answer.error?.hint].filter(Boolean).join(" "));
  };
  A.loud = (run) => async (...given) => { try { return await run(...given); } catch (error) { S.toast(error.message, "bad"); } };
  const signed = (more = {}) => ({ voter: A.voter, ...more });
  const path = (round, action = "") => `rounds/${encodeURIComponent(round)}${action ? `/${action}` : `?${new URLSearchParams({ voter: A.voter })}`}`;

  /* ---- an answer as text: blocks of code, code and bold, everything else as it was written ---- */
  A.text = (text) => {
    const nodes = [];
    text.split(/(^```[^\n]*\n[\s\S]*?(?:^```[ \t]*$|(?![\s\S])))/m).forEach((part, index) => {
      if (index % 2) nodes.push(make("pre", {}, part.replace(/^```[^\n]*\n/, "").replace(/\n?```[ \t]*$/, "")));
      else part.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/).forEach((piece, odd) => nodes.push(!(odd % 2) ? piece : piece[0] === "`" ? make("code", {}, piece.slice(1, -1)) : make("b", {}, piece.slice(2, -2))));
    });
    return nodes;
  };

  /** [what an answer thinks first, the rest]. Some templates put the opening tag into the prompt: then the closing one stands alone. */
  const thinking = (text) => {
    const begins = text.trimStart().startsWith("<think>"), [before, ...behind] = text.split("</think>");
    return begins || behind.length ? [before.trimStart().replace(/^<think>/, "").trim(), behind.join("</think>").trim()] : ["", text];
  };

  /* ---- the form ---- */
  const field = (label, control, note = null) => make("label", { class: "st-field" }, make("span", {}, word(label)), control, note);
  const number = (name, least, most, step) => make("input", { class: "st-input", type: "number", id: `arena-${name}`, min: least, max: most, step, value: A.form[name], onchange: (event) => { const value = Number(event.target.value); if (event.target.value !== "" && value >= least && value <= most) changed({ [name]: value }); else event.target.value = A.form[name]; } });
  function changed(values) {
    Object.assign(A.form, values);
    keep();
    drop();
  }
  const listed = () => A.menus.contenders.filter((one) => !A.form.base || one.base_model === A.form.base);
  const chosen = () => listed().filter((one) => A.form.contenders.includes(one.choice)).map((one) => one.choice);
  const lines = () => A.form.prompts.split("\n").map((line) => line.trim()).filter(Boolean);

  function form(root) {
    const bases = [...new Set(A.menus.contenders.map((one) => one.base_model))];
    const base = make("select", { class: "st-input", id: "arena-base", onchange: () => { changed({ base: base.value }); form(root); } }, make("option", { value: "" }, word("arena_any_base")), ...bases.map((name) => make("option", { value: name }, name)));
    base.value = A.form.base;
    const pick = (one) => make("label", { class: "st-arena-pick" }, make("input", { type: "checkbox", value: one.choice, checked: A.form.contenders.includes(one.choice), onchange: (event) => {
      changed({ contenders: A.form.contenders.filter((choice) => choice !== one.choice).concat(event.target.checked ? [one.choice] : []) });
      tell();
    } }), make("span", {}, one.name));
    const segment = (name) => make("button", { type: "button", "data-source": name, "aria-pressed": String(A.form.source === name), onclick: () => { changed({ source: name }); form(root); } }, word(`arena_source_${name}`));
    const typed = make("textarea", { class: "st-input", id: "arena-prompts", rows: 5, placeholder: word("arena_prompts_hint"), oninput: () => changed({ prompts: typed.value }) }, A.form.prompts);
    const dataset = make("select", { class: "st-input", id: "arena-dataset", onchange: () => { changed({ dataset: dataset.value }); tell(); } }, make("option", { value: "" }, word("arena_choose")), ...A.menus.datasets.map((one) => make("option", { value: one.id }, `${one.name} · ${S.number(one.rows)}`)));
    dataset.value = A.menus.datasets.some((one) => one.id === A.form.dataset) ? A.form.dataset : "";
    const note = make("p", { class: "st-note", id: "arena-held-out" });
    const voter = make("input", { class: "st-input", id: "arena-voter", maxlength: 40, value: A.voter, onchange: () => { voter.value = voter.value.trim() || A.voter; drop(); A.voter = voter.value; localStorage.setItem("studio-voter", A.voter); A.round = null; draw(); } }); // a round is its voter's
    const system = make("textarea", { class: "st-input", id: "arena-system", rows: 2, onchange: () => changed({ system: system.value }) }, A.form.system);
    async function tell() {
      note.textContent = "";
      if (A.form.source !== "dataset" || !dataset.value || chosen().length < 2) return;
      try {
        const found = await A.ask(`prompts?${new URLSearchParams([["dataset", dataset.value], ...chosen().map((one) => ["contender", one])])}`);
        note.textContent = A.say("arena_held_out", { n: S.number(found.held_out), of: S.number(found.of) }) + (found.unknown.length ? ` ${A.say("arena_unknown", { names: found.unknown.join(", ") })}` : "");
      } catch (error) { note.textContent = error.message; }
    }
    root.replaceChildren(make("div", { class: "st-stack" },
      bases.length > 1 ? field("arena_base", base) : null,
      make("div", { class: "st-field", role: "group", "aria-label": word("arena_contenders") }, make("span", {}, word("arena_contenders")), make("div", { class: "st-arena-picks", id: "arena-contenders" }, ...listed().map(pick))),
      make("div", { class: "st-field" }, make("span", {}, word("arena_prompts")), make("div", { class: "st-segments" }, segment("typed"), segment("dataset")), A.form.source === "typed" ? typed : dataset, A.form.source === "typed" ? null : note),
      make("details", {}, make("summary", {}, word("play_settings")), make("div", { class: "st-arena-settings" }, field("play_temperature", number("temperature", 0, 2, 0.05)), field("play_top_p", number("top_p", 0.05, 1, 0.05)), field("play_max_tokens", number("max_tokens", 1, 2048, 1)), field("play_system", system))),
      field("arena_voter", voter),
      make("button", { type: "button", class: "st-button primary", id: "arena-start", onclick: A.loud(start) }, word("arena_start"))));
    tell();
  }

  /* ---- rounds ---- */
  const wish = () => ({ ...signed(), contenders: chosen(), ...(A.form.source === "dataset" ? { dataset: A.form.dataset } : { prompt: lines()[A.cycle++ % Math.max(1, lines().length)] || "" }),
    system: A.form.system, temperature: A.form.temperature, top_p: A.form.top_p, max_tokens: A.form.max_tokens });
  /** The round that was begun ahead belongs to other choices now: its answers are not wanted. */
  function drop() {
    const ahead = A.next;
    A.next = null;
    ahead?.then((one) => A.ask(path(one.round, "leave"), signed())).catch(() => {});
  }
  async function start() {
    if (chosen().length < 2) throw new Error(word("arena_two"));
    if (A.form.source === "typed" ? !lines().length : !A.form.dataset) throw new Error(word("arena_no_prompt"));
    if (A.round && ["answering", "ready"].includes(A.round.state)) A.ask(path(A.round.round, "leave"), signed()).catch(() => {});
    if (innerWidth < 900) document.getElementById("arena-setup").open = false;
    await forward();
  }
  /** The next round: the one that was begun while the last was read, or a new one. */
  async function forward() {
    const ahead = A.next || A.ask("rounds", wish());
    A.next = null;
    A.rewritten = {}; A.thumbs = {}; A.unfolded = {};
    A.round = { state: "answering", left: "", right: "", prompt: null };
    draw();
    try { A.round = await ahead; } catch (error) { A.round = null; draw(); throw error; }
    await follow(A.round.round);
  }
  async function follow(id) {
    while (A.round?.round === id && A.round.state === "answering") {
      await new Promise((done) => setTimeout(done, POLL));
      let seen;
      try { seen = await A.ask(path(id)); }
      catch (error) {
        if (error instanceof TypeError) continue; // the studio is away for a moment
        seen = { ...A.round, state: "failed", error: { message: error.message } };
      }
      if (A.round?.round !== id || A.round.state !== "answering") return;
      A.round = seen;
      draw();
    }
    draw();
    if (A.round?.round === id && A.round.state === "ready" && !A.next) begin();
  }
  /** Begin the next round while this one is read, and look at it now and then so that it goes on. */
  function begin() {
    const ahead = (A.next = A.ask("rounds", wish()));
    ahead.then(async (one) => {
      for (let state = one.state; A.next === ahead && state === "answering"; ) {
        await new Promise((done) => setTimeout(done, SLOW_POLL));
        if (A.next === ahead) state = (await A.ask(path(one.round))).state;
      }
    }).catch(() => { if (A.next === ahead) A.next = null; }); // the next prompt then tells why
  }
  A.vote = A.loud(async (outcome) => {
    const round = A.round;
    if (round?.state !== "ready" || round.busy) return;
    round.busy = true;
    if (round.editing) A.rewritten[round.editing] = document.querySelector("#arena-round textarea").value.trim();
    round.editing = "";
    try { round.revealed = (await A.ask(path(round.round, "vote"), signed({ outcome, rewritten: A.rewritten }))).revealed; }
    finally { round.busy = false; }
    Object.assign(round, { state: "voted", outcome });
    A.voted += 1;
    draw();
    S.emit("arena-votes");
  });
  A.forward = A.loud(async () => {
    if (!A.round || ["answering"].includes(A.round.state)) return;
    if (A.round.state === "ready") A.ask(path(A.round.round, "leave"), signed()).catch(() => {}); // passed over
    await forward();
  });
  A.retract = A.loud(async (id) => {
    await A.ask(path(id, "retract"), signed());
    S.toast(word("arena_retracted"));
    if (A.round?.round === id) { A.round.retracted = true; A.voted -= 1; draw(); }
    S.emit("arena-votes");
  });
  const rate = A.loud(async (side, good) => {
    const value = A.thumbs[side] === good ? null : good;
    await A.ask(path(A.round.round, "thumb"), signed({ side, good: value }));
    A.thumbs[side] = value;
    draw();
    S.emit("arena-votes");
  });
  const save = A.loud(async (side, text) => {
    const round = A.round;
    if (round.state === "voted") { await A.ask(path(round.round, "rewrite"), signed({ side, text })); S.emit("arena-votes"); }
    A.rewritten[side] = text === round[side] ? "" : text;
    round.editing = "";
    S.toast(word("arena_saved"));
    draw();
  });

  /* ---- the round ---- */
  /** A thumb, drawn: not every machine has a font with one. */
  function hand(up) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path");
    for (const [name, value] of Object.entries({ viewBox: "0 0 24 24", width: 15, height: 15, fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linejoin": "round", "aria-hidden": "true" })) svg.setAttribute(name, value);
    if (!up) svg.setAttribute("transform", "rotate(180)");
    path.setAttribute("d", "M3 11h4v10H3zM7 11l4-8c1.7 0 2.6 1 2.6 2.6V9H20l-2 12H7");
    svg.append(path);
    return svg;
  }
  A.hand = hand;
  function said(side, text) {
    const [thought, rest] = thinking(text), answering = A.round.state === "answering";
    const fold = thought ? make("details", { class: "st-arena-thought", open: Boolean(A.unfolded[side]), ontoggle: (event) => { A.unfolded[side] = event.target.open; } }, make("summary", {}, word("play_thinking")), make("div", {}, thought)) : null;
    return [fold, ...(rest ? A.text(rest) : [make("span", { class: "st-note" }, word(answering ? "arena_waiting" : "arena_silent"))])].filter(Boolean);
  }
  const key = (...names) => names.map((name) => make("kbd", {}, name));
  function answer(side) {
    const round = A.round, whole = ["ready", "voted"].includes(round.state), who = round.revealed?.[side].name;
    const better = round.state === "voted" && round.outcome === side;
    const text = A.rewritten[side] || round[side];
    const box = make("textarea", { class: "st-input", rows: 6, "aria-label": word("arena_rewrite") }, text);
    const thumb = (good) => make("button", { type: "button", class: "st-button small st-thumb", "aria-pressed": String(A.thumbs[side] === good), "aria-label": word(good ? "arena_good" : "arena_bad"), title: word(good ? "arena_good" : "arena_bad"), "data-good": String(good), onclick: () => rate(side, good) }, hand(good));
    const rewritable = whole && !round.retracted && round.editing !== side;
    return make("article", { class: `st-card st-arena-answer${better ? " better" : ""}`, "data-side": side },
      make("div", { class: "st-card-head" }, make("h3", {}, who || word(`arena_${side}`)), better ? make("em", { class: "st-badge good" }, word("arena_preferred")) : null, A.rewritten[side] ? make("em", { class: "st-badge" }, word("arena_rewritten")) : null),
      round.editing === side ? make("div", { class: "st-stack" }, box, make("div", { class: "st-actions flat" }, make("button", { type: "button", class: "st-button small primary", onclick: () => save(side, box.value.trim()) }, word("arena_save")), make("button", { type: "button", class: "st-button small", onclick: () => { round.editing = ""; draw(); } }, word("arena_cancel"))))
        : make("div", { class: "st-arena-text", "aria-live": "off" }, ...said(side, text)),
      whole && round.finish?.[side] === "length" && !A.rewritten[side] ? make("span", { class: "st-finish length" }, word("play_finish_length")) : null,
      rewritable ? make("div", { class: "st-actions flat" }, make("button", { type: "button", class: "st-link", onclick: () => { round.editing = side; draw(); } }, word("arena_rewrite")), ...(round.state === "voted" && !A.rewritten[side] ? [thumb(true), thumb(false)] : [])) : null);
  }
  function choices() {
    const round = A.round, button = (outcome, label, ...keys) => make("button", { type: "button", class: "st-button", "data-outcome": outcome, disabled: round.state !== "ready", onclick: () => A.vote(outcome) }, make("span", {}, word(label)), ...key(...keys));
    if (["answering", "ready"].includes(round.state)) return [button("left", "arena_vote_left", "1", "←"), button("right", "arena_vote_right", "2", "→"), button("tie", "arena_vote_tie", "3"), button("both_bad", "arena_vote_bad", "4"),
      make("button", { type: "button", class: "st-button quiet", id: "arena-skip", disabled: round.state !== "ready", onclick: A.forward }, word("arena_skip"))];
    const undo = round.state === "voted" && !round.retracted ? make("button", { type: "button", class: "st-button quiet", id: "arena-undo", onclick: () => A.retract(round.round) }, make("span", {}, word("arena_undo")), ...key("U")) : null;
    return [make("button", { type: "button", class: "st-button primary", id: "arena-next", onclick: A.forward }, make("span", {}, word("arena_next")), ...key(word("arena_space"))), undo];
  }
  let drawn = "";
  function draw() {
    const root = document.getElementById("arena-round");
    if (!root) return;
    const round = A.round, told = JSON.stringify([round, A.rewritten, A.thumbs, A.voted]);
    if (told === drawn && root.firstChild) return;
    const box = root.querySelector("textarea"), wrote = box && round?.editing === box.closest("[data-side]").dataset.side ? box.value : null;
    drawn = told;
    root.dataset.state = round?.state || "";
    if (!round) return root.replaceChildren(S.empty(word("arena_empty_title"), word("arena_empty_text")));
    const asked = (round.prompt || []).map((turn) => make("p", { class: `st-arena-turn ${turn.role}` }, turn.content));
    const kind = round.state === "failed" ? "st-bad" : "";
    const said = round.error ? [round.error.message, round.error.hint].filter(Boolean).join(" ") : round.retracted ? word("arena_retracted") : round.state === "voted" ? word(`arena_told_${round.outcome}`) : word(round.state === "stopped" ? "arena_stopped" : "arena_hidden");
    root.replaceChildren(make("div", { class: "st-arena-asked" }, ...asked), make("div", { class: "st-arena-answers" }, ...SIDES.map(answer)),
      make("div", { class: `st-card st-arena-bar ${kind}` }, make("div", { class: "st-arena-choices" }, ...choices().filter(Boolean)), make("p", { class: "st-note", role: "status" }, said, A.voted > 0 ? ` · ${A.say("arena_session", { n: S.number(A.voted) })}` : "")));
    if (wrote !== null && root.querySelector("textarea")) root.querySelector("textarea").value = wrote;
  }

  /* ---- keys: not while something is typed, not with others held down ---- */
  const KEYS = { 1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", 3: "tie", 4: "both_bad" };
  document.addEventListener("keydown", (event) => {
    if (S.tab() !== "arena" || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable=true], [role=tab]")) return;
    const onButton = event.target.closest?.("button, summary, a");
    if (KEYS[event.key] && A.round?.state === "ready") { event.preventDefault(); A.vote(KEYS[event.key]); }
    else if (event.key === " " && !onButton && A.round && A.round.state !== "answering" && A.round.state !== "ready") { event.preventDefault(); A.forward(); }
    else if (event.key.toLowerCase() === "u" && A.round?.state === "voted" && !A.round.retracted) { event.preventDefault(); A.retract(A.round.round); }
  });

  W.arena = (element, data, options, trigger) => {
    A.trigger = trigger;
    const setup = make("div", {}), results = make("div", { class: "st-stack", id: "arena-results" });
    const stage = make("div", { class: "st-stack", id: "arena-round" });
    const page = make("div", { class: "st-arena" }, make("details", { class: "st-card st-arena-setup", id: "arena-setup", open: true }, make("summary", {}, word("arena_setup")), setup), make("div", { class: "st-stack" }, stage, results));
    const look = A.loud(async () => {
      if (S.tab() !== "arena") return;
      A.menus = await A.ask("menus");
      if (A.menus.contenders.length < 2) return element.replaceChildren(nobody());
      const there = A.menus.contenders.map((one) => one.choice);
      A.form.contenders = A.form.contenders.filter((choice) => there.includes(choice));
      if (A.form.contenders.length < 2) A.form.contenders = [...there.filter((one) => !one.startsWith("base:")), ...there.filter((one) => one.startsWith("base:"))].slice(0, 2);
      if (A.form.base && !A.menus.contenders.some((one) => one.base_model === A.form.base)) A.form.base = "";
      if (!page.isConnected) element.replaceChildren(page);
      form(setup);
      drawn = "";
      draw();
      A.results(results);
    });
    S.on("tab", element, (name) => { if (name === "arena") look(); });
    look();
  };
  function nobody() {
    const lead = S.empty(word("arena_nobody_title"), word("arena_nobody_text"));
    lead.append(make("button", { type: "button", class: "st-button primary", onclick: () => S.openTab("train") }, word("arena_to_train")));
    return lead;
  }
})();
