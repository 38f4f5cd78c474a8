// --- the document ---

const byId = (id) => document.getElementById(id);
const SVG = new Set(["svg", "path", "line"]);

/**
 * Makes an element; strings among the children become text. Styles are set as properties: the
 * page's security policy forbids them as attributes.
 */
function make(tag, attributes = {}, ...children) {
  const made = SVG.has(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") made.style.cssText = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const text = () => document.createTextNode("");

function put(node, value) {
  if (node.data !== value) node.data = value;
}

function set(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function show(node, wanted) {
  if (node.hidden === wanted) node.hidden = !wanted;
}

/** A bar of 0 to 1. Returns it and its setter. */
function makeBar() {
  const inner = make("i");
  const bar = make("div", { class: "bar" }, inner);
  let last = null;
  const fill = (part, level = "") => {
    const value = Math.max(0, Math.min(1, isNumber(part) ? part : 0)).toFixed(3);
    if (value !== last) inner.style.setProperty("--part", last = value);
    set(bar, "data-level", level);
  };
  return [bar, fill];
}

/** A line through a minute's values, in a box of 118 × 40. */
function sparkLine(values, most) {
  if (!Array.isArray(values) || values.length < 2) return "";
  const step = 118 / (values.length - 1), scale = 38 / most;
  let line = "M";
  for (let i = 0; i < values.length; i++) {
    line += `${Math.round(i * step)} ${39 - Math.round(values[i] * scale)} `;
  }
  return line;
}

/** A picture of lines, named by their classes; one of class "area" is filled. */
function makeSpark(...classes) {
  const paths = classes.map((name) => make("path", { class: name }));
  const svg = make("svg", { class: "spark", viewBox: "0 0 118 40", preserveAspectRatio: "none",
    "aria-hidden": "true" }, ...paths);
  const draw = (...series) => {
    const most = Math.max(1e-9, ...series.map((values) => Math.max(0, ...(values || []))));
    const lines = new Map(series.map((values) => [values, sparkLine(values, most)]));
    series.forEach((values, i) => {
      const line = lines.get(values);
      set(paths[i], "d", classes[i] === "area" && line ? `${line}V40H0Z` : line);
    });
  };
  return [svg, draw];
}

// --- tool-tips ---

let tipped = null;

/** Show a text near a box, inside the window. */
function showTip(words, box) {
  const tip = byId("tip");
  if (tip.textContent !== words) tip.textContent = words;
  show(tip, true);
  const x = Math.min(innerWidth - tip.offsetWidth - 8, Math.max(8, box.left + box.width / 2
    - tip.offsetWidth / 2));
  const above = box.top - tip.offsetHeight - 8;
  const y = above > 8 ? above : box.bottom + 8;
  tip.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
}

function hideTip() {
  show(byId("tip"), false);
  tipped?.removeAttribute("aria-describedby");
  tipped = null;
}

function onPoint(event) {
  const target = event.target.closest?.("[data-tip]");
  if (target === tipped) return;
  if (tipped) hideTip();
  if (!target || !target.dataset.tip) return;
  tipped = target;
  target.setAttribute("aria-describedby", "tip");
  showTip(target.dataset.tip, target.getBoundingClientRect());
}
