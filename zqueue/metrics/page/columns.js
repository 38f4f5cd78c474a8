// --- columns ---

/**
 * A column of plain text for a term of the glossary; `level` is its colour where the value is above
 * 0, `more` what follows the word: "/s" for a rate. What only `details` have is not in the table.
 */
function column(key, of, format, { more = "", note = "", ...other } = {}) {
  return { label: word(key) + more, tip: `${means(key)}${more === "/s" ? " A second." : ""}${note}`,
    width: 62, sort: of, ...other, make(cell) {
      const node = cell.appendChild(text());
      return (row) => {
        const value = of(row);
        put(node, format(value));
        if (other.level) {
          cell.classList.toggle(other.level, value > 0);
          cell.classList.toggle("soft", !(value > 0));
        }
      };
    } };
}

/** A column of text; `of` gives it. */
const named = (label, tip, of, other) => ({ label, tip, left: true, sort: of, ...other,
  make: plainName((row) => of(row) || NONE) });

const per = (windows) => windows?.[view.window];
const quantile = (row, figure, name) => per(row[figure])?.[name];
const perS = (key, of, other) => column(key, (row) => per(of(row)), perSecond,
  { more: "/s", ...other });

function quantiles(key, figure, names = ["p50", "p99"]) {
  const part = { p50: "half", p95: "95 of 100", p99: "99 of 100" };
  return ["p50", "p95", "p99"].map((name) => ({
    ...column(key, (row) => quantile(row, figure, name), millis,
      { note: ` In the window, ${part[name]} took no longer.` }),
    label: name, group: word(key), details: !names.includes(name) }));
}

const QUEUE_LEVELS = { full: "bad", paused: "warn", draining: "warn" };

/** Names come from users: isolated, cut where too long, whole in the tool-tip. */
function makeName(cell) {
  const name = text(), cut = make("bdi", { class: "cut" }, name);
  const flex = cell.appendChild(make("div", { class: "flex" }, cut));
  return [flex, (value) => {
    put(name, value);
    set(cell, "data-tip", value);
  }];
}

/** Chips behind a name: fill([[word, level, tip], …]). */
function makeChips(flex) {
  const chips = [];
  return (wanted) => {
    while (chips.length < wanted.length) {
      chips.push(flex.appendChild(make("span", { class: "chip" }, text())));
    }
    chips.forEach((chip, i) => {
      show(chip, i < wanted.length);
      if (i >= wanted.length) return;
      const [word, level, tip] = wanted[i];
      put(chip.firstChild, word);
      set(chip, "data-level", level);
      set(chip, "data-tip", tip);
    });
  };
}

const hashOf = (name) => `#queue=${encodeURIComponent(name)}`;

/** A queue's name, which opens all that is known of it, and its state. */
function queueName(cell) {
  const [flex, name] = makeName(cell);
  const link = make("a", { class: "cut" });
  flex.firstChild.replaceWith(link);
  link.append(make("bdi", {}, text()));
  const chips = makeChips(flex);
  return (queue) => {
    name(queue.name);
    put(link.firstChild.firstChild, queue.name);
    set(link, "href", hashOf(queue.name));
    const wanted = [];
    if (QUEUE_LEVELS[queue.state]) {
      wanted.push([queue.state, QUEUE_LEVELS[queue.state], means(queue.state)]);
    }
    if (!queue.workers && queue.ready > 0 && !queue.plain) {
      wanted.push(["unserved", "bad", "It has ready tasks, and no worker serves it."]);
    }
    if (queue.plain) {
      wanted.push(["plain", "", "It feeds a plain lane: each task is sent at most once."]);
    }
    chips(wanted);
  };
}

/** How near a queue is to its bound, in tasks or in bytes, whichever is nearer. */
const fullness = (queue) => Math.max(
  (queue.ready + queue.delayed + queue.leased) / queue.tasks_max || 0,
  queue.bytes / queue.bytes_max || 0);

function depthCell(cell) {
  const figure = text(), [bar, fill] = makeBar();
  cell.append(make("div", { class: "flex" }, bar, make("span", { class: "number" }, figure)));
  return (queue) => {
    const part = fullness(queue);
    put(figure, count(queue.ready));
    fill(part, queue.state === "full" ? "bad" : part > 0.8 ? "warn" : "");
    set(cell, "data-tip", `${percent(part)} of its bound: ${whole.format(queue.ready || 0)} ready, `
      + `${count(queue.delayed)} delayed and ${count(queue.leased)} leased of `
      + `${count(queue.tasks_max)} tasks, ${bytes(queue.bytes)} of ${bytes(queue.bytes_max)}`);
  };
}

function sparkCell(cell) {
  const [svg, draw] = makeSpark("area", "in", "out");
  cell.classList.add("spark-cell");
  cell.append(svg);
  return ({ history }) => draw(history?.out, history?.in, history?.out);
}

const total = (key, other) => column(key, (queue) => queue.counters?.[key], count,
  { note: " Since the broker's start.", width: 66, ...other });

const QUEUES = [
  { label: "Queue", tip: "The queue's name and, unless it is simply running, its state.",
    left: true, width: 112, grows: 1, sort: (queue) => queue.name, make: queueName },
  { label: word("ready"), tip: `${means("ready")} The bar shows how near the queue is to its bound.`,
    width: 100, narrow: 62, grows: 0.5, sort: (queue) => queue.ready, make: depthCell },
  column("delayed", (queue) => queue.delayed, count, { width: 66 }),
  column("due", (queue) => queue.delayed > 0 ? queue.due_in_s : null, seconds, { details: true }),
  column("leased", (queue) => queue.leased, count),
  column("oldest", (queue) => queue.ready > 0 ? queue.oldest_s : null, seconds),
  perS("in", (queue) => queue.in, { first: true }),
  perS("out", (queue) => queue.out, { first: true }),
  { label: word("history"), tip: `${means("history")} Tasks in (teal) and out (violet).`,
    width: 96, sort: (queue) => per(queue.in) + per(queue.out), make: sparkCell },
  perS("failed", (queue) => queue.failed, { level: "bad", width: 66, first: true }),
  ...quantiles("wait", "wait_ms"),
  ...quantiles("run", "run_ms"),
  total("dead", { level: "bad", width: 56 }),
  total("retried", { details: true }), total("redelivered", { details: true }),
  total("returned", { details: true }), total("cancelled", { details: true }),
  total("expired", { details: true }), total("done", { details: true }),
  column("servers", (queue) => queue.workers, count, { width: 70 }),
];

/** Queues with a problem first, then busy ones, then the rest. */
function queueOrder(queue) {
  if (queue.state === "full") return 0;
  if (QUEUE_LEVELS[queue.state] || (queue.ready > 0 && !queue.workers)) return 1;
  return queue.ready || queue.delayed || queue.leased || queue.in?.[300] || queue.out?.[300] ? 2 : 3;
}

function plainName(of) {
  return (cell) => {
    const [, name] = makeName(cell);
    return (row) => name(of(row));
  };
}

/** A task's colour: its place among the broker's tasks says which. */
function colourOf(name) {
  const place = view.tasks.indexOf(name);
  return place < 0 ? "var(--soft)" : `var(--task${place % COLOURS})`;
}

/** A task's name with its colour: the key to the workers' strips. */
function taskName(cell) {
  const [flex, name] = makeName(cell), swatch = make("i", { class: "swatch" });
  flex.firstChild.prepend(swatch);
  return (task) => {
    name(task.name);
    swatch.style.background = colourOf(task.name);
  };
}

const sinceStart = { note: " Since the broker's start." };

const TASKS = [
  { label: "Task", tip: "The task's name, and its colour in the workers' last minute.", left: true,
    width: 112, grows: 1, sort: (task) => task.name, make: taskName },
  named("Queue", "The queue that it is sent to.", (task) => task.queue, { width: 90, grows: 0.5 }),
  perS("ended", (task) => task.rate, { first: true, width: 66 }),
  perS("failures", (task) => task.failed_rate, { level: "bad", first: true, width: 76 }),
  ...quantiles("run", "run_ms", ["p50", "p95", "p99"]),
  ...quantiles("total", "total_ms", ["p50", "p95", "p99"]),
  column("done", (task) => task.done, count, sinceStart),
  column("failures", (task) => task.failed, count, { level: "bad", width: 66, ...sinceStart }),
];

/** When, in the local time; the day in its place, unless it is today. */
function instant(unix) {
  if (!isNumber(unix) || unix <= 0) return NONE;
  const at = new Date(unix * 1000), today = new Date().toDateString() === at.toDateString();
  return today ? clock(unix) : at.toLocaleDateString("en-CA");
}

/** A button that opens the newest letter of a group. */
function groupCell(cell) {
  const name = text(), button = make("button", { type: "button", class: "cut" }, name);
  cell.append(make("div", { class: "flex" }, button));
  let group = null;
  button.addEventListener("click", () => openLetter(group));
  return (row) => {
    group = row;
    put(name, row.task || row.queue || NONE);
    set(cell, "data-tip", `${row.task || NONE}: show the newest error`);
  };
}

const DEAD = [
  { label: "Task", tip: "The task's name. Click it for the traceback of the newest.", left: true,
    width: 112, grows: 1, sort: (group) => group.task, make: groupCell },
  named(word("error"), means("error"), (group) => group.error, { width: 110, grows: 0.6,
    first: true }),
  named(word("text"), means("text"), (group) => group.text, { width: 150, grows: 1.6 }),
  named("Queue", "The queue in which it waited.", (group) => group.queue,
    { width: 90, grows: 0.4 }),
  named(word("reason"), means("reason"), (group) => group.reason, { width: 80 }),
  column("letters", (group) => group.letters, count, { level: "bad", width: 64, first: true }),
  column("first", (group) => group.first_s, instant, { width: 76 }),
  column("last", (group) => group.last_s, instant, { width: 76 }),
];

const workerName = (worker) => `${worker.host || "?"}/${worker.pid ?? worker.id ?? "?"}`;

function workerCell(cell) {
  const [flex, name] = makeName(cell);
  const chips = makeChips(flex);
  return (worker) => {
    name(workerName(worker));
    const wanted = [];
    if (worker.version && view.version && worker.version !== view.version) {
      wanted.push([worker.version, "warn", "Another version than the broker's."]);
    }
    if (worker.compiled === false) {
      wanted.push(["interpreted", "warn", "Installed without a compiler: it works, but slower."]);
    }
    chips(wanted);
  };
}

function busyCell(cell) {
  const figure = text(), [bar, fill] = makeBar();
  cell.append(make("div", { class: "flex" }, bar, make("span", { class: "narrow" }, figure)));
  return (worker) => {
    put(figure, percent(worker.busy));
    fill(worker.busy);
  };
}

function runningCell(cell) {
  const task = text(), since = text(), part = text(), [bar, fill] = makeBar();
  const name = make("bdi", { class: "cut" }, task);
  const flex = make("div", { class: "flex" }, name, make("span", { class: "soft" }, since), bar,
    make("span", { class: "soft" }, part));
  cell.append(flex);
  return (worker) => {
    const running = worker.running;
    put(task, running ? String(running.task) : "idle");
    name.className = running ? "cut" : "cut soft";
    put(since, running ? seconds(running.for_s) : "");
    const [n, of] = running?.progress ?? [], known = of > 0;
    show(bar, known);
    fill(n / of);
    put(part, known ? percent(n / of) : isNumber(n) ? count(n) : "");
    const progress = isNumber(n) ? `, ${count(n)} of ${known ? count(of) : "?"}` : "";
    set(cell, "data-tip",
      running ? `${running.task}, for ${seconds(running.for_s)}${progress}` : "It has no task.");
  };
}

/** A second of the strip: x from the left; shares are piled up from the bottom. */
function stripPath(cells, floor) {
  let path = "";
  for (let x = 0; x < cells.length; x++) {
    const high = Number(cells[x]);
    if (!(high > 0)) continue;
    path += `M${x} ${STRIP_FULL - floor[x]}h1v${-high}h-1z`;
    floor[x] += high;
  }
  return path;
}

/** What a worker ran in the last minute: a path for each task, in its colour. */
function stripCell(cell) {
  const svg = make("svg", { class: "strip", viewBox: `0 0 60 ${STRIP_FULL + 1}`,
    preserveAspectRatio: "none", "aria-hidden": "true" });
  const failed = make("path", { class: "failed" }), paths = [];
  svg.append(failed);
  cell.append(svg);
  return ({ strip }) => {
    const tasks = Object.entries(strip?.tasks ?? {}), floor = new Array(60).fill(0);
    while (paths.length < tasks.length) paths.push(svg.insertBefore(make("path"), failed));
    paths.forEach((path, i) => {
      const [name, cells] = tasks[i] ?? ["", ""];
      set(path, "d", stripPath(String(cells), floor));
      path.style.fill = colourOf(name);
    });
    const marks = new Array(60).fill(-1);
    set(failed, "d", stripPath(String(strip?.failed ?? ""), marks));
    set(cell, "data-tip", tasks.length ? `In the last minute: ${tasks.map(([name, cells]) =>
      `${name} ${seconds([...String(cells)].reduce((sum, n) => sum + Number(n), 0) / STRIP_FULL)}`)
      .join(", ")}` : "It ran nothing in the last minute.");
  };
}

const WORKERS = [
  { label: "Worker", tip: "Host and process id.", left: true, width: 112, grows: 0.7,
    sort: workerName, make: workerCell },
  named("Queues", "The queues it serves.", (worker) => [...worker.queues ?? []].sort().join(", "),
    { width: 100, grows: 0.5 }),
  { label: word("strip"), tip: `${means("strip")} Red below: runs failed.`, left: true, width: 160, narrow: 140, grows: 1, first: true,
    sort: (worker) => worker.busy, make: stripCell },
  { label: word("busy"), tip: means("busy"), width: 96, narrow: 56, grows: 0.3, first: true,
    sort: (worker) => worker.busy, make: busyCell },
  { label: word("running"), tip: means("running"), left: true, width: 190, grows: 0.8,
    sort: (worker) => worker.running?.for_s, make: runningCell },
  perS("ended", (worker) => worker.rate, { width: 66 }),
  column("failures", (worker) => worker.failed, count, { level: "bad", width: 66,
    note: " Since it started." }),
  column("in_flight", (worker) => worker.in_flight, count),
  column("cpu", (worker) => worker.cpu, cores, { width: 52 }),
  column("rss", (worker) => worker.rss_bytes, bytes, { width: 80 }),
  { ...column("longest", (worker) => worker.gc?.max_ms, millis), label: "GC max",
    tip: "Its longest pause for the garbage collector." },
];

const SUPERVISORS = [
  { label: "Supervisor", tip: "Host and process id.", left: true, width: 90, grows: 1,
    sort: workerName, make: plainName(workerName) },
  column("processes", (one) => one.processes, count, { width: 72 }),
  column("restarts", (one) => one.restarts, count, { level: "warn" }),
  column("cpu", (one) => one.cpu, cores, { width: 44 }),
  column("rss", (one) => one.rss_bytes, bytes, { width: 74 }),
];

/** What an empty table says: what to do next. */
function advice(before, command) {
  return (panel) => {
    const said = before + command();
    if (panel.textContent !== said) panel.replaceChildren(before, make("code", {}, command()));
  };
}

const atUrl = () => view.url ? ` --url ${view.url}` : "";

function makeTables() {
  const byName = { key: (row) => String(row.name),
    search: (row) => `${row.name} ${row.queue ?? ""}` };
  return {
    queues: new Table(byId("queues"), "Queues", QUEUES, { ...byName, width: 980, order: queueOrder,
      search: (queue) => `${queue.name} ${queue.state}`,
      empty: advice("No queues yet: the first task for a queue makes it. Send one with ",
        () => `zqueue send TASK${atUrl()}`) }),
    tasks: new Table(byId("tasks"), "Tasks", TASKS, { ...byName, width: 860,
      key: (task) => `${task.name} ${task.queue}`, order: (task) => -(task.done + task.failed || 0),
      empty: advice("No task has ended yet. Tasks appear when workers report them: ",
        () => `zqueue worker APP${atUrl()}`) }),
    dead: new Table(byId("dead"), "Dead letters", DEAD, { width: 860, empty() {},
      key: (group) => JSON.stringify([group.queue, group.task, group.error, group.reason]),
      search: (group) => `${group.task} ${group.queue} ${group.error} ${group.reason} ${group.text}`,
      order: (group) => -group.last_s || 0 }),
    workers: new Table(byId("workers"), "Workers", WORKERS, { width: 1120, order: () => 0,
      key: (worker) => `${workerName(worker)} ${worker.id}`,
      search: (worker) => `${workerName(worker)} ${worker.queues} ${worker.running?.task ?? ""}`,
      empty: advice("No workers: start some with ", () => `zqueue worker APP${atUrl()}`) }),
    supervisors: new Table(byId("supervisors"), "Supervisors", SUPERVISORS, { width: 330,
      key: workerName, search: workerName, order: () => 0, empty() {} }),
  };
}
