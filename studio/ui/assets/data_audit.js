/* What the model learns: the supervision audit on one screen, with what can be done about each finding. */
(function () {
  "use strict";
  const S = window.Studio, D = S.data, make = S.make, word = S.word;
  const OTHER = "\0other", LONGEST = 1000000;
  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

  D.views.learn = (panel) => {
    const id = D.id, status = make("div"), report = make("div", { class: "st-stack" }), steps = make("div"), examples = make("div", { class: "st-stack" });
    panel.replaceChildren(controls(), status, report, steps, examples);
    let stop = () => {}, number = 0, audited = false;

    /** Audit what is there now; what was shown before stays, greyed, until the new one is ready. */
    async function begin() {
      stop();
      audited = false;
      report.classList.add("busy");
      const mine = ++number;
      try {
        const { task } = await D.post(`${id}/audit`, D.look);
        if (mine === number && id === D.id) stop = D.follow(task, (view) => follow(task, view));
      } catch (error) {
        if (!D.isRefusal(error)) throw error;
        failed(error);
      }
    }
    function follow(task, view) {
      if (!panel.isConnected) return stop();
      if (view.state === "failed") return failed(view.error);
      if (view.state === "cancelled") return failed({ message: word("data_audit_cancelled"), hint: "" });
      if (view.state === "done") { audited = true; status.replaceChildren(); return recount(); }
      const told = view.told?.rows ? D.say("data_rows_so_far", { n: S.number(view.told.rows) }) : "";
      status.replaceChildren(make("div", { class: "st-card" }, make("div", { class: "st-card-head" }, make("h3", {}, word("data_auditing")), make("span", { class: "st-note" }, told)), D.bar(view.progress, !view.progress),
        D.button(word("data_cancel"), D.loud(() => D.post(`tasks/${encodeURIComponent(task)}/cancel`)), "danger")));
    }
    function failed(error) {
      report.replaceChildren();
      report.classList.remove("busy");
      status.replaceChildren(D.trouble(error, D.button(word("data_again"), begin)));
    }
    /** The same audit at another max_length, at once. */
    async function recount() {
      if (!audited) return;
      const mine = ++number;
      try {
        const told = await D.get(`${id}/report`, D.look);
        if (mine !== number || id !== D.id) return;
        report.classList.remove("busy");
        draw(report, told, act);
        S.emit("data-report", told);
      } catch (error) {
        if (!D.isRefusal(error)) throw error;
        failed(error);
      }
    }
    const act = D.loud(async (finding, remedy) => changed(await D.post(`${id}/steps`, { ...D.look, finding: finding.code, remedy })));
    const undo = D.loud(async (position) => changed(await D.post(`${id}/steps/${position}/undo`)));
    function changed(current) {
      D.refresh(current);
      drawSteps(steps, current.steps, undo);
      begin();
    }
    S.on("data-look", report, (what) => (what === "max_length" ? recount() : begin()));
    drawSteps(steps, D.about.current.steps, undo);
    begin();
    D.examples(examples);
  };

  /* ---- with what ---- */
  function controls() {
    const change = (what, value) => {
      if (D.look[what] === value) return;
      D.look[what] = D.touched[what] = value;
      S.emit("data-look", what);
    };
    const models = make("div", { class: "st-models" });
    D.menus().then((menus) => models.replaceChildren(...modelMenu(menus, (name) => change("model", name))));
    const template = D.select([["model", word("data_template_own")], ["plain", word("data_template_plain")]], D.look.template, (name) => change("template", name), { id: "look-template" });
    const box = make("input", { class: "st-input number", type: "number", min: 8, max: LONGEST, value: D.look.max_length, id: "look-length", onchange: () => length(Number(box.value)) });
    // Doubling from 32 to 32,768 in steps of an eighth: short lengths are as easy to set as long ones.
    const slider = make("input", { type: "range", min: 5, max: 15, step: 0.125, "aria-label": word("data_max_length"), oninput: () => { box.value = Math.round(2 ** slider.value / 8) * 8; clearTimeout(later); later = setTimeout(() => change("max_length", Number(box.value)), 60); } });
    let later = 0;
    const length = (value) => {
      const wanted = Math.min(LONGEST, Math.max(8, Math.round(value) || D.look.max_length));
      box.value = wanted;
      slider.value = Math.log2(wanted);
      change("max_length", wanted);
    };
    slider.value = Math.log2(D.look.max_length);
    D.setLength = length;
    D.setTemplate = (name) => { template.value = name; change("template", name); };
    return make("div", { class: "st-card st-look" }, D.field(word("data_model"), models), D.field(word("data_template"), template), make("div", { class: "st-field" }, make("label", { for: "look-length" }, word("data_max_length")), make("div", { class: "st-length" }, box, slider)));
  }
  function modelMenu(menus, use) {
    const known = menus.models.map((one) => [one.name, one.title]);
    if (!known.some(([name]) => name === D.look.model)) known.push([D.look.model, D.look.model]);
    const own = make("input", { class: "st-input", placeholder: word("data_model_own"), hidden: true, autocomplete: "off", spellcheck: "false", id: "look-model-own", onchange: () => { if (own.value.trim()) use(own.value.trim()); } });
    const menu = D.select([...known, [OTHER, word("data_model_other")]], D.look.model, (name) => {
      own.hidden = name !== OTHER;
      if (name === OTHER) own.focus();
      else use(name);
    }, { id: "look-model" });
    return [menu, own];
  }

  /* ---- what was found ---- */
  function draw(place, told, act) {
    const accepted = told.findings.filter((one) => one.accepted), open = told.findings.filter((one) => !one.accepted);
    const list = [...open, ...accepted].map((one) => findingCard(one, act));
    const none = make("div", { class: "st-card st-fine" }, make("b", {}, word("data_nothing_found")), make("p", { class: "st-note" }, word("data_nothing_found_text")));
    const old = place.querySelector(".st-lengths");
    const lengths = told.tokens?.sequences ? lengthsCard(told, old) : null;
    place.replaceChildren(...(lengths ? [lengths] : []), list.length ? make("div", { class: "st-card st-findings", id: "findings" }, make("div", { class: "st-card-head" }, make("h3", {}, word("data_findings"))), ...list) : none);
  }
  function findingCard(one, act) {
    const rows = one.first.length ? make("div", { class: "st-finding-rows" }, word("data_rows_named"), " ", ...one.first.flatMap((row, index) => [index ? ", " : "", D.link(S.number(row), () => D.showRow(row), { class: "st-link row" })]),
      one.count > one.first.length ? " … " : " · ", D.link(one.count > one.first.length ? D.say("data_all_of_them", { n: S.number(one.count) }) : word("data_as_table"), () => D.onlyFinding(one.code))) : null;
    const labels = { drop: D.say("data_drop", { n: S.number(one.count) }), trim: word("data_trim"), keep: word("data_keep") };
    const press = (remedy) => async (event) => {
      const all = event.target.parentElement.querySelectorAll("button");
      all.forEach((button) => (button.disabled = true));
      await act(one, remedy);
      all.forEach((button) => (button.disabled = false));
    };
    const other = one.code === "refused_by_template" && D.look.template === "model" ? [D.button(word("data_use_plain"), () => D.setTemplate("plain"), "primary", { id: "use-plain" })] : [];
    const buttons = one.accepted ? [make("em", { class: "st-badge" }, word("data_kept"))] : [...other, ...one.remedies.map((remedy) => D.button(labels[remedy], press(remedy), remedy === "keep" ? "quiet" : "", { "data-remedy": remedy }))];
    return make("div", { class: `st-finding ${one.severity}${one.accepted ? " accepted" : ""}`, "data-finding": one.code },
      make("i", { title: word(`severity_${one.severity}`) }), make("div", { class: "st-finding-text" }, make("b", {}, one.what), make("p", {}, one.why), rows), make("div", { class: "st-finding-actions" }, ...buttons));
  }
  function drawSteps(place, steps, undo) {
    if (!steps.length) return place.replaceChildren();
    const does = { drop: "data_step_drop", trim: "data_step_trim", keep: "data_step_keep" };
    place.replaceChildren(make("div", { class: "st-card st-steps", id: "steps" }, make("div", { class: "st-card-head" }, make("h3", {}, word("data_steps")), make("span", { class: "st-note" }, word("data_steps_text"))),
      make("ol", {}, ...steps.map((step, position) => make("li", {}, make("span", {}, D.say(does[step.remedy], { n: S.number(step.count) }), make("em", {}, word(`finding_${step.finding}`))), D.link(word("data_take_back"), () => undo(position)))))));
  }

  /* ---- lengths ---- */
  function lengthsCard(told, old) {
    const t = told.tokens, fact = (label, value, note = "") => make("div", { class: "st-fact", title: note }, make("span", {}, label), make("b", {}, value));
    const scripts = Object.entries(told.scripts).slice(0, 3).map(([name, share]) => `${word(`script.${name}`)} ${D.percent(share)}`).join(", ");
    const plot = old?.querySelector(".st-plot") || make("div", { class: "st-plot", id: "plot-lengths" });
    const suggested = t.suggested_max_length, longest = t.quantiles.max ?? 0;
    const reason = longest <= suggested ? D.say("data_suggest_all", { max: S.number(longest) }) : (t.quantiles.p99 ?? 0) <= suggested ? D.say("data_suggest_most", { max: S.number(longest) }) : D.say("data_suggest_model", { max: S.number(longest) });
    const hint = make("div", { class: "st-suggest" }, make("span", {}, D.say("data_suggest", { n: S.number(suggested) }), " ", make("em", {}, reason)),
      suggested && suggested !== t.max_length ? D.button(D.say("data_use", { n: S.number(suggested) }), () => D.setLength(suggested), "primary", { id: "use-suggested" }) : make("em", { class: "st-badge good" }, word("data_in_use")));
    const card = make("div", { class: "st-card st-lengths" }, make("div", { class: "st-card-head" }, make("h3", {}, word("data_lengths")), make("span", { class: "st-note" }, word("data_lengths_text"))), plot,
      hint, make("div", { class: "st-facts-strip" }, fact(word("data_fact_whole"), D.percent(t.covered)), fact(word("data_fact_total"), S.number(t.kept)),
        fact(word("data_fact_longest"), S.number(longest)), fact(word("data_fact_padding"), D.percent(t.padding_share), D.say("data_fact_padding_why", { n: t.batch_size })), fact(word("data_fact_scripts"), scripts)));
    histogram(plot, t);
    return card;
  }
  async function histogram(plot, tokens) {
    const Plotly = await S.loadPlotly();
    const { edges, counts } = tokens.histogram, at = tokens.max_length, last = edges.at(-1) || 1;
    const drawn = () => {
      const text = colour("--st-muted"), grid = colour("--st-grid"), line = colour("--st-bad"), kept = colour("--st-c1"), cut = colour("--st-warn");
      const width = edges.length > 1 ? edges[1] - edges[0] : 1;
      const bars = { type: "bar", x: counts.map((_, k) => edges[k] + width / 2), y: counts, width, marker: { color: counts.map((_, k) => (edges[k] >= at ? cut : kept)), line: { width: 1, color: colour("--st-card") } }, customdata: counts.map((_, k) => `${edges[k]}–${edges[k + 1] - 1}`), hovertemplate: `%{customdata} ${word("data_tokens")}: %{y}<extra></extra>` };
      const axis = { gridcolor: grid, linecolor: grid, zerolinecolor: grid, tickfont: { color: text, size: 11 }, fixedrange: true };
      const shown = at <= last * 1.6;
      const mark = { xref: "x", yref: "paper", x: shown ? at : last * 1.04, y: 1.02, yanchor: "bottom", text: shown ? `max_length ${S.number(at)}` : `max_length ${S.number(at)} →`, showarrow: false, font: { color: line, size: 11 }, xanchor: at > last * 0.75 ? "right" : "left" };
      const layout = { margin: { l: 44, r: 12, t: 22, b: 34 }, bargap: 0, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "Inter Variable, sans-serif", size: 12, color: text }, showlegend: false, hoverlabel: { bgcolor: colour("--st-card"), bordercolor: grid, font: { color: colour("--body-text-color") } },
        xaxis: { ...axis, range: [0, shown ? Math.max(last, at) * 1.04 : last * 1.06], title: { text: word("data_tokens"), font: { size: 11 }, standoff: 4 } }, yaxis: { ...axis, rangemode: "tozero", nticks: 5 },
        shapes: shown ? [{ type: "line", xref: "x", yref: "paper", x0: at, x1: at, y0: 0, y1: 1, line: { color: line, width: 1.5, dash: "dash" } }] : [], annotations: [mark] };
      return Plotly.react(plot, [bars], layout, { displayModeBar: false, responsive: true });
    };
    if (!plot.isConnected) return;
    plot.redraw = drawn;
    await drawn();
    if (!plot.dataset.themed) {
      plot.dataset.themed = "1";
      S.on("theme", plot, () => plot.redraw());
    }
  }
})();
