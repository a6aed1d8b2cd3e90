/* Column mapping: which column plays which part, with a live example of what comes out. */
(function () {
  "use strict";
  const S = window.Studio, D = S.data, make = S.make, word = S.word;

  /** `columns` and `rows` are the file's, `suggestion` a mapping to begin with, `use(mapping)` imports with it. */
  D.mappingEditor = ({ columns, rows, suggestion, title, use }) => {
    const card = make("div", { class: "st-card st-mapping", id: "mapping" }, make("h3", {}, title), make("p", { class: "st-note" }, word("data_map_text")));
    D.menus().then(({ formats }) => {
      const there = new Set(columns.map((name) => name.toLowerCase())), fits = (parts) => parts.every((part) => there.has(part));
      const chosen = formats.find((one) => one.name === suggestion?.format) || formats.find((one) => fits(one.needed) && (!one.either.length || one.either.some(fits))) || formats.find((one) => one.name === "prompt_completion");
      card.append(new Editor(formats, chosen, columns, rows, suggestion, use).root);
    });
    return card;
  };

  class Editor {
    constructor(formats, format, columns, rows, suggestion, use) {
      Object.assign(this, { formats, columns, rows: rows.slice(0, 3), use });
      this.parts = make("div", { class: "st-parts" });
      this.live = make("div", { class: "st-stack", "aria-live": "polite" });
      this.go = D.button(word("data_map_use"), () => this.use(this.mapping()), "primary", { id: "mapping-use" });
      const menu = D.select(formats.map((one) => [one.name, one.title]), format.name, (name) => this.choose(formats.find((one) => one.name === name), {}), { id: "mapping-format" });
      this.root = make("div", { class: "st-stack" }, D.field(word("kpi_format"), menu), this.parts, make("div", { class: "st-actions flat" }, this.go), this.live);
      this.choose(format, suggestion?.columns || {});
    }
    choose(format, given) {
      this.format = format;
      this.menus = {};
      const free = [["", "—"], ...this.columns.map((name) => [name, name])];
      const needed = new Set([...format.needed, ...(format.either.length === 1 ? format.either[0] : [])]);
      const fields = format.parts.map((part) => {
        const value = given[part] || (Object.keys(given).length ? "" : this.columns.find((name) => name.toLowerCase() === part) || "");
        this.menus[part] = D.select(free, value, () => this.changed(), { "data-part": part });
        return [part, D.field(part + (needed.has(part) ? " *" : ""), this.menus[part])];
      });
      const main = new Set([...needed, ...format.either.flat(), ...Object.keys(given), ...(format.needed.includes("chosen") ? ["prompt"] : [])]);
      const rest = fields.filter(([part]) => !main.has(part)).map(([, field]) => field);
      const either = format.either.length > 1 ? [make("p", { class: "st-note" }, D.say("data_map_either", { groups: format.either.map((group) => group.join(" + ")).join(` ${word("data_or")} `) }))] : [];
      this.parts.replaceChildren(...either, make("div", { class: "st-parts-grid" }, ...fields.filter(([part]) => main.has(part)).map(([, field]) => field)),
        ...(rest.length ? [make("details", {}, make("summary", {}, word("data_map_more")), make("div", { class: "st-parts-grid" }, ...rest))] : []));
      this.changed();
    }
    mapping() {
      const columns = Object.fromEntries(Object.entries(this.menus).map(([part, menu]) => [part, menu.value]).filter(([, column]) => column));
      return { format: this.format.name, columns };
    }
    changed() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.try(), 150);
    }
    async try() {
      const asked = (this.asked = this.mapping());
      const lacking = this.format.needed.filter((part) => !asked.columns[part]);
      if (lacking.length) {
        this.go.disabled = true;
        return this.live.replaceChildren(make("p", { class: "st-note" }, D.say("data_map_lacking", { parts: lacking.join(", ") })));
      }
      try {
        const { examples } = await D.post("mapping", { ...asked, rows: this.rows });
        if (asked !== this.asked) return;
        this.go.disabled = false;
        const head = make("h3", { class: "st-heading" }, word("data_map_live"));
        this.live.replaceChildren(head, ...examples.map((one, index) => one.example ? make("div", { class: "st-card st-live" }, D.bubbles(one.example)) : D.problemsCard([{ row: index + 1, ...one.problem }])));
      } catch (error) {
        if (!D.isRefusal(error)) throw error;
        if (asked !== this.asked) return;
        this.go.disabled = true;
        this.live.replaceChildren(make("p", { class: "st-note" }, `${error.message} ${error.hint}`));
      }
    }
  }
  D.problemsCard = (list) => make("div", { class: "st-card st-bad" }, D.problems(list));

  /** "Change" beside the format of a data set: the same editor; what comes out is another data set. */
  D.changeFormat = D.loud(async (place) => {
    if (!place.hidden) { place.hidden = true; return; }
    place.hidden = false;
    const { record } = D.about, id = D.id;
    const { rows } = await D.get(`${id}/rows`, { limit: 3 });
    const first = await Promise.all(rows.map((row) => D.get(`${id}/rows/${row.row}`)));
    const suggestion = record.mapping || { format: record.format, columns: {} };
    const use = D.loud(async (mapping) => D.followImport((await D.post(`${id}/again`, mapping)).task));
    place.replaceChildren(D.mappingEditor({ columns: record.columns, rows: first.map((row) => row.raw), suggestion, title: word("data_map_change"), use }));
  });
})();
