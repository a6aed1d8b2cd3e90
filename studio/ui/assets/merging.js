/* The merge section of the Adapters tab, and what a merge shows on the Jobs tab. All text goes in as text nodes. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, make = S.make, word = S.word;
  const say = (key, values) => word(key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
  const percent = (share, digits = 0) => `${S.number(100 * share, digits)} %`;
  const LEAST = -2, MOST = 3, STEP = 0.05;
  const DTYPES = ["auto", "float32", "bfloat16", "float16"];

  async function post(path, body) {
    const response = await fetch(`api/merging${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    if (response.status === 401) location.reload();
    const answer = await response.json();
    if (response.ok) return answer;
    throw new Error([answer.error?.message || word("data_not_understood"), answer.error?.hint].filter(Boolean).join(" "));
  }

  /* ---- the form ---- */
  W.merge = (element) => {
    const form = { rows: [{ adapter: "", weight: 1 }, { adapter: "", weight: 1 }], method: "cat", options: {}, into_base: false, dtype: "auto", name: "" };
    let menus = { adapters: [], methods: [], most: 6 }, busy = false, again = false, asked = 0;
    const rows = make("div", { class: "st-merge-rows" }), options = make("div", { class: "st-merge-options" }), about = make("p", { class: "st-note", id: "merge-about" });
    const answer = make("div", { id: "merge-figures", "aria-live": "polite" });
    const more = make("button", { type: "button", class: "st-button small", id: "merge-more", onclick: () => { form.rows.push({ adapter: "", weight: 1 }); drawRows(); } }, word("merge_more"));
    const method = make("select", { class: "st-input", id: "merge-method", onchange: () => { form.method = method.value; drawOptions(); ask(); } });
    const base = make("input", { type: "checkbox", id: "merge-into-base", onchange: () => { form.into_base = base.checked; dtype.parentElement.hidden = !base.checked; ask(); } });
    const dtype = make("select", { class: "st-input", id: "merge-dtype", onchange: () => { form.dtype = dtype.value; } }, ...DTYPES.map((name) => make("option", { value: name }, name)));
    const name = make("input", { class: "st-input", type: "text", maxlength: 80, id: "merge-name", oninput: () => { form.name = name.value; } });
    const start = make("button", { type: "button", class: "st-button primary", id: "merge-start", onclick: begin }, word("merge_start"));
    const label = (key, control, help = "") => make("label", { class: "st-field" }, make("span", {}, word(key)), control, help ? make("small", {}, help) : null);
    element.replaceChildren(make("div", { class: "st-merge" },
      make("div", { class: "st-card" }, make("div", { class: "st-card-head" }, make("h3", {}, word("merge_title"))), make("p", { class: "st-note" }, word("merge_text")), rows, more,
        make("div", { class: "st-merge-how" }, label("merge_method", method), about, options,
          make("label", { class: "st-check" }, base, make("span", {}, word("merge_into_base"))), make("p", { class: "st-note" }, word("merge_into_base_text")), label("merge_dtype", dtype, word("merge_dtype_text")), label("merge_name", name)), start),
      answer));
    dtype.parentElement.hidden = true;

    const chosen = () => form.rows.filter((row) => row.adapter);
    const wish = () => ({ sources: chosen().map(({ adapter, weight }) => ({ adapter, weight })), method: { name: form.method, ...form.options }, into_base: form.into_base, dtype: form.dtype, name: form.name.trim() });

    function drawRows() {
      const labels = S.adapters.apart(menus.adapters, title);
      rows.replaceChildren(...form.rows.map((row, index) => {
        const taken = new Set(form.rows.filter((other) => other !== row).map((other) => other.adapter));
        const menu = make("select", { class: "st-input", "aria-label": `${word("merge_adapter")} ${index + 1}`, "data-row": index, onchange: () => { row.adapter = menu.value; drawRows(); ask(); } },
          make("option", { value: "" }, word("merge_choose")), ...menus.adapters.map((one) => make("option", { value: one.name, disabled: !one.tuner || taken.has(one.name), title: one.tuner ? "" : word("merge_unmergeable") }, labels[one.name])));
        menu.value = row.adapter;
        const number = make("input", { class: "st-input number", type: "number", step: STEP, min: -10, max: 10, value: row.weight, "aria-label": word("merge_weight"), oninput: () => weigh(number.value, slider) });
        const slider = make("input", { type: "range", min: LEAST, max: MOST, step: STEP, value: row.weight, "aria-label": word("merge_weight"), "data-weight": index, oninput: () => weigh(slider.value, number) });
        const weigh = (value, other) => { const weight = Number(value); if (value === "" || Number.isNaN(weight)) return; row.weight = weight; other.value = weight; ask(); };
        const remove = make("button", { type: "button", class: "st-button small quiet", "aria-label": word("merge_remove"), title: word("merge_remove"), onclick: () => { form.rows.splice(index, 1); drawRows(); ask(); } }, "×");
        return make("div", { class: "st-merge-row" }, menu, make("div", { class: "st-merge-weight" }, slider, number, form.rows.length > 1 ? remove : null));
      }));
      more.disabled = form.rows.length >= menus.most;
    }
    const title = (one) => [one.title, one.step ? say("merge_step", { n: one.step }) : "", one.rank ? `r ${one.rank}` : one.tuner ? word(`tuner.${one.tuner}`) : one.kind, one.base_model.split("/").at(-1)].filter(Boolean).join(" · ");

    function drawOptions() {
      const found = menus.methods.find((one) => one.name === form.method);
      about.textContent = word(`merge.${form.method}.help`);
      form.options = Object.fromEntries((found?.options || []).map((one) => [one.name, form.options[one.name] ?? one.default]));
      options.replaceChildren(...(found?.options || []).map((one) => {
        const set = (value) => { form.options[one.name] = value; ask(); };
        let control;
        if (one.choices.length) control = make("select", { class: "st-input", id: `merge-${one.name}`, onchange: () => set(control.value) }, ...one.choices.map((choice) => make("option", { value: choice }, word(`choice.merge.${one.name}.${choice}`))));
        else if (one.whole) control = make("input", { class: "st-input number", id: `merge-${one.name}`, type: "number", min: 0, max: 1024, step: 1, oninput: () => { if (control.value !== "") set(Math.round(Number(control.value))); } });
        else {
          const shown = make("output", {}, S.number(form.options[one.name], 2));
          control = make("input", { type: "range", id: `merge-${one.name}`, min: 0.05, max: 1, step: 0.05, oninput: () => { shown.textContent = S.number(Number(control.value), 2); set(Number(control.value)); } });
          control.value = form.options[one.name];
          return make("label", { class: "st-field" }, make("span", {}, word(`field.merge.${one.name}.title`)), make("div", { class: "st-merge-weight" }, control, shown), make("small", {}, word(`field.merge.${one.name}.help`)));
        }
        control.value = form.options[one.name];
        return make("label", { class: "st-field" }, make("span", {}, word(`field.merge.${one.name}.title`)), control, make("small", {}, word(`field.merge.${one.name}.help`)));
      }));
    }

    /* One question at a time; what moved meanwhile is asked when the answer is there, so that the last one wins. */
    async function ask() {
      if (!chosen().length) { start.disabled = true; return answer.replaceChildren(S.empty(word("merge_empty_title"), word(menus.adapters.length ? "merge_empty_text" : "merge_none_text"))); }
      if (busy) { again = true; return; }
      busy = true;
      let told;
      try { told = await post("/figures", wish()); } catch (error) { told = { problem: error.message }; }
      busy = false;
      if (again) { again = false; return ask(); }
      drawFigures(told);
      answer.setAttribute("data-answers", ++asked);
    }
    function drawFigures(told) {
      start.disabled = Boolean(told.problem);
      const problem = told.problem ? make("div", { class: "st-card st-warn", id: "merge-problem" }, told.problem) : null;
      if (!told.adapters) return answer.replaceChildren(...[problem, told.problem ? null : make("div", { class: "st-card" }, make("p", { class: "st-note" }, word("merge_no_figures")))].filter(Boolean));
      answer.replaceChildren(...[problem, figureCard(told)].filter(Boolean));
    }
    const titleOf = (id) => S.adapters.apart(menus.adapters, (one) => [one.title, one.step ? say("merge_step", { n: one.step }) : ""].filter(Boolean).join(" · "))[id] ?? id;
    function figureCard(told) {
      const several = told.adapters.length > 1, made = several && !told.problem, about = told.exact ? "" : "≈ ";
      const longest = Math.max(told.merged, told.sum, ...told.adapters.map((one) => Math.max(one.norm, one.weighted))) || 1;
      const bar = (text, value, kind, note = "") => make("div", { class: `st-merge-bar ${kind}` }, make("span", {}, text), make("u", {}, make("i", { style: `width:${(100 * value) / longest}%` })), make("b", {}, `${note}${S.number(value, 3)}`));
      const bars = told.adapters.flatMap((one) => [bar(titleOf(one.name), one.norm, "own"), ...(one.weighted !== one.norm ? [bar(`· ${word("merge_weighted")}`, one.weighted, "weighted")] : [])]);
      const grid = (key, values, show) => make("div", { class: "st-guide-table" }, make("table", { id: `merge-${key}` }, make("thead", {}, make("tr", {}, make("th", {}, word(`merge_${key}`)), ...told.adapters.map((one) => make("th", {}, titleOf(one.name))))),
        make("tbody", {}, ...values.map((row, i) => make("tr", {}, make("th", {}, titleOf(told.adapters[i].name)), ...row.map((value, j) => make("td", {}, i === j ? "–" : show(value))))))));
      return make("div", { class: "st-card" }, make("div", { class: "st-card-head" }, make("h3", {}, word("merge_figures"))),
        make("p", { class: "st-note" }, word("merge_norm_text")), ...bars,
        several ? bar(word("merge_sum"), told.sum, "sum") : null, made ? bar(word("merge_merged"), told.merged, "merged", about) : null,
        several ? make("div", { class: "st-kpis k2" }, S.kpi(word("merge_conflict"), percent(told.conflict), word("merge_conflict_note")), made ? S.kpi(word("merge_deviation"), `${about}${percent(told.deviation)}`, word("merge_deviation_note")) : null) : null,
        several ? grid("conflicts", told.conflicts, (value) => percent(value)) : null, several ? grid("cosines", told.cosines, (value) => S.number(Math.round(100 * value) / 100 + 0, 2)) : null,
        told.exact ? null : make("p", { class: "st-note" }, word(menus.methods.find((one) => one.name === form.method)?.cuts ? "merge_estimate_cut" : "merge_estimate")));
    }
    async function begin() {
      start.disabled = true;
      try {
        const { job } = await post("", wish());
        S.toast(word("jobs_started"));
        S.openJob(job);
      } catch (error) { S.toast(error.message, "bad"); }
      start.disabled = false;
    }
    async function arrive() {
      const response = await fetch("api/merging");
      if (!response.ok) return;
      menus = await response.json();
      const known = new Set(menus.adapters.map((one) => one.name));
      for (const row of form.rows) if (!known.has(row.adapter)) row.adapter = "";
      method.replaceChildren(...menus.methods.map((one) => make("option", { value: one.name }, word(`merge.${one.name}`))));
      method.value = form.method;
      drawRows();
      drawOptions();
      ask();
    }
    S.on("tab", element, (tab) => { if (tab === "adapters") arrive(); });
    drawRows();
    ask();
    if (S.tab() === "adapters") arrive();
  };

  /* ---- a merge on the Jobs tab ---- */
  /** What it was made of, and what came of it; in place of steps and losses. */
  S.lineage = (job) => {
    const merge = job.merge, known = (id) => S.jobs.get(id.split("@")[0]);
    const source = ({ adapter, weight }) => {
      const [id, step] = adapter.split("@"), text = [known(adapter)?.name || id, step ? say("merge_step", { n: step }) : ""].filter(Boolean).join(" · ");
      return make("li", {}, make("b", {}, `${S.number(weight, 2)} ×`), " ", known(adapter) ? make("button", { type: "button", class: "st-link", onclick: () => S.openJob(id) }, text) : text);
    };
    const options = Object.entries(merge.options).filter(([key]) => key !== "svd_rank").map(([key, value]) => `${word(`field.merge.${key}.title`)} ${typeof value === "number" ? S.number(value, value % 1 ? 2 : 0) : word(`choice.merge.${key}.${value}`)}`);
    const facts = [[word("merge_method"), [word(`merge.${merge.method}`), ...options].join(" · ")], [word("merge_result"), merge.into_base ? [word("merge_result_model"), merge.dtype].filter(Boolean).join(" · ") : word("merge_result_adapter")]];
    const { rank, norm_merged: norm, deviation } = merge.values;
    if (rank) facts.push([word("merge_rank"), S.number(rank)]);
    if (norm !== undefined) facts.push([word("merge_merged"), S.number(norm, 3)]);
    if (deviation !== undefined) facts.push([word("merge_deviation"), percent(deviation, 1)]);
    return make("div", { class: "st-card st-lineage", id: "job-lineage" }, make("div", { class: "st-card-head" }, make("h3", {}, word("merge_made_of"))), make("ul", {}, ...merge.sources.map(source)),
      make("dl", { class: "st-facts" }, ...facts.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)])));
  };
})();
