// --- what the user chose ---

const view = { window: recall("window", WINDOWS, "10"), theme: recall("theme", THEMES, "auto"),
  url: recall("url"), tasks: [] };

function recall(name, allowed, otherwise) {
  let value = null;
  try { value = localStorage.getItem(`zqueue.${name}`); } catch { /* none here */ }
  return allowed && !(value in allowed) ? otherwise : value;
}

function keep(name, value) {
  view[name] = value;
  try { localStorage.setItem(`zqueue.${name}`, value); } catch { /* for this visit only */ }
}

function makeWindows() {
  for (const [value, words] of Object.entries(WINDOWS)) {
    const input = make("input", { type: "radio", name: "window", value });
    input.checked = value === view.window;
    input.addEventListener("change", () => { keep("window", value); render(); });
    byId("windows").append(make("label", {}, input, make("span", {}, words)));
  }
}

function showTheme() {
  document.documentElement.dataset.theme = view.theme;
  byId("theme").lastChild.textContent = THEMES[view.theme];
  byId("theme").setAttribute("aria-label", `Theme: ${THEMES[view.theme]}`);
}

function nextTheme() {
  const names = Object.keys(THEMES);
  keep("theme", names[(names.indexOf(view.theme) + 1) % names.length]);
  showTheme();
}

// --- the feed ---

const feed = { mode: "connecting", snapshot: null, at: 0, since: 0, failures: 0, stream: null,
  streamTried: 0, timer: 0 };

/** A snapshot came. */
function receive(words, mode) {
  const begin = performance.now();
  feed.snapshot = JSON.parse(words);
  feed.at = Date.now();
  feed.failures = 0;
  feed.mode = mode;
  render();
  showMode(mode);
  performance.clearMeasures("update");
  performance.measure("update", { start: begin });
}

function showMode(mode) {
  if (mode !== "gone") feed.since = 0;
  else if (!feed.since) feed.since = (feed.at || Date.now()) / 1000;
  feed.mode = mode;
  const words = { live: "live", polling: "polling every 2 s", connecting: "connecting",
    gone: `sidecar gone since ${clock(feed.since)}` };
  const absent = view.absent && (mode === "live" || mode === "polling");
  const level = absent ? "bad" : { live: "good", polling: "warn", gone: "bad" }[mode] ?? "";
  set(byId("feed"), "data-mode", mode);
  set(byId("feed"), "data-level", level);
  put(byId("feed").lastChild.firstChild, words[mode] + (absent ? ", broker gone" : ""));
  showAge();
}

/** Grey out old figures. */
function showAge() {
  const old = Date.now() - feed.at > STALE_MS;
  document.body.classList.toggle("stale", feed.snapshot !== null && (old || feed.mode === "gone"));
}

function openStream() {
  feed.streamTried = Date.now();
  const stream = feed.stream = new EventSource("/api/stream");
  stream.onmessage = (event) => receive(event.data, "live");
  stream.onerror = () => leaveStream(stream);
}

/** The stream was refused, lost or is silent: poll instead. */
function leaveStream(stream) {
  stream.close();
  if (feed.stream !== stream) return;
  feed.stream = null;
  clearTimeout(feed.timer);
  poll();
}

async function poll() {
  try {
    const answer = await fetch("/api/stats.json", { cache: "no-store",
      signal: AbortSignal.timeout(STALE_MS) });
    if (!answer.ok) throw new Error(answer.statusText);
    const words = await answer.text();
    if (feed.stream) return;
    if (feed.mode === "gone") feed.streamTried = 0;  // It is back: try the stream at once.
    receive(words, "polling");
  } catch {
    feed.failures += 1;
    showMode("gone");
    if (feed.snapshot) showTitle(feed.snapshot.brokers ?? []);
  }
  pollAgain();
}

function pollAgain() {
  const wait = Math.min(POLL_MS_MAX, POLL_MS * 1.5 ** Math.max(0, feed.failures - 1));
  feed.timer = setTimeout(() => {
    const works = feed.failures === 0;
    if (works && Date.now() - feed.streamTried > STREAM_AGAIN_MS) openStream();
    else poll();
  }, wait);
}

/** Once a second, whether or not anything came. */
function watch() {
  const opened = Math.max(feed.at, feed.streamTried);
  if (feed.stream && Date.now() - opened > STALE_MS) leaveStream(feed.stream);
  showAge();
}

// --- start ---

showTheme();
makeWindows();
const parts = { figures: FIGURES.map(makeFigure), tables: makeTables(), facts: makeFacts(),
  heat: new HeatMap(byId("heat")), pauses: new Pauses(byId("gc")) };
byId("theme").addEventListener("click", nextTheme);
byId("tabs").addEventListener("keydown", onTabKey);
document.addEventListener("pointerover", onPoint);
document.addEventListener("focusin", onPoint);
document.addEventListener("scroll", hideTip, { capture: true, passive: true });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
document.addEventListener("visibilitychange", render);
addEventListener("hashchange", render);
setInterval(watch, 1000);
openStream();
