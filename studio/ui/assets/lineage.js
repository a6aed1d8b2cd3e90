/* The lineage graph: Plotly draws what the studio has laid out in layers; a click opens the job or the data set. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, A = S.adapters, make = S.make, word = S.word;
  const KINDS = { dataset: ["--st-c3", "square"], job: ["--st-c1", "circle"], checkpoint: ["--st-c1", "circle-open"], merge: ["--st-c5", "diamond"], imported: ["--st-c2", "hexagon"], gone: ["--st-muted", "x-thin-open"] };
  const COLUMN = 190, ROW = 62; // pixels between layers, and between nodes of one
  const short = (text) => (text.length > 22 ? `${text.slice(0, 21)}…` : text);

  W.lineage = (element) => {
    let graph = null, asked = "";
    const plot = make("div", { class: "st-lineage-plot", id: "plot-lineage" });
    const scroll = make("div", { class: "st-scroll" }, plot), body = make("div", { class: "st-stack" });
    element.replaceChildren(A.card(word("lineage_title"), "lineage-card", make("p", { class: "st-note" }, word("lineage_text")), body));

    const open = (node) => {
      if (node.kind === "dataset") return location.assign(`?${new URLSearchParams({ tab: "data", dataset: node.id.slice("dataset:".length) })}`);
      if (node.kind === "imported") return document.querySelector(`#adapter-table tr[data-adapter="${CSS.escape(node.id)}"]`)?.scrollIntoView({ behavior: "smooth", block: "center" });
      if (node.job && S.jobs.has(node.job)) return S.openJob(node.job);
      S.toast(word("lineage_gone"), "bad");
    };
    const look = A.loud(async () => {
      if (S.tab() !== "adapters") return;
      const now = JSON.stringify([[...S.jobs.keys()].sort(), (A.listing?.adapters || []).map((entry) => entry.name)]);
      if (graph && now === asked) return paint();
      asked = now;
      graph = await A.ask("/lineage");
      await paint();
    });
    let painting = Promise.resolve();
    const paint = () => (painting = painting.then(draw));
    async function draw() {
      if (!graph) return;
      if (!graph.nodes.length) return void body.replaceChildren(make("p", { class: "st-note", id: "lineage-empty" }, word("lineage_empty")));
      if (!scroll.isConnected) body.replaceChildren(scroll);
      const Plotly = await S.loadPlotly();
      if (!plot.isConnected || S.tab() !== "adapters") return;
      const last = Math.max(...graph.nodes.map((node) => node.x)), ys = graph.nodes.map((node) => node.y), low = Math.min(...ys), high = Math.max(...ys);
      const width = Math.max(scroll.clientWidth - 2, 120 + COLUMN * (last + 1)), height = Math.max(190, 120 + ROW * (high - low + 1));
      const at = new Map(graph.nodes.map((node) => [node.id, node])), text = A.colour("--st-muted");
      plot.style.width = `${width}px`;
      const used = Object.keys(KINDS).filter((kind) => graph.nodes.some((node) => node.kind === kind));
      const traces = used.map((kind) => {
        const nodes = graph.nodes.filter((node) => node.kind === kind), [shade, symbol] = KINDS[kind];
        return { type: "scatter", mode: "markers+text", name: word(`lineage_kind_${kind}`), x: nodes.map((node) => node.x), y: nodes.map((node) => -node.y), text: nodes.map((node) => A.plain(short(node.title))), textposition: "bottom center", textfont: { size: 11.5, color: A.colour("--body-text-color") }, cliponaxis: false,
          marker: { symbol, size: 17, color: A.colour(shade), line: { width: 2, color: A.colour(shade) } }, customdata: nodes.map((node) => node.id), hovertext: nodes.map((node) => A.plain([node.title, node.detail, node.id.replace("dataset:", "")].filter(Boolean).join(" · "))), hoverinfo: "text" };
      });
      const arrows = graph.edges.map(([source, target, use]) => {
        const from = at.get(source), to = at.get(target), direct = ["continues", "merge", "checkpoint"].includes(use);
        return { x: to.x, y: -to.y, ax: from.x, ay: -from.y, xref: "x", yref: "y", axref: "x", ayref: "y", showarrow: true, text: "", arrowhead: 2, arrowsize: 1.1, arrowwidth: direct ? 1.8 : 1.2, standoff: 13, startstandoff: 12, arrowcolor: direct ? A.colour("--st-c1") : text, opacity: direct ? 0.8 : 0.45 };
      });
      const hidden = { visible: false, fixedrange: true };
      const layout = { width, height, margin: { l: 0, r: 0, t: 34, b: 12 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "Inter Variable, sans-serif", size: 12, color: text }, hoverlabel: { bgcolor: A.colour("--st-card"), bordercolor: A.colour("--st-line"), font: { color: A.colour("--body-text-color") } }, showlegend: true, legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { color: text }, itemclick: false, itemdoubleclick: false },
        annotations: arrows, xaxis: { ...hidden, range: [-0.5, last + 0.5] }, yaxis: { ...hidden, range: [-high - 0.8, -low + 0.6] } };
      await Plotly.react(plot, traces, layout, { displayModeBar: false, responsive: false });
      plot.removeAllListeners?.("plotly_click");
      plot.on("plotly_click", (event) => open(at.get(event.points[0].customdata)));
    }
    for (const event of ["adapters", "tab", "jobs"]) S.on(event, element, look);
    S.on("theme", element, paint);
    look();
  };
})();
