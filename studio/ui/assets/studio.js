/* The page's own machinery: one poller a tab feeds every widget; the address keeps what is shown; text stays text. */
(function () {
  "use strict";
  const given = window.STUDIO || { words: {}, language: "en" };
  const address = new URLSearchParams(location.search);
  const S = (window.Studio = {
    job: address.get("job") || "",
    jobs: new Map(), // id → entry of the list
    summary: null, // the job that is shown
    points: [], // its points: [step, {metric: value}]
    widgets: {}, // name → function(element, data)
    language: given.language,
  });

  /* ---- words and elements ---- */
  S.word = (key) => given.words[key] ?? key;
  /** An element made of text and other elements; nothing is ever parsed as HTML. */
  S.make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const ICONS = {
    moon: "M21 12.8A9 9 0 1 1 11.2 3a7 7 0 0 0 9.8 9.8z",
    leave: "M10 17l5-5-5-5M15 12H3M14 3h5a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2h-5",
  };
  S.icon = (name) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", width: 17, height: 17, fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" })) svg.setAttribute(key, value);
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  };
  S.number = (value, digits = 0) => (value === null || value === undefined ? "–" : value.toLocaleString(S.language, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  S.duration = (seconds) => {
    if (seconds === null || seconds === undefined) return "–";
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
    return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  };

  /* ---- events between widgets ---- */
  const listeners = {};
  S.on = (event, element, run) => (listeners[event] ||= []).push({ element, run });
  S.emit = (event, data) => {
    listeners[event] = (listeners[event] || []).filter((one) => one.element.isConnected);
    for (const one of listeners[event]) one.run(data);
  };

  /* ---- toasts ---- */
  S.toast = (message, kind = "info") => {
    let box = document.querySelector(".st-toasts");
    if (!box) document.body.append((box = S.make("div", { class: "st-toasts", role: "status", "aria-live": "polite" })));
    const toast = S.make("div", { class: `st-toast ${kind}` }, message);
    box.append(toast);
    setTimeout(() => toast.remove(), kind === "bad" ? 12000 : 5000);
  };

  /* ---- address: ?tab=&job= ---- */
  const TABS = ["data", "train", "memory", "jobs", "adapters", "playground", "arena"];
  S.address = (changes) => {
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(changes)) value ? url.searchParams.set(name, value) : url.searchParams.delete(name);
    history.replaceState(null, "", url);
  };
  S.tabButtons = () => [...document.querySelectorAll("#tabs > .tab-wrapper button[role=tab]")];
  /* Tabs that have no room stand in a menu, where Gradio gives them no id: they are told by their word. */
  const inMenu = () => [...document.querySelectorAll("#tabs > .tab-wrapper .overflow-dropdown button")];
  S.tab = () => {
    const shown = document.querySelector("#tabs > .tab-wrapper button[role=tab][aria-selected=true]")?.id;
    const other = shown ? "" : inMenu().find((button) => button.classList.contains("selected"))?.textContent.trim();
    return TABS.find((name) => (shown ? shown === `tab-${name}-button` : other && other === S.word(`tab_${name}`))) || "";
  };
  const tabButton = (name) => document.getElementById(`tab-${name}-button`) || inMenu().find((button) => button.textContent.trim() === S.word(`tab_${name}`));
  S.openTab = (name) => {
    tabButton(name)?.click();
    setTimeout(tabChanged, 0);
  };
  S.openJob = (id, tab = "jobs") => {
    S.setJob(id);
    if (tab) S.openTab(tab);
    if (innerWidth < 900) document.querySelector(".sidebar.open .toggle-button")?.click();
  };

  S.chatWith = (id) => {
    S.address({ adapter: id }); // the tab's event reads it; afterwards the menus are the user's
    S.openTab("playground");
    setTimeout(() => S.address({ adapter: null }), 4000);
  };

  /* ---- one poller ---- */
  let known = 0, tag = "", next = 0, logAt = null, logEnd = -1, timer = 0, wait = 1000, busy = false, again = false;
  S.setJob = (id) => {
    if (id === S.job) return;
    S.job = id;
    S.address({ job: id });
    forget();
    S.emit("job");
    poll();
  };
  function forget() {
    tag = ""; next = 0; logEnd = -1; S.points = []; S.summary = null;
    S.emit("reset");
  }
  S.readLog = (wanted) => { logAt = wanted ? true : null; };
  async function poll() {
    clearTimeout(timer);
    if (busy) { again = true; return; } // asked for another job meanwhile: at once, when this answer is in
    if (!document.hidden) {
      busy = true;
      try { await ask(); wait = 1000; document.body.classList.remove("st-offline"); }
      catch (error) { wait = Math.min(wait * 2, 15000); document.body.classList.add("st-offline"); }
      busy = false;
    }
    timer = setTimeout(poll, again ? 0 : wait);
    again = false;
  }
  async function ask() {
    const job = S.job;
    const query = new URLSearchParams({ list: known });
    if (job) { query.set("job", job); query.set("since", next); query.set("tag", tag); }
    if (job && logAt) query.set("log", logEnd);
    const response = await fetch(`api/live?${query}`);
    if (response.status === 401) return location.reload();
    if (response.status === 204) return;
    if (!response.ok) throw new Error(response.status);
    const body = await response.json();
    if (body.list !== undefined) takeList(body);
    if (job !== S.job) return;
    if (body.missing !== undefined) {
      S.toast(body.missing, "bad");
      if (!S.jobs.has(job)) return S.setJob(S.list()[0]?.id || "");
      tag = "missing"; // it is in the list, but cannot be read: there is nothing to draw
    }
    if (body.job) takeJob(body);
    if (body.log) { S.emit("log", { text: body.log.text, fresh: logEnd < 0 }); logEnd = body.log.next; }
  }
  function takeList(body) {
    if (body.whole) S.jobs.clear();
    known = body.list;
    for (const id of body.gone) S.jobs.delete(id);
    for (const entry of body.jobs) S.jobs.set(entry.id, entry);
    const newest = S.list()[0];
    if (!S.job && newest) S.setJob(newest.id);
    S.emit("jobs");
  }
  function takeJob(body) {
    if (S.summary && body.job.revision !== S.summary.revision) { forget(); S.summary = body.job; return; }
    S.summary = body.job;
    tag = body.tag;
    next = body.next;
    S.points.push(...body.points);
    S.emit("summary", body.job);
    if (body.points.length) S.emit("points", body.points);
  }
  S.list = () => [...S.jobs.values()].sort((a, b) => (a.created < b.created ? 1 : -1));
  S.act = async (action) => {
    const response = await fetch(`api/jobs/${encodeURIComponent(S.job)}/${action}`, { method: "POST" });
    const body = await response.json();
    if (!response.ok) return S.toast([body.error.message, body.error.hint].filter(Boolean).join(" "), "bad");
    S.toast(S.word({ stop: "jobs_stop_asked", resume: "jobs_resumed", delete: "jobs_deleted", unload: "jobs_unload_asked" }[action]));
    if (action === "delete") S.setJob("");
    tag = "";
    poll();
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });

  /* ---- widgets ---- */
  S.mount = (name, element, props, watch, options, trigger) => {
    const host = () => element.querySelector(".st-widget") || element;
    S.widgets[name](host(), props.value, options, trigger);
    watch("value", () => S.widgets[name](host(), props.value, options, trigger));
  };

  /* ---- theme, language, phone ---- */
  S.toggleTheme = () => {
    const dark = document.body.classList.toggle("dark");
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    localStorage.setItem("studio-theme", dark ? "dark" : "light");
    S.emit("theme");
  };
  S.toggleLanguage = () => {
    document.cookie = `studio_language=${S.language === "zh" ? "en" : "zh"}; Path=/; Max-Age=31536000; SameSite=Lax`;
    location.reload();
  };
  const ready = (run) => (document.readyState === "loading" ? addEventListener("DOMContentLoaded", run) : run());
  ready(() => {
    document.documentElement.lang = S.language;
    document.title = S.word("app_title");
    poll();
    document.addEventListener("click", (event) => {
      if (event.target.closest("#tabs > .tab-wrapper button")) setTimeout(tabChanged, 0);
    });
    let tries = 0, wanted = TABS.includes(address.get("tab")) ? address.get("tab") : "";
    const settle = setInterval(() => {
      if (wanted && S.tab() && tabButton(wanted)) { S.openTab(wanted); wanted = ""; }
      if (!wanted) tabChanged(); // not before: it would write the first tab over the one the address names
      const open = innerWidth < 900 && document.querySelector(".sidebar.open .toggle-button");
      if (open) open.click(); // on a phone the open sidebar covers the page
      if (++tries > 60 || (S.tab() && !open && !wanted)) clearInterval(settle);
    }, 100);
  });
  let lastTab = "";
  function tabChanged() {
    const name = S.tab();
    if (!name || name === lastTab) return;
    lastTab = name;
    S.address({ tab: name });
    S.emit("tab", name);
  }
  S.tabChanged = tabChanged;
})();
