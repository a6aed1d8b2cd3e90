/* The rows as they stand in the file: a table to search, sort and page through, and one row in full. */
(function () {
  "use strict";
  const S = window.Studio, D = S.data, make = S.make, word = S.word;
  const PAGE = 50, MOST_COLUMNS = 12;

  D.views.rows = (panel) => {
    const asked = { offset: 0, limit: PAGE, search: "", sort: "row", descending: false, finding: "" };
    let number = 0, timer = 0, total = 0;
    const search = make("input", { class: "st-input search", type: "search", placeholder: word("data_search"), "aria-label": word("data_search"), id: "rows-search", oninput: () => { clearTimeout(timer); timer = setTimeout(() => turn({ search: search.value }), 200); } });
    const chip = make("span"), where = make("span", { class: "st-note", id: "rows-where" });
    const first = D.button("«", () => page(0), "", { "aria-label": word("data_first_page") }), before = D.button("‹", () => page(asked.offset - PAGE), "", { "aria-label": word("data_previous") });
    const after = D.button("›", () => page(asked.offset + PAGE), "", { "aria-label": word("data_next"), id: "rows-next" }), last = D.button("»", () => page(Math.floor((total - 1) / PAGE) * PAGE), "", { "aria-label": word("data_last_page") });
    const table = make("div", { class: "st-table", tabindex: 0 });
    panel.replaceChildren(make("div", { class: "st-rows-bar" }, search, chip, make("div", { class: "st-pager" }, first, before, where, after, last)), table);

    const turn = (changes) => { Object.assign(asked, { offset: 0 }, changes); load(); };
    const page = (offset) => { asked.offset = Math.max(0, offset); load(); table.scrollTop = 0; };
    const sort = (name) => turn({ sort: name, descending: asked.sort === name ? !asked.descending : name !== "row" });
    async function load() {
      const mine = ++number, id = D.id;
      table.classList.add("busy");
      try {
        const told = await D.get(`${id}/rows`, { ...asked, ...D.look });
        if (mine === number && id === D.id) draw(told);
      } catch (error) {
        if (!D.isRefusal(error)) throw error;
        if (mine === number) table.replaceChildren(D.trouble(error));
      }
      if (mine === number) table.classList.remove("busy");
    }
    function draw(told) {
      total = told.total;
      const to = Math.min(asked.offset + PAGE, total);
      where.textContent = total ? D.say("data_page", { from: S.number(asked.offset + 1), to: S.number(to), n: S.number(total) + (told.more ? "+" : "") }) : word("data_no_rows");
      first.disabled = before.disabled = !asked.offset;
      after.disabled = last.disabled = to >= total;
      chip.replaceChildren(...(asked.finding ? [D.button(`${word(`finding_${asked.finding}`)} ×`, () => turn({ finding: "" }), "chip", { title: word("data_all_again") })] : []));
      const columns = told.columns.slice(0, MOST_COLUMNS), hidden = told.columns.length - columns.length;
      const sorted = (name) => (asked.sort === name ? (asked.descending ? " ↓" : " ↑") : "");
      const header = (name, text, more) => make("th", { scope: "col", class: more, "aria-sort": asked.sort === name ? (asked.descending ? "descending" : "ascending") : "none" }, D.link(text + sorted(name), () => sort(name)));
      const lines = told.rows.map((row) => {
        const open = () => D.rowDialog(row.row);
        return make("tr", { tabindex: 0, class: row.dropped ? "dropped" : "", "data-row": row.row, onclick: open, onkeydown: (event) => { if (event.key === "Enter") open(); } },
          make("td", { class: "number" }, S.number(row.row)), ...columns.map((name) => make("td", {}, make("div", {}, row.cells[name] ?? ""))));
      });
      table.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, header("row", "#", "number"), ...columns.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...lines)));
      if (!lines.length) table.append(make("p", { class: "st-note none" }, word(asked.search || asked.finding ? "data_no_match" : "data_no_rows")));
      const sizes = make("div", { class: "st-note" }, word("data_sort"), " ", D.link(word("data_by_number") + sorted("row"), () => sort("row")), " · ", D.link(word("data_by_length") + sorted("characters"), () => sort("characters"), { id: "sort-length" }), hidden ? ` · ${D.say("data_columns_hidden", { n: hidden })}` : "");
      table.before(sizes);
      panel.querySelectorAll(".st-sort").forEach((old) => old.remove());
      sizes.classList.add("st-sort");
    }
    /** Only the rows of a finding. */
    D.showFinding = (code) => { D.show("rows"); search.value = ""; turn({ finding: code, search: "" }); };
    S.on("data-current", table, () => { if (!panel.hidden) load(); else table.dataset.old = "1"; });
    S.on("data-view", table, (name) => { if (name === "rows" && table.dataset.old) { delete table.dataset.old; load(); } });
    load();
  };
  /** The table may be wanted before its view was ever opened. */
  D.onlyFinding = (code) => { D.show("rows"); D.showFinding(code); };

  /* ---- one row ---- */
  D.rowDialog = async (row) => {
    const body = make("div", { class: "st-dialog-body" }, make("div", { class: "st-loading" }));
    const title = make("h2", {}, `${word("data_row")} ${S.number(row)}`), badges = make("span");
    const step = (by) => D.button(by < 0 ? "‹" : "›", () => move(by), "", { "aria-label": word(by < 0 ? "data_previous" : "data_next") });
    const dialog = make("dialog", { class: "st-dialog", id: "row-dialog", "aria-label": title.textContent, onclose: () => dialog.remove(), onclick: (event) => { if (event.target === dialog) dialog.close(); } },
      make("div", { class: "st-dialog-head" }, title, badges, make("span", { class: "gap" }), step(-1), step(1), D.button("×", () => dialog.close(), "", { "aria-label": word("data_close"), id: "row-close" })), body);
    document.querySelector(".gradio-container").append(dialog);
    dialog.showModal();
    let shown = row;
    async function move(by) {
      try {
        const { rows } = await D.get(`${D.id}/neighbours`, { row: shown, back: by < 0 });
        if (rows.length) fill(rows[0]);
      } catch (error) { if (!D.isRefusal(error)) throw error; }
    }
    dialog.addEventListener("keydown", (event) => {
      if (event.target.matches("input, textarea, .st-tokens")) return;
      if (event.key === "ArrowRight") move(1);
      if (event.key === "ArrowLeft") move(-1);
    });
    async function fill(wanted) {
      shown = wanted;
      title.textContent = `${word("data_row")} ${S.number(wanted)}`;
      try {
        const told = await D.get(`${D.id}/rows/${wanted}`);
        if (shown !== wanted) return;
        badges.replaceChildren(...D.rowBadges(told));
        const tokens = make("div", { class: "st-stack" }, make("div", { class: "st-loading" }));
        const cells = Object.entries(told.raw).map(([name, value]) => [make("dt", {}, name), make("dd", {}, typeof value === "string" ? value : JSON.stringify(value, null, 1))]).flat();
        body.replaceChildren(section("data_conversation", D.bubbles(told.example)), section("data_tokens_title", tokens), section("data_raw", make("dl", { class: "st-raw" }, ...cells)));
        const { rows } = await D.get(`${D.id}/tokens?${new URLSearchParams({ ...D.look, row: wanted })}`);
        if (shown === wanted) tokens.replaceChildren(D.legend(), ...rows.flatMap((one) => D.sequences(one, D.about.record.dataset_type)));
      } catch (error) {
        if (!D.isRefusal(error)) throw error;
        (body.querySelector(".st-loading") || body).replaceWith(D.trouble(error));
      }
    }
    await fill(row);
  };
  const section = (title, content) => make("section", {}, make("h3", { class: "st-heading" }, word(title)), content);
})();
