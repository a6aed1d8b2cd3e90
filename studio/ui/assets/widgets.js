/* What the widgets look like. Each gets its place and its data; all text goes in as text nodes. */
(function () {
  "use strict";
  const S = window.Studio, W = S.widgets, make = S.make, word = S.word;
  const ACTIVE = ["starting", "running", "stopping"];
  const SPEECHLESS = ["reward"]; // objectives whose model gives a text a number (task_type SEQ_CLS): nothing to chat with
  const pill = (status) => make("span", { class: `st-pill ${status}` }, make("i"), word(`status_${status}`));
  const set = (element, text) => { if (element.textContent !== String(text)) element.textContent = text; };
  const kpi = (label, value, note = "") => make("div", { class: "st-kpi", title: note }, make("span", {}, label), make("b", { class: /^[\d.,–e+\-]/.test(value) ? "" : "words" }, value), make("em", {}, note));
  S.kpi = kpi;
  /** How much of a job is done, in percent: steps, or what a merge says. */
  const done = (job) => 100 * (job.share ?? (job.max_steps ? job.step / job.max_steps : 0));
  const percent = (share) => `${S.number(100 * share)} %`;
  const empty = S.empty = (title, text) => make("div", { class: "st-empty" }, make("h3", {}, title), make("p", {}, text));

  W.brand = (element) => {
    const buttons = [
      make("button", { type: "button", class: "st-icon st-language", title: word("language"), onclick: S.toggleLanguage }, S.language === "zh" ? "EN" : "中"),
      make("button", { type: "button", class: "st-icon", id: "theme-toggle", title: word("theme"), "aria-label": word("theme"), onclick: S.toggleTheme }, S.icon("moon")),
    ];
    element.replaceChildren(make("div", { class: "st-brand" },
      make("span", { class: "st-logo", "aria-hidden": "true" }, make("i"), make("i"), make("i")),
      make("div", {}, make("b", {}, word("app_title")), make("span", {}, word("app_subtitle")))));
    // In the corner of the page; on a phone in the sidebar, where there is room.
    const phone = innerWidth < 900;
    document.querySelector(".st-tools")?.remove();
    (phone ? element : document.querySelector(".gradio-container")).append(make("div", { class: `st-tools${phone ? " inside" : ""}` }, ...buttons));
  };

  W.jobList = (element) => {
    const list = make("div", { class: "st-jobs", role: "list" });
    element.replaceChildren(make("div", { class: "st-section" }, word("jobs")), list);
    const items = new Map();
    const draw = () => {
      const jobs = S.list();
      for (const [id, item] of items) if (!S.jobs.has(id)) { item.root.remove(); items.delete(id); }
      list.querySelector(".st-none")?.remove();
      if (!jobs.length) list.append(make("p", { class: "st-none" }, word("no_jobs_short")));
      jobs.forEach((job, index) => {
        const item = items.get(job.id) || jobItem(job.id);
        items.set(job.id, item);
        if (list.children[index] !== item.root) list.insertBefore(item.root, list.children[index] || null);
        item.dot.className = `st-dot ${job.status}`;
        set(item.name, job.name);
        set(item.about, job.kind === "merge" ? [word("merge_kind"), word(`status_${job.status}`), job.share === undefined ? "" : percent(job.share)].filter(Boolean).join(" · ") : ACTIVE.includes(job.status) && job.max_steps ? `${word(`status_${job.status}`)} · ${job.step} / ${job.max_steps}` : word(`status_${job.status}`));
        set(item.loss, job.loss === null ? "" : S.number(job.loss, 2));
        item.bar.parentElement.style.display = job.status === "running" ? "" : "none";
        item.bar.style.width = `${done(job)}%`;
        item.root.setAttribute("aria-current", job.id === S.job);
        item.root.title = job.name;
      });
    };
    S.on("jobs", element, draw);
    S.on("job", element, draw);
    draw();
  };
  function jobItem(id) {
    const dot = make("span"), name = make("span", { class: "st-job-name" }), about = make("span", { class: "st-job-about" });
    const bar = make("i"), loss = make("span", { class: "st-job-loss" });
    const root = make("button", { type: "button", class: "st-job", role: "listitem", "data-job": id, onclick: () => S.openJob(id) },
      dot, make("span", { class: "st-job-main" }, name, about, make("span", { class: "st-progress" }, bar)), loss);
    return { root, dot, name, about, bar, loss };
  }

  W.machine = (element) => {
    const box = make("div", { class: "st-machine" });
    element.replaceChildren(make("div", { class: "st-section" }, word("system")), box);
    const meter = (label, share, text) => make("div", { class: "st-meter" }, make("span", {}, label), make("u", {}, make("i", { style: `width:${Math.round(100 * share)}%` })), make("b", {}, text));
    const look = async () => {
      if (element.isConnected && !document.hidden) {
        try {
          const state = await (await fetch("api/system")).json();
          const cards = state.cards.map((card) => meter(card.name, card.share, card.text));
          const rest = state.meters.map((one) => meter(word(one.name), one.share, one.free ? `${one.text} ${word("memory_free")}` : one.text));
          box.replaceChildren(make("div", { class: "st-machine-name", title: state.processor }, state.cards.length ? state.cards[0].name : word("no_card")), ...cards, ...rest);
        } catch (error) { /* the poller shows that the studio is away */ }
      }
      if (element.isConnected) setTimeout(look, 10000);
    };
    look();
  };

  /* ---- train ---- */
  W.presetAbout = (element, data) => element.replaceChildren(make("p", { class: "st-note" }, data ? data[S.language] : ""));
  /** LoRA on a base model in 4 bits goes by the name of QLoRA. */
  S.method = ({ tuner, quantization }) => (tuner === "lora" && quantization === "nf4" ? "QLoRA" : word(`tuner.${tuner}`) + (quantization === "none" ? "" : ` · ${quantization.toUpperCase()}`));
  const weights = (data) => {
    if (data.trained === null || data.trained === undefined) return [];
    const share = data.trained / data.parameters, digits = share < 0.0001 ? 4 : share < 0.01 ? 2 : 1;
    const of = data.parameters ? S.say("train_of_all", { n: S.number(data.parameters), share: `${S.number(100 * share, digits)} %` }) : "";
    return [["train_weights", make("span", { id: "trained-weights", title: of }, S.number(data.trained), make("em", {}, of))]];
  };
  W.plan = (element, data) => {
    S.impossible = data?.impossible || {};
    S.greyOut();
    if (data?.started) { S.toast(word("jobs_started")); S.setJob(data.started); setTimeout(S.tabChanged, 50); return; }
    const head = (text, kind) => make("div", { class: "st-card-head" }, make("h3", {}, word("train_summary")), text ? make("span", { class: `st-pill ${kind}` }, text) : null);
    if (!data || data.empty) return element.replaceChildren(make("div", { class: "st-card" }, head("", ""), make("p", { class: "st-note" }, make("b", {}, word("train_no_data")), " ", word("train_no_data_hint"))));
    if (data.problem) return element.replaceChildren(make("div", { class: "st-card st-bad" }, head("", ""), make("p", {}, data.problem)));
    const short = data.general_examples < data.general_wanted ? ` (${word("train_wanted")} ${S.number(data.general_wanted)})` : "";
    const general = data.general_wanted ? [["train_general_examples", S.number(data.general_examples) + short]] : [];
    const rows = [["train_examples", S.number(data.examples)], ...general, ["train_eval_examples", S.number(data.eval_examples)], ["train_steps", S.number(data.steps)], ["train_trained", S.method(data)], ...weights(data), ["train_queue", data.ahead ? S.number(data.ahead) : word("train_nobody")]];
    const card = data.memory, gib = (bytes) => `${S.number(bytes / 1073741824, 1)} GiB`;
    if (data.time) rows.push(["train_time", make("span", { id: "plan-time" }, `${data.time.at_most ? "≤" : "≈"} ${S.duration(data.time.seconds)}`, make("em", {}, ` ${data.time.jobs ? S.say("train_time_jobs", { jobs: data.time.jobs }) : word("train_time_rough")}`))]);
    if (card) {
      const wish = { ...card.wish, ...(data.time?.tokens ? { data: { name: "", tokens: data.time.tokens } } : {}) };
      const fits = word(card.card ? (card.fits ? "train_memory_fits" : "train_memory_lacks") : "train_memory_none");
      rows.push(["train_memory", make("span", { id: "plan-memory" }, `${gib(card.needed)} (${fits}) · ${S.say("train_memory_most", { phase: word(`memory_phase.${card.phase}`) })} · `,
        make("a", { class: "st-link", href: S.memory.address(wish), onclick: (event) => { if (event.ctrlKey || event.metaKey) return; event.preventDefault(); S.memory.open(wish); } }, word("train_memory_why")))]);
    }
    element.replaceChildren(make("div", { class: "st-card" }, head(word("train_ready"), "completed"), make("p", { class: "st-note" }, word(`objective.${data.objective}`)),
      data.high_rate ? make("p", { class: "st-today", id: "high-rate" }, S.say("train_high_rate", { limit: data.high_rate })) : null,
      data.few_steps ? make("p", { class: "st-today", id: "few-steps" }, S.say("train_few_steps", { n: S.number(data.steps) })) : null,
      make("dl", { class: "st-facts" }, ...rows.flatMap(([key, value]) => [make("dt", {}, word(key)), make("dd", {}, value)]))));
  };

  /* ---- jobs ---- */
  W.jobHead = (element) => {
    const draw = () => {
      const job = S.summary;
      if (!S.job) return element.replaceChildren(empty(word("jobs_empty_title"), word("jobs_empty_text")));
      if (!job) return element.replaceChildren(make("div", { class: "st-loading" }));
      const button = (action, text, kind, run) => make("button", { type: "button", class: `st-button ${kind}`, id: `job-${action}`, onclick: run }, text);
      const busy = ACTIVE.includes(job.status), idle = ["stopped", "interrupted", "failed"].includes(job.status);
      const buttons = make("div", { class: "st-actions" },
        busy || job.status === "queued" ? button("stop", word(job.merge ? "merge_stop" : "jobs_stop"), "danger", () => S.act("stop")) : null,
        idle ? button("resume", word("jobs_resume"), "primary", () => S.act("resume")) : null,
        (job.merge ? ["completed"] : ["completed", "stopped"]).includes(job.status) && !SPEECHLESS.includes(job.objective) ? button("chat", word("jobs_chat"), "primary", () => S.chatWith(job.id)) : null,
        job.held ? button("unload", word("jobs_unload"), "primary", () => S.act("unload")) : null,
        S.nextStage(job),
        busy ? null : button("delete", word("jobs_delete"), "quiet", () => { if (confirm(word("jobs_delete_sure"))) S.act("delete"); }));
      const kind = job.status === "failed" ? "st-bad" : "st-warn";
      const notes = [job.unresponsive ? word("jobs_unresponsive") : "", job.held || ["failed", "interrupted"].includes(job.status) ? job.message : "", ...job.warnings].filter(Boolean);
      const share = done(job), left = job.share !== undefined && job.left !== null ? `${word("jobs_left")} ${S.duration(job.left)}` : "";
      const bar = make("div", { class: "st-progress large", role: "progressbar", "aria-valuenow": Math.round(share), "aria-valuemin": 0, "aria-valuemax": 100 }, make("i", { class: job.status, style: `width:${share}%` }));
      const waits = !busy ? "" : job.phase === "evaluating" ? word("jobs_evaluating") : S.points.length ? "" : job.phase || word("jobs_waiting_first");
      const epoch = S.points.length ? S.points.at(-1)[0] : null;
      element.replaceChildren(
        make("div", { class: "st-job-head" }, make("div", {}, make("h2", {}, job.name), make("p", {}, [job.base_model, ...(job.merge ? [word("merge_kind"), word(`merge.${job.merge.method}`), waits, job.share === undefined ? "" : percent(job.share), left] : [S.method(job), word(`objective.${job.objective}`)])].filter(Boolean).join(" · "))), pill(job.status)),
        ...notes.map((text) => make("div", { class: `st-card ${kind}`, role: "alert" }, text)),
        ...(job.merge ? [job.share === undefined ? null : bar, S.lineage(job)].filter(Boolean) : [make("div", { class: "st-kpis k5" },
          kpi(word("jobs_step"), S.number(job.step), job.max_steps ? `${word("jobs_of")} ${S.number(job.max_steps)}` : ""),
          kpi(word("jobs_loss"), S.number(job.loss, 3), job.eval_loss === null ? "" : `${word("jobs_eval_loss")} ${S.number(job.eval_loss, 3)}`),
          kpi(word("jobs_lr"), job.learning_rate === null ? "–" : job.learning_rate.toExponential(2)),
          kpi(word("jobs_tps"), S.number(job.tokens_per_second)),
          kpi(word("jobs_left"), busy && epoch !== null ? S.duration(job.left) : "–", waits)),
        bar]),
        buttons);
    };
    for (const event of ["summary", "job", "reset", "jobs"]) S.on(event, element, draw);
    draw();
  };
  W.log = (element) => {
    const text = make("pre", { class: "st-log", tabindex: 0, role: "log" });
    const card = make("div", { class: "st-card" }, make("div", { class: "st-card-head" }, make("h3", {}, word("jobs_log"))), text);
    element.replaceChildren(card);
    const clear = () => { text.textContent = word("jobs_log_empty"); text.dataset.empty = "1"; card.style.display = S.job ? "" : "none"; };
    S.on("reset", element, clear);
    S.on("job", element, clear);
    S.on("log", element, (part) => {
      if (!part.text) return;
      const atEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 24;
      if (text.dataset.empty || part.fresh) { text.textContent = ""; delete text.dataset.empty; }
      text.append(part.text.replace(/\x1b\[[0-9;]*[A-Za-z]/g, ""));
      if (text.textContent.length > 60000) text.textContent = text.textContent.slice(-40000);
      if (atEnd) text.scrollTop = text.scrollHeight;
    });
    S.on("tab", element, (name) => S.readLog(name === "jobs"));
    S.readLog(S.tab() === "jobs");
    clear();
  };
})();
