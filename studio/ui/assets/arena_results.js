/* What the votes of the Arena tab come to: ranking, win matrix, latest votes, and the data sets made of them. */
(function () {
  "use strict";
  const S = window.Studio, A = S.arena, make = S.make, word = S.word;
  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
  const filters = { dataset: "", voter: "", contender: [] };
  let table = null, shown = null, turn = 0;

  A.results = (root) => {
    shown = root;
    if (!root.dataset.heard) {
      root.dataset.heard = "1";
      S.on("arena-votes", root, look);
      S.on("theme", root, plots);
    }
    look();
  };
  const look = A.loud(async () => {
    const query = new URLSearchParams([["dataset", filters.dataset], ["voter", filters.voter], ...filters.contender.map((one) => ["contender", one])]);
    const asked = ++turn, found = await A.ask(`table?${query}`);
    if (asked !== turn) return; // a later question is on its way
    table = found;
    draw();
    await plots();
  });

  function draw() {
    const known = table.filters, any = known.contenders.length > 0;
    const notes = [table.retracted ? A.say("arena_taken_back", { n: S.number(table.retracted) }) : "", table.unreadable ? A.say("arena_unreadable", { n: S.number(table.unreadable) }) : ""].filter(Boolean);
    if (!any) return shown.replaceChildren(make("div", { class: "st-card" }, make("h3", {}, word("arena_ranking")), make("p", { class: "st-note" }, [word("arena_no_votes"), ...notes].join(" "))));
    const opened = shown.querySelector("#arena-latest")?.open;
    shown.replaceChildren(ranking(notes), matrixCard(), data(), latest(opened));
  }

  /* ---- filters and ranking ---- */
  const menu = (name, label, choices) => {
    const control = make("select", { class: "st-input", id: `arena-filter-${name}`, "aria-label": word(label), onchange: () => { filters[name] = control.value; look(); } }, make("option", { value: "" }, word(label)), ...choices.map(([value, title]) => make("option", { value }, title)));
    control.value = filters[name];
    return control;
  };
  function bar() {
    const known = table.filters;
    const people = known.contenders.length < 3 ? [] : known.contenders.map((one) => make("button", { type: "button", class: "st-button small chip", "aria-pressed": String(filters.contender.includes(one.key)), "data-key": one.key, onclick: () => {
      filters.contender = filters.contender.includes(one.key) ? filters.contender.filter((key) => key !== one.key) : [...filters.contender, one.key];
      look();
    } }, one.name));
    return make("div", { class: "st-arena-filters" }, menu("dataset", "arena_all_data", known.datasets.map((one) => [one.id || "typed", one.name])), menu("voter", "arena_all_voters", known.voters.map((one) => [one, one])), ...people);
  }
  const points = (one) => (one.points === null ? "–" : `${S.number(one.points)} (${S.number(one.low)} – ${S.number(one.high)})`);
  function ranking(notes) {
    const groups = [...new Set(table.contenders.map((one) => one.group))].map((group) => table.contenders.filter((one) => one.group === group));
    const met = groups.filter((group) => group.length > 1), alone = groups.filter((group) => group.length === 1).flat();
    const columns = ["arena_contender", "arena_points", "arena_wins", "arena_losses", "arena_ties", "arena_both_bad"];
    const row = (one) => make("tr", { "data-key": one.key }, make("th", {}, one.name), ...[points(one), one.wins, one.losses, one.ties, one.both_bad].map((value) => make("td", {}, typeof value === "number" ? S.number(value) : value)));
    const rows = met.flatMap((group, index) => [met.length > 1 ? make("tr", {}, make("td", { colspan: 6, class: "st-arena-group" }, A.say("arena_group", { n: index + 1 }))) : null, ...group.map(row)]).concat(alone.map(row)).filter(Boolean);
    const said = [table.groups > 1 && table.votes ? word("arena_groups") : "", table.contenders.some((one) => !one.bounded) ? word("arena_unbounded") : "", overlap(met[0]), habit(), ...notes].filter(Boolean);
    return make("div", { class: "st-card" }, make("div", { class: "st-card-head" }, make("h3", {}, word("arena_ranking")), make("span", { class: "st-note", id: "arena-count" }, A.say("arena_votes", { n: S.number(table.votes) }))), bar(),
      met.length ? make("div", { class: "st-plot", id: "plot-arena-ranking" }) : null,
      make("div", { class: "st-scroll" }, make("table", { class: "st-memory-table", id: "arena-table" }, make("thead", {}, make("tr", {}, ...columns.map((name) => make("th", {}, word(name))))), make("tbody", {}, ...rows))),
      ...said.map((text) => make("p", { class: "st-note" }, text)), make("p", { class: "st-note" }, word("arena_method")));
  }
  /** The first two of a group whose intervals overlap may be as good as each other. */
  const overlap = (group) => (group && group[0].low < group[1].high ? A.say("arena_overlap", { a: group[0].name, b: group[1].name }) : "");
  function habit() {
    const decided = table.contenders.reduce((sum, one) => sum + one.wins, 0), share = table.left_share;
    return decided >= 10 && Math.abs(share - 0.5) > 1 / Math.sqrt(decided) ? A.say("arena_habit", { share: S.number(100 * share) }) : ""; // two standard errors
  }
  function matrixCard() {
    return make("div", { class: "st-card" }, make("h3", {}, word("arena_matrix")), make("p", { class: "st-note" }, word("arena_matrix_text")), make("div", { class: "st-arena-matrix", id: "plot-arena-matrix" }));
  }

  /* ---- plots ---- */
  async function plots() {
    if (!shown?.isConnected || !table?.contenders.length) return;
    const Plotly = await S.loadPlotly(), text = colour("--st-muted"), grid = colour("--st-grid"), options = { displayModeBar: false, responsive: true };
    const axis = { gridcolor: grid, linecolor: grid, zeroline: false, tickfont: { color: text, size: 11 }, automargin: true };
    const base = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "Inter Variable, sans-serif", size: 12, color: text }, showlegend: false, hoverlabel: { bgcolor: colour("--st-card"), bordercolor: grid, font: { color: colour("--body-text-color") } } };
    const ranked = table.contenders.filter((one) => one.points !== null), place = document.getElementById("plot-arena-ranking");
    const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;"); // Plotly takes some tags for markup
    const short = (name) => plain(name.length > 22 ? `${name.slice(0, 21)}…` : name);
    if (place && ranked.length) {
      const shades = ["--st-c1", "--st-c3", "--st-c2", "--st-c4", "--st-c5"].map(colour), of = ranked.map((one) => shades[one.group % shades.length]);
      const dots = { type: "scatter", mode: "markers", x: ranked.map((one) => one.points), y: ranked.map((_, index) => index), text: ranked.map((one) => plain(one.name)), hovertemplate: "%{text}: %{x:.0f}<extra></extra>", marker: { color: of, size: 11 },
        error_x: { type: "data", symmetric: false, array: ranked.map((one) => one.high - one.points), arrayminus: ranked.map((one) => one.points - one.low), color: text, thickness: 1.6, width: 5 } };
      place.style.height = `${70 + 34 * ranked.length}px`;
      Plotly.react(place, [dots], { ...base, margin: { l: 10, r: 14, t: 6, b: 40 }, xaxis: { ...axis, title: { text: word("arena_points"), font: { size: 11, color: text } } }, yaxis: { ...axis, tickvals: ranked.map((_, index) => index), ticktext: ranked.map((one) => short(one.name)), autorange: "reversed", showgrid: false } }, options);
    }
    const matrix = document.getElementById("plot-arena-matrix"), names = table.contenders.map((one) => short(one.name)), size = names.length;
    if (!matrix || size < 2) return;
    const met = (i, j) => table.wins[i][j] + table.wins[j][i] + table.ties[i][j];
    const share = (i, j) => (met(i, j) ? (table.wins[i][j] + table.ties[i][j] / 2) / met(i, j) : null);
    const all = [...Array(size).keys()], cell = (i, j) => (i === j || !met(i, j) ? "" : `${S.number(100 * share(i, j))} %<br>${A.say("arena_cell", { n: S.number(met(i, j)) })}`);
    matrix.style.maxWidth = `${220 + 130 * size}px`;
    matrix.style.height = `${Math.max(190, 90 + 58 * size)}px`;
    Plotly.react(matrix, [{ type: "heatmap", z: all.map((i) => all.map((j) => share(i, j))), x: all, y: all, zmin: 0, zmax: 1, xgap: 2, ygap: 2, showscale: false, hoverinfo: "skip", colorscale: [[0, colour("--st-c4")], [0.5, colour("--st-hover")], [1, colour("--st-c1")]] }],
      { ...base, margin: { l: 10, r: 10, t: 8, b: 30 }, annotations: all.flatMap((i) => all.map((j) => ({ x: j, y: i, text: cell(i, j), showarrow: false, font: { size: 12, color: share(i, j) !== null && Math.abs(share(i, j) - 0.5) > 0.3 ? colour("--st-card") : colour("--body-text-color") } }))),
        xaxis: { ...axis, tickvals: all, ticktext: names, tickangle: size > 3 ? 35 : 0, tickfont: { color: text, size: size > 3 ? 9 : 11 }, showgrid: false }, yaxis: { ...axis, tickvals: all, ticktext: names, autorange: "reversed", showgrid: false } }, options);
  }

  /* ---- data sets ---- */
  function data() {
    const card = make("div", { class: "st-card", id: "arena-data" }, make("h3", {}, word("arena_data")), make("p", { class: "st-note" }, word("arena_data_text")), make("div", { class: "st-arena-kinds" }, ...["preference", "kto"].map(kindOf)));
    return card;
  }
  const made = {}; // kind → what was made of it, until there are new votes
  function kindOf(kind) {
    const about = make("p", { class: "st-note" }), after = make("div", { class: "st-stack" });
    const run = make("button", { type: "button", class: "st-button small primary", id: `arena-make-${kind}`, onclick: A.loud(async () => {
      run.disabled = true;
      try { made[kind] = await A.ask("data", { kind }); } finally { run.disabled = false; }
      S.toast(word("arena_made"));
      follow();
    }) }, word(`arena_make_${kind}`));
    const follow = () => after.replaceChildren(...(made[kind] ? next(made[kind]) : []));
    follow();
    run.disabled = true;
    A.ask(`data/${kind}`).then((told) => { about.textContent = counts(kind, told); run.disabled = !told.rows; }, (error) => { about.textContent = error.message; });
    return make("div", { class: "st-stack", "data-kind": kind }, make("b", {}, word(`arena_kind_${kind}`)), about, make("div", {}, run), after);
  }
  function counts(kind, told) {
    const out = Object.entries(told.left_out).map(([reason, n]) => A.say(`arena_out_${reason}`, { n: S.number(n) }));
    const more = kind === "kto" ? A.say("arena_labels", { good: S.number(told.good), bad: S.number(told.bad) }) : told.rewritten ? A.say("arena_rewritten_rows", { n: S.number(told.rewritten) }) : "";
    return [told.rows ? A.say("arena_rows", { n: S.number(told.rows) }) : word(`arena_none_${kind}`), told.rows ? more : "", out.length ? `${word("arena_out")} ${out.join(", ")}.` : ""].filter(Boolean).join(" ");
  }
  /** Look at the new data set, or train on it from the contender that was preferred most often. */
  function next(one) {
    const start = make("select", { class: "st-input", id: `arena-start-from-${one.kind}`, "aria-label": word("arena_start_from") }, ...one.starts.map((from) => make("option", { value: from.start }, `${from.name}${from.preferred ? ` · ${A.say("arena_preferred_times", { n: S.number(from.preferred) })}` : ""}${from.start.startsWith("base:") ? ` · ${word("arena_new_adapter")}` : ""}`)));
    return [make("p", { class: "st-note" }, A.say("arena_made_text", { name: one.name, n: S.number(one.rows) })), make("label", { class: "st-field" }, make("span", {}, word("arena_start_from")), start),
      one.only_answer.length ? make("p", { class: "st-note" }, A.say("arena_only_answer", { names: one.only_answer.join(", ") })) : null,
      make("div", { class: "st-actions flat" }, make("button", { type: "button", class: "st-button small primary", id: `arena-train-${one.kind}`, onclick: () => A.trigger("train_votes", { dataset: one.dataset, kind: one.kind, start: start.value }) }, word(`arena_train_${one.kind}`)),
        make("button", { type: "button", class: "st-button small", id: `arena-open-${one.kind}`, onclick: () => A.trigger("open_votes", { dataset: one.dataset }) }, word("arena_open_data")))].filter(Boolean);
  }
  S.on("arena-votes", document.documentElement, () => { delete made.preference; delete made.kto; });

  /* ---- the latest votes ---- */
  function latest(open) {
    const row = (one) => {
      const side = (name) => make("b", { class: one.outcome === name ? "good" : "" }, one[name]);
      const own = one.voter === A.voter ? make("button", { type: "button", class: "st-link", onclick: () => A.retract(one.round) }, word("arena_undo")) : null;
      return make("tr", { "data-round": one.round }, make("td", {}, one.asked.length > 90 ? `${one.asked.slice(0, 90)} …` : one.asked), make("td", {}, side("left"), " – ", side("right")), make("td", {}, word(`arena_outcome_${one.outcome}`), one.rewritten.length ? ` · ${word("arena_rewritten")}` : ""), make("td", {}, one.voter), make("td", {}, own));
    };
    return make("details", { class: "st-card", id: "arena-latest", open }, make("summary", {}, A.say("arena_latest", { n: S.number(table.latest.length) })), make("div", { class: "st-scroll" }, make("table", { class: "st-memory-table" }, make("tbody", {}, ...table.latest.map(row)))));
  }
})();
