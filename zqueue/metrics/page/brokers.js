// --- conditions ---

const KINDS = {
  "no-broker": ["No broker", "bad"], "old-broker": ["Old broker", "warn"],
  "full-disk": ["Disk full", "bad"],
  "no-workers": ["No workers", "bad"], unserved: ["Unserved", "bad"], full: ["Queue full", "bad"],
  paused: ["Paused", "warn"], draining: ["Draining", "warn"],
  "broker-draining": ["Broker draining", "warn"],
};
const MARKS = { bad: "M8 4v5M8 12v.01M8 1.2 15 14.5H1Z",
  warn: "M8 4.5v4.5M8 11.6v.01M1.5 8a6.5 6.5 0 1 1 13 0a6.5 6.5 0 1 1-13 0",
  good: "m2.5 8.5 3.6 3.6 7.4-8" };

const kindOf = (condition) => KINDS[condition.kind] ?? [String(condition.kind), "warn"];
const conditionsOf = (broker) => Array.isArray(broker.conditions) ? broker.conditions : [];

/** "", "warn" or "bad": the level of a broker's most severe condition. */
function levelOf(broker) {
  const levels = conditionsOf(broker).map((condition) => kindOf(condition)[1]);
  return levels.includes("bad") ? "bad" : levels[0] ?? "";
}

function makeCondition() {
  const mark = make("path"), head = text(), queue = text(), said = text();
  const line = make("li", {}, make("svg", { viewBox: "0 0 16 16",
    "aria-hidden": "true" }, mark), make("b", {}, head, make("bdi", {}, queue)),
  make("span", {}, said));
  return { line, fill(level, words, name, sentence) {
    set(line, "data-level", level);
    set(mark, "d", MARKS[level]);
    const unsaid = sentence.includes(name) ? "" : name;
    put(head, words + (unsaid ? ": " : ""));
    put(queue, unsaid);
    put(said, sentence);
  } };
}

const banner = [];

/** The conditions of a broker, the most severe first; or that it is healthy. */
function showConditions(broker) {
  const found = conditionsOf(broker);
  const lines = found.slice(0, CONDITIONS_SHOWN).map((condition) => {
    const [words, level] = kindOf(condition);
    return [level, words, condition.queue || "", String(condition.text ?? "")];
  });
  if (found.length > lines.length) {
    lines.push(["warn", `and ${found.length - lines.length} more`, "", "see the tables below"]);
  }
  if (!found.length) lines.push(["good", "Healthy", "", healthyText(broker)]);
  while (banner.length < lines.length) {
    banner.push(makeCondition());
    byId("banner").append(banner.at(-1).line);
  }
  banner.forEach(({ line, fill }, i) => {
    show(line, i < lines.length);
    if (i < lines.length) fill(...lines[i]);
  });
  speak(lines);
}

function healthyText(broker) {
  return `${plural(broker.queues.length, "queue")}, ${plural(broker.workers.length, "worker")}, `
    + `${plural(broker.producers, "producer")}`;
}

/** For screen readers: kinds and names only, because sentences with figures change every second. */
function speak(lines) {
  const said = lines.map(([, words, name]) => name ? `${words}: ${name}` : words).join(", ");
  if (byId("spoken").textContent !== said) byId("spoken").textContent = said;
}

/** The tab's title and icon show the most severe condition of all brokers. */
function showTitle(brokers) {
  const found = brokers.flatMap(conditionsOf);
  const bad = found.find((condition) => kindOf(condition)[1] === "bad") ?? found[0];
  let said = "Healthy", level = "good";
  if (feed.mode === "gone") [said, level] = ["Sidecar gone", "bad"];
  else if (!brokers.length) [said, level] = ["No broker", "warn"];
  else if (bad) {
    const more = found.length > 1 ? ` +${found.length - 1}` : "";
    said = `${kindOf(bad)[0]}${bad.queue ? `: ${bad.queue}` : ""}${more}`;
    level = kindOf(bad)[1];
  }
  const title = `${said} · zqueue`;
  if (document.title !== title) document.title = title;
  const colour = { good: "2fa36b", warn: "d79a2b", bad: "e5484d" }[level];
  set(byId("icon"), "href", "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox="
    + `'0 0 16 16'><circle cx='8' cy='8' r='7' fill='%23${colour}'/></svg>`);
}

// --- brokers ---

/** A broker with all its lists; they are empty if it never answered. */
function completed(broker) {
  const list = (name) => Array.isArray(broker[name]) ? broker[name] : [];
  return { ...broker, queues: list("queues"), tasks: list("tasks"), workers: list("workers"),
    supervisors: list("supervisors"), gc: broker.gc ?? {} };
}

function showTabs(brokers) {
  const tabs = byId("tabs");
  show(tabs, brokers.length > 1);
  while (tabs.children.length > brokers.length) tabs.lastChild.remove();
  brokers.forEach((broker, i) => {
    const tab = tabs.children[i] ?? tabs.appendChild(makeTab());
    const chosen = broker.url === view.url, level = levelOf(broker);
    put(tab.lastChild.firstChild, broker.url);
    set(tab, "aria-selected", String(chosen));
    set(tab, "tabindex", chosen ? "0" : "-1");
    const state = level ? kindOf(conditionsOf(broker)[0])[0] : "healthy";
    set(tab, "aria-label", `${broker.url}, ${state}`);
    set(tab.firstChild, "data-level", level || "good");
  });
}

function makeTab() {
  const tab = make("button", { type: "button", role: "tab", "aria-controls": "main" },
    make("i", { class: "dot" }), make("bdi", {}, text()));
  tab.addEventListener("click", () => choose(tab.lastChild.textContent));
  return tab;
}

function choose(url) {
  keep("url", url);
  render();
  showMode(feed.mode);
}

function onTabKey(event) {
  const tabs = [...byId("tabs").children], step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const now = tabs.indexOf(document.activeElement);
  const next = tabs[(now + step + tabs.length) % tabs.length];
  next.focus();
  next.click();
}

/** The line that identifies the broker. */
function showWhere(broker) {
  const words = [broker.url];
  if (broker.pid) words.push(`${broker.host ?? "?"}, pid ${broker.pid}`);
  if (broker.version) {
    words.push(`zqueue ${broker.version}${broker.compiled === false ? ", interpreted" : ""}`);
  }
  if (isNumber(broker.uptime_s)) words.push(`up ${seconds(broker.uptime_s)}`);
  if (broker.state === "lost") words.push(`last answer ${seconds(broker.seen_s)} ago`);
  const where = byId("where");
  while (where.children.length < words.length) {
    where.append(make(where.firstChild ? "span" : "b", {}, make("bdi", {}, text())));
  }
  [...where.children].forEach((part, i) => put(part.firstChild.firstChild, words[i] ?? ""));
}

function showBroker(broker, time) {
  view.version = broker.version;
  view.absent = broker.state === "lost" || broker.state === "waiting";
  showWhere(broker);
  showConditions(broker);
  const known = broker.uptime_s !== undefined || broker.counters !== undefined;
  show(byId("data"), known);
  showAbsent(broker, !known);
  byId("main").classList.toggle("aged", broker.state !== "ok");
  if (known) showFigures(broker, time);
}

/** What to do while there are no figures. */
function showAbsent(broker, wanted) {
  show(byId("absent"), wanted);
  if (!wanted) return;
  const tell = broker.state === "old"
    ? advice("It runs, but its version reports too little. After an update: ", startOf)
    : advice("Its figures appear as soon as it answers. Start it with ", startOf);
  tell(byId("absent"));
}

const startOf = () => `zqueue broker${view.url ? ` --bind ${view.url}` : ""}`;

function showFigures(broker, time) {
  for (const fill of parts.figures) fill(broker);
  const beyond = isNumber(broker.other_queues) ? broker.other_queues : 0;
  view.tasks = broker.tasks.map((task) => task.name);
  showDetail(broker);
  parts.tables.queues.update(broker.queues, beyond);
  showDead(broker);
  parts.tables.tasks.update(broker.tasks);
  parts.tables.workers.update(broker.workers);
  show(byId("supervisors"), broker.supervisors.length > 0);
  parts.tables.supervisors.update(broker.supervisors);
  parts.heat.update(broker.heatmap, time);
  parts.pauses.update(broker.gc, time);
  for (const fill of parts.facts) fill(broker);
}

function showNoBrokers() {
  byId("where").replaceChildren();
  show(byId("data"), false);
  show(byId("absent"), false);
  showConditions({ queues: [], workers: [], conditions: [{ kind: "no-broker", queue: "",
    text: "This sidecar watches no broker: start it with --url." }] });
}

/** Bring the page up to the last snapshot. */
function render() {
  const { snapshot } = feed;
  if (!snapshot) return;
  const brokers = Array.isArray(snapshot.brokers) ? snapshot.brokers.map(completed) : [];
  showTitle(brokers);
  if (document.hidden) return;
  const broker = brokers.find((one) => one.url === view.url) ?? brokers[0];
  view.url = broker?.url;
  showTabs(brokers);
  if (broker) showBroker(broker, snapshot.time);
  else showNoBrokers();
}
