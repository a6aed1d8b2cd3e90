/* Live charts: drawn once by Plotly, then extended; zoom, smoothing and legend survive every update. */
(function () {
  "use strict";
  const S = window.Studio, make = S.make, word = S.word;
  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
  let plotly = null;
  const loadPlotly = S.loadPlotly = () => (plotly ||= new Promise((done, fail) => {
    const script = make("script", { src: "ui-assets/plotly.min.js" });
    script.onload = () => done(window.Plotly);
    script.onerror = fail;
    document.head.append(script);
  }));
  const figures = {};
  const loadFigures = (objective) => (figures[objective] ||= fetch(`api/figures?objective=${objective}`).then((response) => response.json()));

  /** Exponential smoothing with the start corrected, kept per line so that new points cost nothing. */
  class Smoother {
    constructor(weight) { this.weight = weight; this.sum = 0; this.count = 0; }
    next(value) {
      this.sum = this.sum * this.weight + value * (1 - this.weight);
      this.count += 1;
      return Number((this.sum / (1 - Math.pow(this.weight, this.count))).toPrecision(6)); // as exact as points are: no axis over what rounding left
    }
  }

  const colours = () => ({ text: colour("--st-muted"), grid: colour("--st-grid") });
  /** A short job has a mark for every step: half steps do not exist. */
  const stepTicks = () => (S.summary && S.summary.max_steps > 0 && S.summary.max_steps <= 12 ? { tickmode: "linear", tick0: 0, dtick: 1 } : { tickmode: "auto" });
  function themed(layout) {
    const { text, grid } = colours();
    const small = { color: text, size: 11 };
    const nothing = !S.points.length; // axes without a line would be numbers that mean nothing
    const axis = { gridcolor: grid, linecolor: grid, tickfont: small, visible: !nothing };
    const note = { text: word("chart_empty"), showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: { color: text, size: 13 } };
    return { ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "Inter Variable, sans-serif", size: 12, color: text },
      legend: { ...layout.legend, font: { color: text } }, hoverlabel: { bgcolor: colour("--st-card"), bordercolor: grid, font: { color: colour("--body-text-color") } },
      annotations: nothing ? [note] : [],
      xaxis: { ...layout.xaxis, ...axis, ...stepTicks(), title: { text: word("jobs_step"), font: small, standoff: 4 } }, yaxis: { ...layout.yaxis, ...axis } };
  }

  class Chart {
    constructor(spec, smoothing) {
      this.spec = spec;
      this.plot = make("div", { class: "st-plot", id: `plot-${spec.name}` });
      this.slider = make("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: smoothing, "aria-label": word("chart_smoothing"), oninput: () => this.redraw() });
      const smooth = spec.figure.data.some((trace) => trace.meta.smooth);
      this.root = make("div", { class: `st-card st-chart ${spec.name}` }, make("div", { class: "st-card-head" }, make("h3", {}, word(`chart_${spec.name}`)),
        make("div", { class: "st-controls" }, smooth ? make("label", {}, word("chart_smoothing"), this.slider) : null,
          make("button", { type: "button", class: "st-link", onclick: () => window.Plotly.relayout(this.plot, { "xaxis.autorange": true, "yaxis.autorange": true }) }, word("chart_reset")))), this.plot);
    }
    traces() {
      this.seen = S.points.length;
      this.smoothers = this.spec.figure.data.map(() => new Smoother(Number(this.slider.value)));
      return this.spec.figure.data.map((trace, index) => {
        const shade = colour(trace.meta.colour);
        const line = this.line(S.points, index);
        const mode = line.x.length === 1 && !trace.meta.raw ? "lines+markers" : trace.mode; // one point makes no line
        return { ...trace, ...line, mode, name: word(`metric_${trace.meta.metric}`), line: { ...trace.line, color: shade }, marker: { color: shade, size: 7 } };
      });
    }
    /** The x and y of one trace for some points. */
    line(points, index) {
      const { metric, smooth } = this.spec.figure.data[index].meta;
      const x = [], y = [];
      for (const [step, values] of points) {
        if (values[metric] === undefined) continue;
        x.push(step);
        y.push(smooth ? this.smoothers[index].next(values[metric]) : values[metric]);
      }
      return { x, y };
    }
    async draw() {
      const Plotly = await loadPlotly();
      await Plotly.newPlot(this.plot, this.traces(), themed(this.spec.figure.layout), { displayModeBar: false, responsive: true, scrollZoom: false });
      this.drawn = true;
      this.extend(); // what came while Plotly was drawing
    }
    extend() {
      if (!this.drawn) return;
      if (this.seen === 0 && S.points.length) return this.redraw();
      const { tickmode } = stepTicks();
      if (tickmode !== this.plot.layout.xaxis.tickmode) window.Plotly.relayout(this.plot, Object.fromEntries(Object.entries(stepTicks()).map(([key, value]) => [`xaxis.${key}`, value])));
      const points = S.points.slice(this.seen);
      if (this.spec.figure.data.some(({ meta }, index) => this.plot.data[index].x.length < 2 && points.some(([, values]) => values[meta.metric] !== undefined))) return this.redraw();
      this.seen = S.points.length;
      const lines = this.spec.figure.data.map((_, index) => this.line(points, index));
      const touched = lines.map((line, index) => index).filter((index) => lines[index].x.length);
      if (touched.length) window.Plotly.extendTraces(this.plot, { x: touched.map((index) => lines[index].x), y: touched.map((index) => lines[index].y) }, touched);
    }
    /** New smoothing or other colours: the same lines again, with the view and hidden lines as they were. */
    redraw() {
      if (!this.drawn) return;
      const traces = this.traces().map((trace, index) => ({ ...trace, visible: this.plot.data[index].visible }));
      const { xaxis, yaxis } = this.plot.layout;
      const layout = themed(this.spec.figure.layout);
      for (const [name, axis] of [["xaxis", xaxis], ["yaxis", yaxis]]) if (axis.autorange === false) layout[name] = { ...layout[name], range: axis.range, autorange: false };
      window.Plotly.react(this.plot, traces, layout);
    }
  }

  S.widgets.charts = (element) => {
    let charts = [], shown = "";
    const grid = make("div", { class: "st-charts" });
    element.replaceChildren(grid);
    S.charts = () => charts;
    const visible = () => S.summary && S.tab() === "jobs";
    async function build() {
      if (!visible()) return;
      const key = `${S.job}/${S.summary.objective}/${S.summary.revision}`;
      if (key === shown) return;
      shown = key;
      if (S.summary.merge) { charts = []; grid.replaceChildren(); return; } // it has no steps
      const specs = await loadFigures(S.summary.objective);
      await loadPlotly();
      if (key !== shown) return;
      charts = specs.map((spec) => new Chart(spec, spec.name === "loss" ? 0.6 : 0.4));
      grid.replaceChildren(...charts.map((chart) => chart.root));
      for (const chart of charts) await chart.draw();
    }
    S.on("summary", element, build);
    S.on("tab", element, build);
    S.on("reset", element, () => { shown = ""; charts = []; grid.replaceChildren(); });
    S.on("points", element, () => charts.forEach((chart) => chart.extend()));
    S.on("theme", element, () => charts.forEach((chart) => chart.redraw()));
    build();
  };
})();
