/* What the Memory tab shows of an answer: verdict, phases, knobs, cards, the document, measurements. */
(function () {
  "use strict";
  const S = window.Studio, M = S.memory, make = S.make, word = S.word;
  const PARTS = { weights: "--st-c1", adapter: "--st-c5", optimizer: "--st-c3", gradients: "--st-c4", activations: "--st-c2", loss: "--st-muted" };
  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
  const card = (title, id, ...children) => make("section", { class: "st-card", id }, make("div", { class: "st-card-head" }, make("h3", {}, title)), ...children);
  const head = (...cells) => make("tr", {}, ...cells.map((text) => make("th", {}, text)));
  const known = () => M.answer && !M.answer.unknown;

  function verdict() {
    const root = make("div", { id: "memory-verdict", "aria-live": "polite" });
    M.views.push(() => {
      if (M.trouble) return root.replaceChildren(make("div", { class: "st-card st-bad", role: "alert" }, M.trouble));
      const a = M.answer;
      if (a.unknown) return root.replaceChildren(make("div", { class: "st-card st-warn" }, make("p", {}, a.unknown)));
      const text = M.say(a.fits ? "memory_fits" : "memory_lacks", { card: a.card, gib: M.gib(Math.abs(a.margin)) });
      const most = a.max_batch === null ? "" : a.max_batch ? M.say("memory_most", { batch: S.number(a.max_batch), length: S.number(a.max_length) }) : word("memory_none");
      root.replaceChildren(
        make("div", { class: `st-card st-verdict ${a.fits ? "good" : "st-bad"}`, "data-fits": String(a.fits) }, make("h2", {}, text), make("p", { class: "st-note" }, M.say("memory_binds", { phase: word(`memory_phase.${a.phase}`) }), " ", most, a.free !== null && a.free < a.needed ? ` ${M.say("memory_busy", { gib: M.gib(a.free) })}` : ""),
          ...a.ways.map((way) => make("button", { type: "button", class: "st-button small", onclick: () => M.apply(way.changes) }, `${way.names.map((name) => word(`memory_knob.${name}`)).join(" + ")} · ${M.percent(way.speed)} ${word("memory_speed")}`))),
        make("div", { class: "st-kpis k5" }, S.kpi(word("memory_allocated"), M.gib(a.allocated), word("memory_allocated_note")), S.kpi(word("memory_needed"), M.gib(a.needed), word("memory_needed_note")),
          S.kpi(word("memory_smi"), M.gib(a.nvidia_smi), word("memory_smi_note")), S.kpi(word("memory_trainable"), M.count(a.trainable_parameters), a.parameters ? `${S.number((100 * a.trainable_parameters) / a.parameters, 3)} %` : ""),
          S.kpi(word("memory_tokens"), a.tokens_per_second ? S.number(a.tokens_per_second) : "–", a.timed_jobs ? M.say("memory_timed", { jobs: a.timed_jobs }) : word("memory_rough"))),
        M.data && a.tokens_per_second ? make("p", { class: "st-note", id: "memory-time" }, M.say(M.data.name ? "memory_epoch" : "memory_job_time", { name: M.data.name, time: S.duration(M.data.tokens / a.tokens_per_second) })) : "",
        a.rescue ? rescue(a) : "",
        a.simulated ? make("p", { class: "st-note", id: "memory-from-simulation" }, word("memory_from_simulation")) : "",
        a.jobs ? make("p", { class: "st-note" }, M.say("memory_corrected", { jobs: a.jobs })) : "");
    });
    return root;
  }

  /* When no knob helps: which card, which method, which model would do. */
  function rescue(a) {
    const found = a.rescue, lean = found.lean;
    const way = (key, values, changes) => make("li", {}, M.say(key, values), " ", changes ? make("button", { type: "button", class: "st-link", onclick: () => M.apply(changes) }, word("memory_apply")) : "");
    const known = (card) => M.menus.cards.some((one) => one.name === card);
    return make("section", { class: "st-card", id: "memory-rescue" }, make("h3", {}, word("memory_rescue")), make("ul", {},
      found.length ? way("memory_rescue_length", { card: a.card, length: S.number(found.length) }, { ...lean, length: Math.min(M.form.length, found.length) }) : "",
      found.model && found.model !== M.form.model ? way("memory_rescue_model", { card: a.card, model: found.model }, { ...lean, model: found.model }) : "",
      found.card ? way("memory_rescue_card", { card: found.card }, known(found.card) ? { card: found.card } : null) : way("memory_rescue_no_card", {}),
      found.lean_card && found.lean_card !== found.card ? way("memory_rescue_lean_card", { card: found.lean_card }, known(found.lean_card) ? { ...lean, card: found.lean_card } : null) : ""));
  }

  /* Every phase is a bar of its parts; the line is what the card has. */
  function phases() {
    const plot = make("div", { class: "st-memory-plot", id: "memory-plot" });
    const legend = make("ul", { class: "st-memory-legend" }, ...Object.entries(PARTS).map(([part, shade]) => make("li", {}, make("i", { style: `background:var(${shade})` }), word(`memory_part.${part}`))), make("li", {}, make("i", { class: "line" }), word("memory_line")));
    let drawing = Promise.resolve();
    const draw = async () => {
      const Plotly = await S.loadPlotly(), a = M.answer;
      if (!known()) return Plotly.purge(plot);
      if (!plot.isConnected || !plot.offsetWidth) return;
      const names = Object.keys(a.phases).reverse();
      const gib = (bytes) => bytes / 1073741824, text = colour("--st-muted"), grid = colour("--st-grid");
      const traces = Object.entries(PARTS).map(([part, shade]) => ({ type: "bar", orientation: "h", name: word(`memory_part.${part}`), x: names.map((name) => gib(a.stacks[name]?.[part] || 0)), y: names.map((name) => word(`memory_phase.${name}`)), marker: { color: colour(shade) }, hovertemplate: "%{x:.2f} GiB" }));
      const axis = { gridcolor: grid, tickfont: { color: text, size: 11 }, automargin: true };
      await Plotly.react(plot, traces, { barmode: "stack", height: 54 + 34 * names.length, margin: { l: 8, r: 14, t: 8, b: 34 }, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "Inter Variable, sans-serif", size: 12, color: text }, xaxis: { ...axis, ticksuffix: " GiB" }, yaxis: axis,
        shapes: [{ type: "line", xref: "x", yref: "paper", x0: gib(a.usable), x1: gib(a.usable), y0: 0, y1: 1, line: { color: colour("--st-bad"), width: 2, dash: "dot" } }] }, { displayModeBar: false, responsive: true });
    };
    const later = () => { drawing = drawing.then(draw); };
    M.views.push(later);
    for (const event of ["tab", "theme"]) S.on(event, plot, later);
    const state = make("span", { class: "st-note", id: "memory-simulated" });
    const button = make("button", { type: "button", class: "st-button small", id: "memory-simulate", onclick: async () => {
      button.disabled = true;
      state.textContent = word("memory_simulating");
      try {
        const found = await M.simulate();
        const more = found.difference === null ? "" : ` · ${M.say("memory_difference", { share: `${found.difference > 0 ? "+" : "−"}${S.number(Math.abs(100 * found.difference), 1)} %` })} · ${word(`memory_believed.${found.believed}`)}`;
        if (M.answer) state.textContent = `${word("memory_simulated")} ${M.gib(found.allocated, 2)}${more}`;
      } catch (error) { state.textContent = error.message; }
      button.disabled = false;
    } }, word("memory_simulate"));
    M.views.push(() => { state.textContent = word("memory_simulate_note"); });
    return card(word("memory_phases"), "memory-phases", legend, plot, make("div", { class: "st-actions" }, button, state));
  }

  function knobs() {
    const body = make("tbody");
    M.views.push(() => {
      if (!known()) return body.replaceChildren();
      body.replaceChildren(...M.answer.knobs.map((knob) => make("tr", {}, make("td", {}, word(`memory_knob.${knob.name}`)), make("td", { class: knob.bytes < 0 ? "good" : "" }, `${knob.bytes < 0 ? "−" : "+"}${M.gib(Math.abs(knob.bytes))}`), make("td", {}, M.percent(knob.speed)), make("td", {}, word(knob.fits ? "memory_yes" : "memory_no")),
        make("td", {}, make("button", { type: "button", class: "st-link", "data-knob": knob.name, onclick: () => M.apply(knob.changes) }, word("memory_apply"))))));
    });
    return card(word("memory_knobs"), "memory-knobs", make("div", { class: "st-scroll" }, make("table", { class: "st-memory-table" }, make("thead", {}, head(word("memory_change"), word("memory_gib"), word("memory_speed_title"), word("memory_fits_short"), "")), body)));
  }

  function cards() {
    const box = make("div", { class: "st-scroll" });
    M.views.push(() => {
      if (!known()) return box.replaceChildren();
      if (!M.answer.table.length) return box.replaceChildren();
      const table = M.answer.table, all = M.menus.cards.filter((one) => one.kind !== "this box");
      box.replaceChildren(make("table", { class: "st-memory-table" }, make("thead", {}, head(word("memory_card"), ...table.map((row) => `${word(`memory_method.${row.method}`)} · ${M.gib(row.needed)}`))),
        make("tbody", {}, ...all.map((one) => make("tr", { class: one.name === M.answer.card ? "current" : "" }, make("th", {}, one.name, make("em", {}, ` ${S.number(one.usable / 1073741824, 1)} GiB`)), ...table.map((row) => make("td", { class: row.cards[one.name] ? "good" : "bad" }, row.cards[one.name] ? "✓" : "–")))))));
    });
    return make("details", { class: "st-card", id: "memory-cards" }, make("summary", {}, word("memory_cards_table")), box);
  }

  const measuredCell = (one) => (one ? [`${S.number(one.value, one.unit === "weights" ? 0 : 2)}${one.unit === "weights" ? "" : ` ${one.unit}`}`, make("p", { class: "st-note" }, one.what, " · ", one.source)] : ["–"]);
  function figures() {
    const value = (number, unit) => (number === null || number === undefined ? "–" : unit === "weights" ? S.number(number) : `${S.number(number, 1)} GB · ${M.gib(number * 1e9)}`);
    const rows = M.menus.document.map((one) => make("tr", { "data-figure": one.id }, make("td", {}, make("b", {}, `§${one.section} `), make("q", { lang: "zh" }, one.quote), make("p", { class: "st-note" }, one[S.language])), make("td", {}, value(one.document, one.unit)), make("td", {}, value(one.estimate, one.unit)), make("td", {}, ...measuredCell(one.measured)),
      make("td", {}, make("span", { class: `st-pill ${{ agrees: "completed", conditional: "stopped", contradicts: "failed" }[one.verdict]}` }, word(`memory_verdict.${one.verdict}`)), one.setup ? make("button", { type: "button", class: "st-link", onclick: () => { M.reset({ ...one.setup, model: one.model }); document.getElementById("memory-verdict").scrollIntoView({ block: "center" }); } }, word("memory_load")) : "")));
    return make("details", { class: "st-card", id: "memory-document" }, make("summary", {}, word("memory_document")), make("p", { class: "st-note" }, word("memory_document_note")),
      make("div", { class: "st-scroll" }, make("table", { class: "st-memory-table figures" }, make("thead", {}, head(word("memory_figure"), word("memory_says"), word("memory_estimate"), word("memory_measured"), word("memory_verdict"))), make("tbody", {}, ...rows))));
  }

  function measured() {
    const rows = M.menus.measured.map((one) => make("tr", {}, make("td", {}, make("button", { type: "button", class: "st-link", onclick: () => S.openJob(one.job) }, one.job)), make("td", {}, one.card), make("td", {}, M.gib(one.predicted, 2)), make("td", {}, M.gib(one.allocated, 2)), make("td", {}, M.percent(one.error))));
    if (!rows.length) return make("p", { class: "st-note" }, word("memory_no_measured"));
    return card(word("memory_measured_jobs"), "memory-measured", make("table", { class: "st-memory-table" }, make("thead", {}, head(word("jobs"), word("memory_card"), word("memory_predicted"), word("memory_measured"), word("memory_error"))), make("tbody", {}, ...rows)));
  }

  /* ---- a job's card, in the Jobs tab ---- */
  S.widgets.jobMemory = (element) => {
    let shown = "";
    const draw = (job, told) => {
      const probe = make("button", { type: "button", class: "st-button small", id: "job-probe", title: word("probe_note"), onclick: async () => {
        probe.disabled = true;
        S.toast(word("probe_running"));
        const response = await fetch(`api/memory/jobs/${job}/probe`, { method: "POST" });
        const answer = await response.json();
        if (response.ok) draw(job, { ...told, ...answer, can_probe: true });
        else { probe.disabled = false; S.toast([answer.error.message, answer.error.hint].join(" "), "bad"); }
      } }, word("probe"));
      if (!told.card) return element.replaceChildren(told.can_probe ? make("div", { class: "st-actions" }, probe) : "");
      const facts = [["oom_predicted", told.predicted ? M.gib(told.predicted, 2) : "–"], ["oom_measured", M.gib(told.allocated, 2)], ["memory_card", `${told.card} · ${M.gib(told.card_bytes)}`]];
      if (told.grew) facts.push(["oom_grew", `${word(`memory_part.${told.grew}`)} · ${word(`memory_phase.${told.phase}`)}`]);
      const again = (index) => async () => {
        const response = await fetch(`api/memory/jobs/${job}/retry/${index}`, { method: "POST" });
        const answer = await response.json();
        if (response.ok) { S.toast(word("jobs_started")); S.setJob(answer.job); } else S.toast([answer.error.message, answer.error.hint].join(" "), "bad");
      };
      const ways = (told.ways || []).map((way, index) => make("button", { type: "button", class: "st-button small", "data-way": index, title: word("oom_retry"), onclick: again(index) }, `${way.names.map((name) => word(`memory_knob.${name}`)).join(" + ")} · ${M.percent(way.speed)} ${word("memory_speed")}`));
      element.replaceChildren(make("section", { class: `st-card ${told.out_of_memory ? "st-bad" : ""}` }, make("div", { class: "st-card-head" }, make("h3", {}, word(told.out_of_memory ? "oom_title" : "tab_memory"))),
        make("dl", { class: "st-facts" }, ...facts.flatMap(([key, value]) => [make("dt", {}, word(key)), make("dd", {}, value)])), ...(ways.length ? [make("p", { class: "st-note" }, word("oom_ways")), make("div", { class: "st-actions" }, ...ways)] : []), told.can_probe ? probe : ""));
    };
    const look = async () => {
      const job = S.summary, now = job ? `${job.id}.${job.status}` : "";
      if (now === shown) return;
      shown = now;
      element.replaceChildren();
      if (!job || !["completed", "stopped", "failed"].includes(job.status)) return;
      const response = await fetch(`api/memory/jobs/${job.id}`);
      if (response.ok && shown === now) draw(job.id, await response.json());
    };
    for (const event of ["summary", "job", "reset"]) S.on(event, element, look);
    look();
  };

  M.parts = () => [verdict(), phases(), knobs(), cards(), figures(), measured()];
})();
