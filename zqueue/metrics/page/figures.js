const ROWS_SHOWN = 20;         // of one table, until all are asked for
const ROWS_MAX = 100;          // more are not read, and each costs time
const FILTER_FROM = 10;        // rows; fewer need no filter
const CONDITIONS_SHOWN = 5;
const STALE_MS = 5000;         // figures are greyed out after so long without a snapshot
const POLL_MS = 2000;
const POLL_MS_MAX = 15000;
const STREAM_AGAIN_MS = 10000;
const HEAT_LEVELS = 8;
const COLOURS = 8;             // of tasks; (other) has none
const STRIP_FULL = 9;          // the digit of a second that was all used
const HEAT_ROWS_MIN = 8;
const WINDOWS = { 10: "10 s", 60: "1 min", 300: "5 min" };
const THEMES = { auto: "Auto", dark: "Dark", light: "Light" };

// --- figures for people ---

/** The word for a figure, to begin a line with. */
function word(key) {
  const [said] = GLOSSARY[key];
  return said === "cpu" ? "CPU" : said[0].toUpperCase() + said.slice(1);
}

const means = (key) => GLOSSARY[key][1];

const NONE = "–";
const whole = new Intl.NumberFormat("en");
const collator = new Intl.Collator("en", { numeric: true });

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Three digits at most: 1.2, 12.3, 123. */
const brief = (value) => value < 99.95 ? value.toFixed(1) : String(Math.round(value));

/** The first unit in which the value stays below the unit's end. */
function scaled(value, units) {
  for (const [end, size, name] of units) {
    if (value < end) return brief(value / size) + name;
  }
  return NONE;
}

const THOUSANDS = [[999500, 1e3, "k"], [999.5e6, 1e6, "M"], [Infinity, 1e9, "G"]];
const BYTES = [[999.5 * 1024, 1024, " KiB"], [999.5 * 2 ** 20, 2 ** 20, " MiB"],
  [Infinity, 2 ** 30, " GiB"]];
const SECONDS = [[59.95, 1, " s"], [3597, 60, " min"], [172620, 3600, " h"],
  [Infinity, 86400, " d"]];

function count(value) {
  if (!isNumber(value)) return NONE;
  return value < 99999.5 ? whole.format(Math.round(value)) : scaled(value, THOUSANDS);
}

function rate(value) {
  if (!isNumber(value)) return NONE;
  if (value <= 0) return "0/s";
  if (value < 0.1) return "<0.1/s";
  return (value < 999.5 ? brief(value) : scaled(value, THOUSANDS)) + "/s";
}

/** A rate where the column says that it is one. */
const perSecond = (value) => isNumber(value) ? rate(value).slice(0, -2) : NONE;

function bytes(value) {
  if (!isNumber(value)) return NONE;
  return value < 1000 ? `${Math.round(value)} B` : scaled(value, BYTES);
}

function seconds(value) {
  if (!isNumber(value)) return NONE;
  return value < 0.05 ? "<0.1 s" : scaled(value, SECONDS);
}

function millis(value) {
  if (!isNumber(value)) return NONE;
  if (value < 0.001) return value > 0 ? "<1 µs" : "0 ms";
  if (value < 0.9995) return `${Math.round(value * 1000)} µs`;
  return value < 999.5 ? `${brief(value)} ms` : seconds(value / 1000);
}

/** A count where there is little room. */
const short = (value) => isNumber(value) && value > 999 ? scaled(value, THOUSANDS) : count(value);
const percent = (part) => isNumber(part) ? `${Math.round(part * 100)} %` : NONE;
const cores = (value) => isNumber(value) ? value.toFixed(2) : NONE;
const clock = (unix) => new Date(unix * 1000).toLocaleTimeString("en-GB");
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
