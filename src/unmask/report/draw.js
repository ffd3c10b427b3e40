// Elements and small drawings. Texts become text nodes only, so nothing of the user's is markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);
// A text of the user, kept apart so that its writing direction does not spread.
const user = (text, name = null) => el("bdi", { class: name }, text);

// One stop for the tab key, the arrows within: as in a toolbar. `next` may know a better neighbour.
function roving(group, items, next = null) {
  const nodes = items.filter(Boolean);
  nodes.forEach((node, at) => node.setAttribute("tabindex", at === 0 ? "0" : "-1"));
  const choose = (node) => {
    nodes.forEach((other) => other.setAttribute("tabindex", other === node ? "0" : "-1"));
    node.focus();
  };
  group.addEventListener("focusin", (event) => {
    const node = nodes.find((one) => one === event.target);
    if (node) nodes.forEach((other) => other.setAttribute("tabindex", other === node ? "0" : "-1"));
  });
  group.addEventListener("keydown", (event) => {
    const at = nodes.indexOf(event.target);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    let to = null;
    if (step) to = (next && next(at, event.key)) ?? Math.min(nodes.length - 1, Math.max(0, at + step));
    if (event.key === "Home") to = 0;
    if (event.key === "End") to = nodes.length - 1;
    if (to === null) return;
    event.preventDefault();
    choose(nodes[to]);
  });
}

// A bar from the middle of its box: to the right and plain above zero, to the left and striped below.
function bar(value, most, name) {
  const share = most > 0 && Number.isFinite(value) ? Math.min(50, (50 * Math.abs(value)) / most) : 0;
  return svg(
    "svg",
    { class: `bar ${name ?? ""}`, "aria-hidden": "true" },
    svg("line", { class: "axis", x1: "50%", x2: "50%", y1: 0, y2: "100%" }),
    svg("rect", {
      class: value < 0 ? "negative" : "positive",
      x: `${value < 0 ? 50 - share : 50}%`,
      y: "20%",
      width: `${share}%`,
      height: "60%",
    }),
  );
}

// A drawing that is made again when its box changes width, so that its letters keep their size.
function drawing(height, label, draw, name = "") {
  const box = svg("svg", { class: `drawing ${name}`, role: "img", "aria-label": label });
  let width = 0;
  box.redraw = (to = width || 440) => {
    width = to;
    box.setAttribute("viewBox", `0 0 ${width} ${height}`);
    box.replaceChildren(...draw(width));
  };
  box.redraw();
  new ResizeObserver(([entry]) => {
    const to = Math.round(entry.contentRect.width);
    if (to > 0 && to !== width) box.redraw(to);
  }).observe(box);
  return box;
}

// Slanted lines on a ground, in the units of the drawing that they fill.
function hatch(id, unit, name) {
  return svg(
    "pattern",
    { id, width: unit, height: unit, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { class: `${name}-ground`, width: unit, height: unit }),
    svg("rect", { class: name, width: name === "stripe" ? unit * 0.56 : unit * 0.22, height: unit }),
  );
}

const label = (x, y, text, attributes) => svg("text", { x, y, ...attributes }, text);
const rule = (x1, y1, x2, y2, name) => svg("line", { x1, y1, x2, y2, class: name });
