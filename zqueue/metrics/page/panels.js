// --- headline figures ---

/** The row with the largest value, if any has one. */
function worst(rows, of) {
  let found = null;
  for (const row of rows) if (isNumber(of(row)) && (!found || of(row) > of(found))) found = row;
  return found;
}

function addUp(rows, of) {
  let sum = 0;
  for (const row of rows) sum += of(row) || 0;
  return sum;
}

/** The queues' histories, added up second by second. */
function historyOf(queues, name) {
  const sums = new Array(60).fill(0);
  for (const { history } of queues) {
    const values = history?.[name] ?? [], start = 60 - values.length;
    for (let i = 0; i < values.length; i++) sums[start + i] += values[i];
  }
  return sums;
}

const inAll = (key) => `${means(key)} In all queues together, with the last minute.`;

/** Name, tool-tip, kind of picture, what to show: [value, more, series or part, level]. */
const FIGURES = [
  [word("in"), inAll("in"), "in",
    (b) => [rate(per(b.in)), plural(b.producers, "producer"), historyOf(b.queues, "in")]],
  [word("out"), inAll("out"), "out",
    (b) => [rate(per(b.out)), `${count(b.counters?.done)} done`, historyOf(b.queues, "out")]],
  [word("failed"), `${means("failed")} Below it: ${means("dead")}`, "",
    (b) => [rate(per(b.failed)), `${count(b.dead?.total)} dead`, null,
      per(b.failed) > 0 ? "bad" : ""]],
  [word("ready"), `${inAll("ready")} Below it, those that are leased.`, "out",
    (b) => [count(addUp(b.queues, (q) => q.ready)),
      `${short(addUp(b.queues, (q) => q.leased))} leased`, historyOf(b.queues, "ready")]],
  [word("oldest"), means("oldest"), "",
    (b) => worstOf(b.queues, (q) => q.ready > 0 ? q.oldest_s : null, seconds, "none ready")],
  ["Workers busy", `${means("busy")} Of all workers together.`, "bar", (b) => workersFigure(b)],
  [`${word("wait")} p99`, `${means("wait")} 99 of 100 took no longer, in the queue that is worst.`,
    "", (b) => worstOf(b.queues, (q) => quantile(q, "wait_ms", "p99"), millis, "no tasks",
      "worst: ")],
  [`${word("run")} p99`, `${means("run")} 99 of 100 took no longer, of the task that is worst.`,
    "", (b) => worstOf(b.tasks, (t) => quantile(t, "run_ms", "p99"), millis, "no tasks",
      "worst: ")],
];

function worstOf(rows, of, format, none, before = "") {
  const row = worst(rows, of);
  return row ? [format(of(row)), before + row.name] : [NONE, none];
}

function workersFigure(broker) {
  const all = broker.workers.length, busy = addUp(broker.workers, (worker) => worker.busy);
  const missed = conditionsOf(broker).some((condition) => condition.kind === "no-workers");
  if (!all) return ["0", "no workers", 0, missed ? "bad" : ""];
  return [`${brief(busy)}${all < 100 ? " of " : "/"}${all}`, percent(busy / all), busy / all, ""];
}

function makeFigure([name, tip, kind, of]) {
  const value = text(), more = text();
  const shown = make("div", { class: "value" }, value);
  const under = make("div", { class: "under" });
  const [picture, draw] = kind === "bar" ? makeBar()
    : kind ? makeSpark(kind, "area") : [null, () => {}];
  if (picture) under.append(picture);
  byId("figures").append(make("div", { class: "figure", "data-tip": tip, tabindex: "0",
    role: "group", "aria-label": name, "data-figure": name },
  make("div", { class: "name" }, name), shown,
  make("div", { class: "more" }, make("bdi", {}, more)), under));
  return (broker) => {
    const [main, second, picture, level] = of(broker);
    put(value, main);
    put(more, String(second));
    set(shown, "class", `value ${level ?? ""}`);
    draw(picture, kind === "bar" ? level : picture);
  };
}

// --- one queue ---

const detail = { name: null, fills: [], said: null, more: null };

/** The queue that the address names; null: none. */
function queueOfAddress() {
  const [, name] = location.hash.match(/^#queue=(.+)$/) ?? [];
  try { return name === undefined ? null : decodeURIComponent(name); } catch { return null; }
}

/** All columns of the table of queues, one below the other: on a phone, too, all are seen. */
function openDetail(name) {
  const list = make("dl", {}), close = make("a", { class: "tool", href: "#" }, "Close");
  detail.said = text();
  detail.more = text();
  detail.fills = QUEUES.slice(1).map((column) => {
    const said = make("dd", { "data-tip": column.tip });
    const label = [column.group, column.label].filter(Boolean).join(" ");
    list.append(make("div", {}, make("dt", {}, label), said));
    return column.make(said);
  });
  byId("queue").replaceChildren(
    make("div", { class: "head" }, make("h2", {}, "Queue ", make("bdi", {}, name)),
      make("span", { class: "soft" }, detail.said), close), list,
    make("p", { class: "soft what" }, detail.more, make("code", {},
      `zqueue queue peek ${name}${atUrl()}`)));
  detail.name = name;
}

function showDetail(broker) {
  const wanted = queueOfAddress(), panel = byId("queue");
  show(panel, wanted !== null);
  if (wanted === null) {
    detail.name = null;
    return;
  }
  const isNew = detail.name !== wanted;
  if (isNew) openDetail(wanted);
  const queue = broker.queues.find((one) => one.name === wanted);
  put(detail.said, queue ? String(queue.state ?? "") : "is not there, or not among those shown");
  for (const fill of detail.fills) fill(queue ?? { name: wanted });
  const here = broker.workers.filter((one) => Array.isArray(one.queues) && one.queues.includes(wanted));
  const tasks = broker.tasks.filter((one) => one.queue === wanted).map((one) => one.name);
  put(detail.more, `Served by ${plural(here.length, "worker")}${here.length ? ": " : ""}`
    + `${here.slice(0, 5).map(workerName).join(", ")}${here.length > 5 ? ", \u2026" : ""}. `
    + (tasks.length ? `Tasks that ran: ${tasks.slice(0, 10).join(", ")}. ` : "")
    + "What waits there: ");
  if (isNew) panel.scrollIntoView({ block: "nearest" });
}

// --- one dead letter ---

const letter = { panel: null, url: null, number: 0 };

/** Ask for the newest letter of a group, and show it below the table. */
async function openLetter(group) {
  const number = group?.newest, url = view.url;
  if (!isNumber(number)) return;
  closeLetter();
  const said = make("p", { role: "status" }, text());
  const close = make("button", { type: "button", class: "tool close" }, "Close");
  close.addEventListener("click", closeLetter);
  Object.assign(letter, { url, number, panel: make("div", { class: "letter" }, close, said) });
  const { panel } = letter;
  byId("dead").append(panel);
  put(said.firstChild, `Asking for dead letter ${number}`);
  try {
    const answer = await fetch(
      `/api/dead.json?broker=${encodeURIComponent(url)}&number=${number}`, { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    fillLetter(panel, said, await answer.json());
  } catch (error) {
    put(said.firstChild, `It cannot be had: ${error.message}`);
  }
}

function fillLetter(panel, said, told) {
  const attempts = plural(told.deliveries, "attempt");
  put(said.firstChild, `Dead letter ${told.number}: ${told.task || NONE} of queue ${told.queue}, `
    + `${told.reason} at ${instant(told.died_s)}, sent at ${instant(told.sent_s)}, ${attempts}`);
  panel.append(make("p", {}, make("b", {}, told.error || NONE), `: ${told.text}`));
  if (told.traceback) panel.append(make("pre", { tabindex: "0" }, told.traceback));
  panel.append(make("p", { class: "soft" }, "Its body, and what to do: ",
    make("code", {}, `zqueue dlq show ${told.number}${atUrl()}`)));
}

function closeLetter() {
  letter.panel?.remove();
  Object.assign(letter, { panel: null, url: null });
}

function showDead(broker) {
  const groups = Array.isArray(broker.dead?.groups) ? broker.dead.groups : [];
  const sound = groups.filter((group) => typeof group?.reason === "string");
  show(byId("dead"), sound.length > 0 || letter.panel !== null);
  if (letter.panel && letter.url !== view.url) closeLetter();
  const all = isNumber(broker.dead?.groups_kept) ? broker.dead.groups_kept : 0;
  parts.tables.dead.update(sound, Math.max(0, all - sound.length));
}

// --- the broker itself ---

const confirm = (name) => (b) => millis(per(b.confirm_ms)?.[name]);
const counted = (key) => [word(key), `${means(key)} Since the broker's start.`,
  (b) => count(b.counters?.[key])];
const isStored = (b) => Boolean(b.store?.level) && b.store.level !== "memory";

/** Name, tool-tip, what to show; null: nothing, and no name either. */
const FACTS = [
  [word("producers"), means("producers"), (b) => count(b.producers)],
  [word("cpu"), means("cpu"), (b) => cores(b.cpu)],
  [word("rss"), means("rss"), (b) => bytes(b.rss_bytes)],
  [word("held"), means("held"), (b) => bytes(b.bytes)],
  [word("held_max"), means("held_max"), (b) => bytes(b.bytes_max)],
  [word("kept"), means("kept"), (b) => count(b.dead?.kept)],
  [`${word("confirm")} p50`, `${means("confirm")} Half took no longer.`, confirm("p50")],
  [`${word("confirm")} p99`, `${means("confirm")} 99 of 100 took no longer.`, confirm("p99")],
  [`${word("confirm")} max`, `${means("confirm")} The longest.`, confirm("max")],
  counted("retried"), counted("redelivered"), counted("workers_lost"),
  [word("live_bytes"), means("live_bytes"), (b) => isStored(b) ? bytes(b.store.live_bytes) : null],
  [word("disk_bytes"), means("disk_bytes"), (b) => isStored(b) ? bytes(b.store.disk_bytes) : null],
  [`${word("commit")} p99`, `${means("commit")} 99 of 100 took no longer.`,
    (b) => isStored(b) ? millis(per(b.store.commit_ms)?.p99) : null],
];

function makeFact([name, tip, of]) {
  const value = text(), fact = make("div", { "data-tip": tip, "data-fact": name },
    make("dt", {}, name), make("dd", {}, value));
  byId("facts").append(fact);
  return (broker) => {
    const said = of(broker);
    show(fact, said !== null);
    put(value, said ?? "");
  };
}

function makeFacts() {
  byId("broker").append(make("div", { class: "head" }, make("h2", {}, "Broker")),
    make("dl", { id: "facts" }));
  return FACTS.map(makeFact);
}
