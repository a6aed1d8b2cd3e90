/* The Jobs tab beside progress and charts: the stage that may follow, the sweep that a job belongs to, and its code. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, make = S.make, word = S.word;
  const get = async (path) => {
    const response = await fetch(path), body = await response.json();
    if (!response.ok) throw new Error([body.error.message, body.error.hint].filter(Boolean).join(" "));
    return body;
  };
  const bytes = (size) => (size === null ? "–" : size < 1e6 ? `${S.number(size / 1e3)} KB` : `${S.number(size / 1e6, 1)} MB`);
  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

  /* ---- the next stage ---- */
  /** A menu of the objectives that may follow; choosing one opens the form with this job put into it. */
  S.nextStage = (job) => {
    if (job.status !== "completed" || !job.next.length) return null;
    const menu = make("select", { class: "st-input st-next", id: "job-next", "aria-label": word("jobs_next"), onchange: () => goOn(job.id, menu.value) },
      make("option", { value: "" }, `${word("jobs_next")} …`), ...job.next.map((name) => make("option", { value: name }, word(`objective.${name}`))));
    return menu;
  };
  function goOn(from, next) {
    if (!next) return;
    S.address({ from, next }); // the tab's event reads it; afterwards the form is the user's
    S.openTab("train");
    setTimeout(() => S.address({ from: null, next: null }), 4000);
  }

  /* ---- a sweep ---- */
  W.sweep = (element) => {
    let shown = "", looked = 0, timer = 0;
    const look = async () => {
      clearTimeout(timer);
      const sweep = S.summary?.sweep || "";
      if (sweep !== shown) element.replaceChildren();
      shown = sweep;
      if (!sweep || S.tab() !== "jobs") return;
      const wait = looked + 2000 - Date.now();
      if (wait > 0) { timer = setTimeout(look, wait); return; }
      looked = Date.now();
      try {
        const body = await get(`api/sweeps/${encodeURIComponent(sweep)}`);
        if (sweep === shown) await draw(element, body);
      } catch (error) { element.replaceChildren(make("div", { class: "st-card st-bad", role: "alert" }, error.message)); }
    };
    for (const event of ["summary", "jobs", "tab", "job"]) S.on(event, element, look);
    S.on("theme", element, () => { looked = 0; look(); });
    look();
  };
  async function draw(element, body) {
    const trials = body.trials, done = trials.filter((trial) => ["completed", "stopped", "failed", "interrupted"].includes(trial.status)).length;
    const measure = word(`sweep_by.${body.metric}`), better = S.say(body.higher ? "sweep_higher" : "sweep_lower", { measure });
    const columns = ["sweep_value", `sweep_by.${body.metric}`, "sweep_trained", "sweep_time", "sweep_size", "sweep_status"];
    const row = (trial) => make("tr", { class: trial.best ? "best" : "", "data-job": trial.job },
      make("td", {}, make("button", { type: "button", class: "st-link", onclick: () => S.openJob(trial.job) }, trial.label), trial.best ? make("em", { class: "st-badge good" }, word("sweep_best")) : null),
      ...[S.number(trial.score, 4), S.number(trial.trainable_parameters), S.duration(trial.seconds), bytes(trial.result_bytes), word(`status_${trial.status}`)].map((text) => make("td", {}, text)));
    let plot = element.querySelector("#plot-sweep");
    const table = make("div", { class: "st-guide-table" }, make("table", { id: "sweep-table" }, make("thead", {}, make("tr", {}, ...columns.map((key) => make("th", {}, word(key))))), make("tbody", {}, ...trials.map(row))));
    if (!plot) {
      plot = make("div", { class: "st-plot", id: "plot-sweep" });
      element.replaceChildren(make("div", { class: "st-card st-sweep" }, make("div", { class: "st-card-head" }), plot, make("div", { class: "st-sweep-table" })));
    }
    element.querySelector(".st-card-head").replaceChildren(make("h3", {}, S.say("sweep_title", { keys: body.keys.join(", ") })), make("span", { class: "st-note", id: "sweep-measure" }, better), make("span", { class: `st-pill ${done === trials.length ? "completed" : "running"}` }, S.say("sweep_so_far", { done, n: trials.length })));
    element.querySelector(".st-sweep-table").replaceChildren(table);
    const Plotly = await S.loadPlotly();
    const shades = ["--st-c1", "--st-c2", "--st-c3", "--st-c4", "--st-c5"];
    const data = trials.map((trial, index) => ({ type: "scatter", mode: "lines+markers", name: trial.label, x: trial.points.map(([step]) => step), y: trial.points.map(([, value]) => value), line: { color: colour(shades[index % shades.length]), width: trial.best ? 3.5 : 1.8, dash: index < shades.length ? "solid" : "dot" } }));
    const axis = { gridcolor: colour("--st-grid"), linecolor: colour("--st-grid"), tickfont: { color: colour("--st-muted"), size: 11 } };
    const layout = { margin: { l: 44, r: 12, t: 8, b: 34 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "Inter Variable, sans-serif", size: 12, color: colour("--st-muted") }, showlegend: true, legend: { orientation: "h", y: -0.18 }, xaxis: { ...axis, ...(Math.max(0, ...data.flatMap((line) => line.x)) <= 12 ? { dtick: 1 } : {}) }, yaxis: { ...axis, title: { text: measure, font: { size: 11 } }, automargin: true } };
    await Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true });
  }

  /* ---- the code ---- */
  const KINDS = { script: "train.py", yaml: "job.yaml", axolotl: "axolotl.yaml" };
  W.jobCode = (element) => {
    let job = "", kind = "script";
    const text = make("pre", { class: "st-log st-code", tabindex: 0, id: "code-text" });
    const tabs = Object.keys(KINDS).map((name) => make("button", { type: "button", role: "tab", class: "st-tab", "data-kind": name, onclick: () => { kind = name; show(); } }, word(`jobs_code_${name}`)));
    const copy = make("button", { type: "button", class: "st-button small", id: "code-copy", onclick: async () => { await navigator.clipboard.writeText(text.textContent); S.toast(word("copied")); } }, word("jobs_code_copy"));
    const file = make("a", { class: "st-button small", id: "code-file" }, word("jobs_code_file"));
    const zip = make("a", { class: "st-button small", id: "code-zip" }, word("jobs_code_zip"));
    const details = make("details", { class: "st-card st-why", id: "code", ontoggle: () => show() }, make("summary", {}, word("jobs_code")), make("p", { class: "st-note" }, word("jobs_code_text")),
      make("div", { class: "st-code-head" }, make("div", { role: "tablist", class: "st-tabs" }, ...tabs), make("div", { class: "st-actions" }, copy, file, zip)), text);
    element.replaceChildren(details);
    const show = async () => {
      details.style.display = S.job && S.summary && !S.summary.merge ? "" : "none";
      if (!details.open || !S.job || S.summary?.merge) return;
      const wanted = `${S.job}/${kind}`, path = `api/jobs/${encodeURIComponent(S.job)}/code`;
      for (const tab of tabs) tab.setAttribute("aria-selected", tab.dataset.kind === kind);
      if (wanted === job) return;
      job = wanted;
      file.href = `${path}/${KINDS[kind]}`;
      zip.href = `${path}.zip`;
      let body;
      try { body = await get(`${path}?kind=${kind}`); } catch (error) { body = { reason: error.message }; }
      if (wanted !== job) return;
      text.textContent = body.text || body.reason;
      text.classList.toggle("reason", !body.text);
      copy.disabled = !body.text;
      file.style.display = body.text ? "" : "none";
    };
    for (const event of ["job", "reset", "summary"]) S.on(event, element, (data) => { if (event === "job") job = ""; show(); });
    show();
  };
})();
