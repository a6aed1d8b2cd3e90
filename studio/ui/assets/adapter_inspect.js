/* Looking into adapters: which to look into, heat maps over layers, singular values, likeness of several. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, A = S.adapters, make = S.make, word = S.word;
  const MEASURES = ["relative", "norm", "effective_rank", "stable_rank"];
  const short = (text) => (text.length > 26 ? `${text.slice(0, 25)}…` : text);
  const exact = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 0.01 && Math.abs(value) < 1000 ? S.number(value, 3) : value.toExponential(2));
  const percent = (value) => (value === null ? "–" : `${S.number(100 * value, value < 0.001 ? 4 : 2)} %`);

  W.adapterInspect = (element, value, options) => {
    let report = null, shown = 0, measure = "relative", pair = "", running = "", stop = () => {};
    const choice = make("div", { class: "st-choice", id: "inspect-choice" });
    const result = make("div", { class: "st-stack", id: "inspect-result", "aria-live": "polite" });
    const start = A.button(word("adapters_look"), () => look(), "primary", { id: "inspect-start" });
    const root = A.card(word("adapters_inspect_title"), "inspect-card", make("p", { class: "st-note" }, A.say("adapters_inspect_text", { n: options.most })), choice, make("div", { class: "st-actions flat" }, start), result);
    element.replaceChildren(root);

    const choose = () => {
      const all = A.listing?.adapters || [];
      start.disabled = !A.chosen.length;
      if (!all.length) return choice.replaceChildren(make("p", { class: "st-note" }, word("adapters_inspect_none")));
      const labels = A.apart(all, (entry) => short(A.title(entry)));
      choice.replaceChildren(...all.map((entry) => {
        const on = A.chosen.includes(entry.name);
        const flip = () => {
          A.chosen = on ? A.chosen.filter((name) => name !== entry.name) : [...A.chosen, entry.name].slice(-options.most);
          choose();
        };
        return make("button", { type: "button", class: "st-pick", "aria-pressed": on, "data-adapter": entry.name, title: entry.name, onclick: flip }, labels[entry.name], make("em", {}, A.tuner(entry.tuner)));
      }));
    };
    const look = A.loud(async () => {
      stop();
      const names = [...A.chosen];
      if (!names.length) return;
      const bar = make("div"), told = make("div", { class: "st-import-known" });
      report = null;
      result.replaceChildren(bar, told);
      const { task } = await A.post("/inspect", { names });
      running = task;
      stop = A.follow(task, (view) => {
        if (task !== running) return;
        if (view.state === "failed") return result.replaceChildren(A.trouble(view.error));
        if (view.state === "done") { report = view.result; shown = 0; pair = Object.keys(report.pairs)[0] || ""; return draw(); }
        bar.replaceChildren(A.bar(view.progress));
        told.textContent = view.told.module || "";
      });
    });
    A.inspect = (names) => {
      A.chosen = [...names];
      choose();
      root.scrollIntoView({ behavior: "smooth", block: "start" });
      look();
    };

    /* ---- the result ---- */
    const draw = () => {
      if (!report) return;
      const parts = [];
      if (report.adapters.length > 1) parts.push(likeness());
      parts.push(one());
      result.replaceChildren(...parts.flat());
      paint();
    };
    const names = () => Object.values(A.apart(report.adapters, (entry) => short(A.title(entry))));
    const menu = (id, choices, chosen, run) => {
      const select = make("select", { class: "st-input", id, onchange: () => { run(select.value); draw(); } }, ...choices.map(([key, title]) => make("option", { value: key }, title)));
      select.value = chosen;
      return select;
    };
    function likeness() {
      const pairs = Object.keys(report.pairs).map((key) => [key, key.split("-").map((index) => names()[index]).join(" ↔ ")]);
      return [make("h4", {}, word("adapters_likeness")), make("p", { class: "st-note" }, word("adapters_likeness_text")),
        make("div", { class: "st-heat-pair" }, make("div", { class: "st-heat", id: "plot-cosine" }), make("div", {}, A.field(word("adapters_pair"), menu("inspect-pair", pairs, pair, (chosen) => { pair = chosen; })), make("div", { class: "st-heat", id: "plot-pair" })))];
    }
    function one() {
      const entry = report.adapters[shown];
      const which = report.adapters.length > 1 ? [A.field(word("adapters_one"), menu("inspect-which", names().map((name, index) => [index, name]), shown, (chosen) => { shown = Number(chosen); }))] : [];
      if (entry.reason) return [...which, make("div", { class: "st-card st-warn", id: "inspect-reason" }, word(`adapters_reason_${entry.reason}`))];
      const strongest = [...entry.layers].sort((a, b) => (b.relative ?? b.norm) - (a.relative ?? a.norm))[0];
      const ranks = entry.layers.map((row) => row.effective_rank).filter((rank) => rank !== null);
      const mean = ranks.length ? ranks.reduce((sum, rank) => sum + rank, 0) / ranks.length : null;
      const usable = MEASURES.filter((key) => entry.layers.some((row) => row[key] !== null));
      if (!usable.includes(measure)) measure = usable[0];
      return [make("h4", {}, A.title(entry)), make("div", { class: "st-kpis k4" },
        S.kpi(word("adapters_norm"), exact(entry.norm), word("adapters_norm_note")), S.kpi(word("adapters_relative"), percent(entry.relative), report.base_here ? word("adapters_relative_note") : word("adapters_base_away")),
        S.kpi(word("adapters_effective_rank"), mean === null ? "–" : S.number(mean, 1), mean === null ? word("adapters_no_rank") : A.say("adapters_of_rank", { r: Math.max(...entry.layers.map((row) => row.rank || 0)) })),
        S.kpi(word("adapters_strongest"), strongest.part.split(".").pop(), strongest.layer === null ? strongest.module : A.say("adapters_layer", { n: strongest.layer }))),
      make("div", { class: "st-heat-bar" }, ...which, A.field(word("adapters_measure"), menu("inspect-measure", usable.map((key) => [key, word(`adapters_measure_${key}`)]), measure, (chosen) => { measure = chosen; }))),
      make("div", { class: "st-heat", id: "plot-layers" }), make("p", { class: "st-note" }, word(`adapters_measure_${measure}_help`)), make("div", { class: "st-spectrum", id: "plot-spectrum" })];
    }

    /* ---- the plots ---- */
    const layout = (more) => {
      const text = A.colour("--st-muted");
      const axis = { tickfont: { color: text, size: 11 }, automargin: true, gridcolor: A.colour("--st-grid"), zeroline: false };
      return { margin: { l: 8, r: 8, t: 8, b: 8 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "Inter Variable, sans-serif", size: 12, color: text }, hoverlabel: { bgcolor: A.colour("--st-card"), bordercolor: A.colour("--st-line"), font: { color: A.colour("--body-text-color") } }, ...more, xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis } };
    };
    const settings = { displayModeBar: false, responsive: true };
    /** One cell a module: layers across, parts down; modules outside the layers come first. */
    function grid(rows, read) {
      const parts = [...new Set(rows.map((row) => row.part))], layers = [...new Set(rows.map((row) => (row.layer === null ? "–" : String(row.layer))))];
      const last = parts.map((part) => part.split(".").pop()), label = parts.map((part, index) => (last.filter((name) => name === last[index]).length > 1 ? part : last[index]));
      const cells = parts.map(() => layers.map(() => null)), modules = parts.map(() => layers.map(() => ""));
      for (const row of rows) {
        const x = layers.indexOf(row.layer === null ? "–" : String(row.layer)), y = parts.indexOf(row.part);
        cells[y][x] = read(row);
        modules[y][x] = row.module;
      }
      return { x: layers, y: label, z: cells, customdata: modules };
    }
    const rising = () => [[0, A.colour("--st-hover")], [1, A.colour("--st-c1")]];
    const both = () => [[0, A.colour("--st-c2")], [0.5, A.colour("--st-hover")], [1, A.colour("--st-c1")]];
    const heat = (cells, more) => ({ type: "heatmap", hoverongaps: false, xgap: 1, ygap: 1, colorbar: { thickness: 10, outlinewidth: 0, tickfont: { color: A.colour("--st-muted"), size: 11 } }, ...cells, ...more });
    const axes = (cells) => ({ height: Math.max(150, 76 + 24 * cells.y.length), xaxis: { type: "category", title: { text: word("adapters_axis_layer"), standoff: 4 } }, yaxis: { autorange: "reversed", type: "category" } });
    let painting = Promise.resolve();
    const paint = () => { painting = painting.then(paintAll); };
    async function paintAll() {
      const Plotly = await S.loadPlotly();
      if (!report || !element.isConnected || S.tab() !== "adapters") return;
      const at = (id) => result.querySelector(`#${id}`);
      if (at("plot-cosine")) {
        const cosine = report.cosine, places = cosine.map((_, index) => index), ticks = { tickmode: "array", tickvals: places, ticktext: names().map(A.plain) };
        const text = cosine.map((row) => row.map((cell) => (cell === null ? "" : S.number(cell, 2))));
        await Plotly.react(at("plot-cosine"), [heat({ x: places, y: places, z: cosine }, { zmin: -1, zmax: 1, colorscale: both(), text, texttemplate: "%{text}", showscale: false, hovertemplate: "%{z:.4f}<extra></extra>" })], layout({ height: 110 + 46 * cosine.length, xaxis: ticks, yaxis: { ...ticks, autorange: "reversed" } }), settings);
        const [i] = pair.split("-"), rows = report.adapters[i].layers.filter((row) => row.module in report.pairs[pair]);
        const cells = grid(rows, (row) => report.pairs[pair][row.module]);
        await Plotly.react(at("plot-pair"), rows.length ? [heat(cells, { zmin: -1, zmax: 1, colorscale: both(), hovertemplate: "%{customdata}: %{z:.4f}<extra></extra>" })] : [], layout({ ...axes(cells), annotations: rows.length ? [] : [{ text: word("adapters_no_pair"), showarrow: false }] }), settings);
      }
      if (!at("plot-layers")) return;
      const entry = report.adapters[shown], cells = grid(entry.layers, (row) => row[measure]);
      const format = measure === "relative" ? ".4%" : ".4g";
      await Plotly.react(at("plot-layers"), [heat(cells, { zmin: 0, colorscale: rising(), hovertemplate: `%{customdata}: %{z:${format}}<extra></extra>`, colorbar: { thickness: 10, outlinewidth: 0, tickformat: measure === "relative" ? ".2%" : ".3g", tickfont: { color: A.colour("--st-muted"), size: 11 } } })], layout(axes(cells)), settings);
      const strongest = [...entry.layers].sort((a, b) => (b[measure] ?? 0) - (a[measure] ?? 0))[0];
      await spectrum(Plotly, at("plot-spectrum"), strongest);
      at("plot-layers").removeAllListeners?.("plotly_click");
      at("plot-layers").on("plotly_click", (event) => spectrum(Plotly, at("plot-spectrum"), entry.layers.find((row) => row.module === event.points[0].customdata)));
    }
    async function spectrum(Plotly, place, row) {
      if (!row?.singular) return Plotly.purge(place);
      const line = { type: "bar", x: row.singular.map((_, index) => index + 1), y: row.singular, marker: { color: A.colour("--st-c1") }, hovertemplate: "%{x}: %{y:.4g}<extra></extra>" };
      await Plotly.react(place, [line], layout({ height: 190, margin: { l: 8, r: 8, t: 30, b: 8 }, title: { text: `${word("adapters_singular")} · ${row.module}`, font: { size: 12.5, color: A.colour("--st-muted") }, x: 0, xanchor: "left" }, xaxis: { dtick: row.singular.length > 16 ? 8 : 1 }, yaxis: { rangemode: "tozero" } }), settings);
    }
    S.on("adapters", element, choose);
    S.on("theme", element, paint);
    S.on("tab", element, paint);
    choose();
  };
})();
