// --- latency over time ---

/** Which rows of the map to show: those in use and one beside, at least so many. */
function heatRows(map) {
  const last = map.bounds_ms.length - 1;
  let low = last, high = 0;
  for (const column of map.columns) {
    for (let row = 0; row < column.length; row++) {
      if (column[row] > 0) { low = Math.min(low, row); high = Math.max(high, row); }
    }
  }
  if (low > high) return null;
  high = Math.min(last, high + 1);
  low = Math.max(0, Math.min(low - 1, high - HEAT_ROWS_MIN + 1));
  return [low, Math.min(last, Math.max(high, low + HEAT_ROWS_MIN - 1))];
}

/**
 * One path of cells for each level of colour. The scale is not linear, so that single tasks are
 * visible beside thousands.
 */
function heatPaths(map, [low, high], columns) {
  const most = Math.max(...map.columns.map((column) => Math.max(...column)));
  const paths = new Array(HEAT_LEVELS).fill("");
  const offset = columns - map.columns.length;
  map.columns.forEach((column, x) => {
    for (let row = low; row <= high; row++) {
      if (!(column[row] > 0)) continue;
      const level = Math.floor((HEAT_LEVELS - 0.001) * (column[row] / most) ** 0.4);
      paths[level] += `M${x + offset} ${high - row}h1v1h-1z`;
    }
  });
  return paths;
}

/** The row in which a part of a column's tasks is reached; -1 if it has none. */
function rowOfPart(column, part) {
  const wanted = part * column.reduce((sum, n) => sum + n, 0);
  let sum = 0;
  return wanted > 0 ? column.findIndex((n) => (sum += n) >= wanted) : -1;
}

function quantileLine(map, [, high], columns, part) {
  const offset = columns - map.columns.length;
  let line = "", down = false;
  map.columns.forEach((column, x) => {
    const row = rowOfPart(column, part);
    if (row >= 0) line += `${down ? "L" : "M"}${x + offset} ${high - row + 0.5}h1`;
    down = row >= 0;
  });
  return line;
}

class HeatMap {
  constructor(panel) {
    this.levels = Array.from({ length: HEAT_LEVELS }, (_, i) =>
      make("path", { style: `fill: var(--heat${i + 1})` }));
    this.p50 = make("path", { class: "quantile" });
    this.p99 = make("path", { class: "quantile p99" });
    this.svg = make("svg", { preserveAspectRatio: "none" }, ...this.levels, this.p50, this.p99);
    this.cursor = make("div", { class: "cursor", hidden: "" });
    this.canvas = make("div", { class: "canvas heat", tabindex: "0", role: "img" },
      this.svg, this.cursor);
    this.y = make("div", { class: "y" });
    this.plot = make("div", { class: "plot" }, this.y, this.canvas, timeAxis());
    this.empty = make("div", { class: "empty" }, "No task has ended in the last 5 minutes.");
    panel.append(make("div", { class: "head" },
      make("h2", { "data-tip": "How long tasks took from the producer's call to the handler's end: "
        + "a column is 5 s, the colour shows how many tasks. Arrow keys move the cursor." },
      "Latency, last 5 min"),
      make("span", { class: "key" }, make("span", {}, make("i"), "p50"),
        make("span", {}, make("i", { class: "dashed" }), "p99"))), this.plot, this.empty);
    this.listen();
  }

  listen() {
    this.canvas.addEventListener("pointermove", (event) => {
      const box = this.canvas.getBoundingClientRect();
      const [low, high] = this.rows ?? [0, 0];
      this.point(Math.floor((event.clientX - box.left) / box.width * this.columns),
        high - Math.floor((event.clientY - box.top) / box.height * (high - low + 1)));
    });
    this.canvas.addEventListener("pointerleave", () => this.point(null));
    this.canvas.addEventListener("blur", () => this.point(null));
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
  }

  onKey(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const move = moves[event.key];
    if (!move || !this.rows) return;
    event.preventDefault();
    const [x, row] = this.at ?? [this.columns - 1, this.rows[0]];
    this.point(x + move[0], row + move[1]);
  }

  update(map, time) {
    const rows = map?.columns?.length && map.bounds_ms?.length ? heatRows(map) : null;
    show(this.plot, rows !== null);
    show(this.empty, rows === null);
    if (!rows) return;
    Object.assign(this, { map, time, rows, columns: Math.max(60, map.columns.length) });
    set(this.svg, "viewBox", `0 0 ${this.columns} ${rows[1] - rows[0] + 1}`);
    heatPaths(map, rows, this.columns).forEach((path, i) => set(this.levels[i], "d", path));
    set(this.p50, "d", quantileLine(map, rows, this.columns, 0.5));
    set(this.p99, "d", quantileLine(map, rows, this.columns, 0.99));
    set(this.canvas, "aria-label", this.summary());
    drawScale(this.y, decadesOf(map.bounds_ms, rows));
    if (this.at) this.point(...this.at);
  }

  summary() {
    const column = this.map.columns.at(-1);
    const bound = (part) => millis(this.map.bounds_ms[rowOfPart(column, part)]);
    return "Latency over the last 5 minutes. In the last 5 seconds half of the tasks took up to "
      + `${bound(0.5)}, 99 of 100 up to ${bound(0.99)}.`;
  }

  /** Put the cursor on a cell and show its figures. */
  point(x, row = 0) {
    this.at = x === null || !this.rows ? null : [
      Math.max(0, Math.min(this.columns - 1, x)),
      Math.max(this.rows[0], Math.min(this.rows[1], row))];
    show(this.cursor, this.at !== null);
    if (!this.at) return hideTip();
    const [low, high] = this.rows, width = 100 / this.columns, height = 100 / (high - low + 1);
    Object.assign(this.cursor.style, { left: `${this.at[0] * width}%`, width: `${width}%`,
      top: `${(high - this.at[1]) * height}%`, height: `${height}%` });
    showTip(this.describe(), this.cursor.getBoundingClientRect());
  }

  describe() {
    const [x, row] = this.at, { bounds_ms: bounds, columns, column_s: length } = this.map;
    const column = columns[x - (this.columns - columns.length)];
    const end = this.time - (this.columns - 1 - x) * length;
    const times = `${clock(end - length)} – ${clock(end)}`;
    if (!column) return `${times}\nno data`;
    const all = column.reduce((sum, n) => sum + n, 0);
    const from = row ? millis(bounds[row - 1]) : "0";
    return `${times}\n${from} – ${millis(bounds[row])}: ${plural(column[row] ?? 0, "task")} of `
      + count(all);
  }
}

function timeAxis() {
  return make("div", { class: "x", "aria-hidden": "true" }, ...["5 min ago", "4", "3", "2", "1 min",
    "now"].map((word) => make("span", {}, word)));
}

/** Powers of ten on the edges of rows: [[part from the top, words], …]. */
function decadesOf(bounds, [low, high]) {
  const found = [];
  for (let row = low; row <= high; row++) {
    const power = Math.round(Math.log10(bounds[row]));
    if (Math.abs(Math.log10(bounds[row]) - power) < 0.02) {
      found.push([(high - row) / (high - low + 1), tidy(10 ** power)]);
    }
  }
  return found;
}

/** A round figure in milliseconds without needless decimals. */
const tidy = (ms) => ms >= 60000 ? `${whole.format(ms / 1000)} s` : millis(ms).replace(".0 ", " ");

function drawScale(axis, marks) {
  const said = JSON.stringify(marks);
  if (axis.dataset.marks === said) return;
  axis.dataset.marks = said;
  axis.replaceChildren(...marks.map(([part, words]) =>
    make("span", { style: `top: ${(part * 100).toFixed(2)}%` }, words)));
}

// --- garbage collection ---

/** The next of 1, 2, 5, 10, 20, … */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * 0.9999);
}

const GC_COLUMNS = [
  named("Role", "The kind of process; workers of all hosts together.", (row) => row.role,
    { grows: 1, width: 58 }),
  { ...column("pauses", (row) => per(row.pause_ms)?.p99, millis,
    { note: " 99 of 100 were no longer.", width: 64 }), label: "p99" },
  column("longest", (row) => row.max_ms, millis, { note: " Since the start.", width: 64 }),
  column("every", (row) => per(row.interval_ms)?.p50, millis, { width: 56, grows: 0.7 }),
  ...[0, 1, 2].map((n) => ({ ...column("pauses", (row) => row.generations?.[n]?.[0], short,
    { note: ` Of generation ${n}, since the start.`, width: 42 }), label: `gen ${n}` })),
];

class Pauses {
  constructor(panel) {
    this.path = make("path", { class: "stems" });
    this.grid = make("path", { class: "grid", d: "M0 0H300M0 50H300" });
    this.canvas = make("div", { class: "canvas pauses", role: "img" }, make("svg",
      { viewBox: "0 0 300 100", preserveAspectRatio: "none" }, this.grid, this.path));
    this.y = make("div", { class: "y" });
    this.plot = make("div", { class: "plot" }, this.y, this.canvas, timeAxis());
    this.empty = make("div", { class: "empty" },
      "The broker's collector has not paused in the last 5 minutes.");
    const head = make("h2", { "data-tip": "The longest pause of the broker's garbage collector in "
      + "each second: the broker answers no peer meanwhile." }, "Broker GC pauses, last 5 min");
    this.note = text();
    panel.append(make("div", { class: "head" }, head, make("span", { class: "soft" }, this.note)),
      this.plot, this.empty);
    this.table = new Table(panel, "Collectors", GC_COLUMNS, { width: 340, bare: true,
      order: () => 0, key: (row) => row.role, search: (row) => row.role, empty() {} });
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", hideTip);
  }

  update(gc, time) {
    this.history = (gc.broker?.history ?? []).filter(([ago, ms]) => isNumber(ago) && isNumber(ms));
    this.time = time;
    const any = this.history.length > 0;
    show(this.plot, any);
    show(this.empty, !any);
    if (any) this.draw();
    this.table.update(Object.entries(gc).map(([role, figures]) => ({ role, ...figures })));
  }

  draw() {
    const most = roundUp(Math.max(0.001, ...this.history.map(([, ms]) => ms)));
    let path = "";
    for (const [ago, ms] of this.history) {
      path += `M${(300 - ago).toFixed(1)} 100V${(100 - 100 * ms / most).toFixed(1)}`;
    }
    set(this.path, "d", path);
    drawScale(this.y, [[0, tidy(most)], [0.5, tidy(most / 2)], [1, "0"]]);
    const longest = Math.max(...this.history.map(([, ms]) => ms));
    const said = `longest ${millis(longest)}`;
    put(this.note, said);
    set(this.canvas, "aria-label", `Garbage collection of the broker, last 5 minutes: ${said}`);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const ago = 300 * (1 - (event.clientX - box.left) / box.width);
    const near = this.history.reduce((best, one) =>
      Math.abs(one[0] - ago) < Math.abs(best[0] - ago) ? one : best);
    if (Math.abs(near[0] - ago) > 6) return hideTip();
    const x = box.left + box.width * (1 - near[0] / 300);
    showTip(`${clock(this.time - near[0])}\nlongest pause ${millis(near[1])}`,
      new DOMRect(x, box.top, 0, box.height));
  }
}
