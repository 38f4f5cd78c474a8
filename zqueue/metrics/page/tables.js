// --- tables ---

/**
 * A table whose rows are kept by key and filled anew with each snapshot.
 *
 * A column is { label, tip, group, width, narrow, grows, left, first, details, sort(row),
 * make(cell) }, where make returns fill(row); those with `first` come first on a phone, and are
 * `narrow` there; those with `details` are for the details of a row only. At first `ROWS_SHOWN` rows are there; a button, a filter or a
 * printer wants all. The order of rows does not change
 * while the pointer is in the table, so that no row moves away under it.
 */
class Table {
  constructor(panel, title, all, options) {
    const columns = all.filter((column) => !column.details);
    Object.assign(this, { panel, columns, options, rows: [], kept: new Map(), ranks: new Map(),
      isWhole: false, isPrinted: false });
    this.sorting = null;       // [column, descending]; null: the default order
    this.note = text();
    this.filter = make("input", { type: "search", placeholder: "Filter", hidden: "",
      "aria-label": `Filter ${title.toLowerCase()}`, spellcheck: "false" });
    this.body = make("tbody", { role: "rowgroup" });
    const sized = (width, grows) => grows ? `minmax(${width}px, ${grows}fr)` : `${width}px`;
    const widths = (some) => some.map(({ width, grows }) => sized(width, grows)).join(" ");
    const [name, ...rest] = columns, last = rest.filter((column) => !column.first);
    const narrow = [name, ...rest.filter((column) => column.first), ...last];
    this.table = make("table", { role: "table", "aria-label": title,
      style: `min-width: ${options.width}px; --columns: ${widths(columns)}; `
        + `--narrow: ${narrow.map((one) => sized(one.narrow ?? one.width, one.grows)).join(" ")}` }, this.makeHead(), this.body);
    this.scroll = make("div", { class: "scroll" }, this.table);
    this.whole = make("button", { type: "button", class: "tool", hidden: "" },
      this.wholeText = text());
    this.moreText = text();
    this.more = make("p", { class: "more-rows", hidden: "" }, this.moreText, this.whole);
    this.empty = make("div", { class: "empty", hidden: "" });
    if (!options.bare) {
      panel.append(make("div", { class: "head" }, make("h2", {}, title),
        make("span", { class: "soft" }, this.note), this.filter));
    }
    panel.append(this.scroll, this.more, this.empty);
    this.filter.addEventListener("input", () => this.render());
    this.whole.addEventListener("click", () => {
      this.isWhole = !this.isWhole;
      this.render();
    });
    addEventListener("beforeprint", () => { this.isPrinted = true; this.render(); });
    addEventListener("afterprint", () => { this.isPrinted = false; this.render(); });
    this.body.addEventListener("pointerleave", () => { this.held = false; });
    this.body.addEventListener("pointerenter", (event) => {
      this.held = event.pointerType === "mouse";
    });
  }

  makeHead() {
    const groups = make("tr", { role: "row" }), labels = make("tr", { role: "row" });
    this.columns.forEach((column, i) => {
      if (column.group) {
        const name = column.group === this.columns[i - 1]?.group ? null : column.group;
        const span = this.columns.filter((other) => other.group === column.group).length;
        if (name) groups.append(make("th", { class: "group", colspan: span, scope: "colgroup",
          role: "columnheader", style: `grid-column: span ${span}` }, make("span", {}, name)));
      } else {
        groups.append(make("td", { role: "cell", class: placeOf(column, i) }));
      }
      labels.append(column.head = this.makeLabel(column, i));
    });
    const grouped = this.columns.some((column) => column.group);
    return make("thead", { role: "rowgroup" }, ...(grouped ? [groups] : []), labels);
  }

  makeLabel(column, i) {
    const button = make("button", { type: "button", "data-tip": column.tip }, column.label);
    if (column.group) button.setAttribute("aria-label", `${column.group} ${column.label}`);
    button.addEventListener("click", () => this.sortBy(column));
    return make("th", { scope: "col", role: "columnheader", class: placeOf(column, i) }, button);
  }

  /** First click: the largest (or the first name) on top; second: the other way; third: default. */
  sortBy(column) {
    const first = !column.left;
    if (this.sorting?.[0] !== column) this.sorting = [column, first];
    else this.sorting = this.sorting[1] === first ? [column, !first] : null;
    for (const { head } of this.columns) head.removeAttribute("aria-sort");
    if (this.sorting) {
      column.head.setAttribute("aria-sort", this.sorting[1] ? "descending" : "ascending");
    }
    this.held = false;
    this.render();
  }

  update(rows, beyond = 0) {
    this.rows = rows;
    this.beyond = beyond;
    this.render();
  }

  render() {
    const found = this.found();
    const ordered = this.inOrder(found);
    const wanted = this.isWhole || this.isPrinted || this.filter.value.trim() !== "";
    this.place(ordered.slice(0, wanted ? ROWS_MAX : ROWS_SHOWN));
    this.tell(found.length);
  }

  found() {
    show(this.filter, this.rows.length > FILTER_FROM || this.filter.value !== "");
    const wanted = this.filter.hidden ? "" : this.filter.value.trim().toLowerCase();
    if (!wanted) return this.rows;
    return this.rows.filter((row) => this.options.search(row).toLowerCase().includes(wanted));
  }

  inOrder(rows) {
    const ranked = rows.map((row) => [this.rank(row), this.options.key(row), row]);
    const down = this.held ? 1 : this.sorting?.[1] ? -1 : 1;
    ranked.sort((a, b) => down * compare(a[0], b[0]) || compare(a[1], b[1]));
    return ranked.map((entry) => entry[2]);
  }

  rank(row) {
    if (this.held) return this.ranks.get(this.options.key(row)) ?? Infinity;
    return this.sorting ? this.sorting[0].sort(row) : this.options.order(row);
  }

  place(rows) {
    const before = this.kept;
    this.kept = new Map();
    this.ranks.clear();
    let next = this.body.firstChild;
    for (const row of rows) {
      let key = this.options.key(row);
      while (this.kept.has(key)) key += "'";  // Two hosts may have one name.
      const line = before.get(key) ?? this.makeRow();
      before.delete(key);
      this.ranks.set(key, this.ranks.size);
      this.kept.set(key, line);
      for (const fill of line.fills) fill(row);
      if (line.tr === next) next = next.nextSibling;
      else this.body.insertBefore(line.tr, next);
    }
    for (const line of before.values()) line.tr.remove();
  }

  makeRow() {
    const tr = make("tr", { role: "row" });
    const fills = this.columns.map((column, i) => {
      const cell = make("td", { role: "cell", class: placeOf(column, i) });
      tr.append(cell);
      return column.make(cell);
    });
    return { tr, fills };
  }

  tell(found) {
    const none = this.rows.length === 0;
    put(this.note, none ? "" : count(this.rows.length + this.beyond));
    show(this.scroll, !none);
    show(this.empty, none);
    if (none) this.options.empty(this.empty);
    const hidden = found - this.kept.size + (found === this.rows.length ? this.beyond : 0);
    let said = hidden > 0 ? `and ${count(hidden)} more` : "";
    if (!none && found === 0) said = `Nothing matches “${this.filter.value.trim()}”`;
    const most = Math.min(found, ROWS_MAX);
    const can = most > ROWS_SHOWN && this.filter.value.trim() === "";
    show(this.whole, can);
    put(this.wholeText, this.isWhole ? `Show ${ROWS_SHOWN}` : `Show ${count(most)}`);
    put(this.moreText, said);
    show(this.more, said !== "" || can);
  }
}

/** The classes of a column's cells. */
const placeOf = (column, i) =>
  [column.left ? "left" : "", column.first ? "first" : "", i ? "" : "pinned"].join(" ").trim();

/** Numbers and strings in order; missing values come last in a table sorted downwards. */
function compare(a, b) {
  if (typeof a === "string" && typeof b === "string") return collator.compare(a, b);
  const x = typeof a === "number" ? a : -1, y = typeof b === "number" ? b : -1;
  return x === y ? 0 : x < y ? -1 : 1;
}
