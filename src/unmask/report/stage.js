// What the reader hides and shows: the regions of a picture, the words of a text, the rows of a table.

// Each stage gives { node, parts, next }: `parts[i]` are the nodes of player i, the first of which
// takes the focus; `next` finds the neighbour in the direction of an arrow key.

function stageOf(kase, toggle) {
  const { view } = kase;
  if (view.kind === "image" && view.outlines.length) return pictureStage(kase, toggle);
  if (view.kind === "text") return textStage(kase, toggle);
  if (view.kind === "table") return rowStage(kase, toggle, view.present, view.absent);
  const rows = rowStage(kase, toggle, kase.players.map(() => ""), kase.players.map(() => "hidden"));
  const above = view.kind === "image" ? backdrop(kase) : el("p", { class: "sentence" }, user(view.text));
  return { ...rows, node: el("div", {}, above, rows.node) };
}

const regionId = (kase, i) => `region-${kase.id}-${i}`;

function backdrop(kase, ...over) {
  const { width, height, source } = kase.view;
  return svg(
    "svg",
    { class: "picture", viewBox: `0 0 ${width} ${height}` },
    svg("image", {
      href: source,
      width,
      height,
      class: Math.max(width, height) <= 96 ? "crisp" : null,
      preserveAspectRatio: "none",
    }),
    ...over,
  );
}

function pictureStage(kase, toggle) {
  const { width, outlines, anchors } = kase.view;
  const veil = hatch(`veil-${kase.id}`, width / 30, "veil-line");
  const shapes = outlines.map((d, i) => svg("path", { id: regionId(kase, i), d, "fill-rule": "evenodd", "vector-effect": "non-scaling-stroke" }));
  const parts = outlines.map((d, i) => [
    svg(
      "g",
      { class: "region", role: "button", "data-player": i, onclick: () => toggle(i) },
      svg("use", { href: `#${regionId(kase, i)}`, class: "veil", fill: `url(#veil-${kase.id})` }),
      svg("use", { href: `#${regionId(kase, i)}`, class: "edge-under" }),
      svg("use", { href: `#${regionId(kase, i)}`, class: "edge" }),
    ),
  ]);
  const aheads = {
    ArrowRight: ([x, y]) => [x, y],
    ArrowLeft: ([x, y]) => [-x, y],
    ArrowDown: ([x, y]) => [y, x],
    ArrowUp: ([x, y]) => [-y, x],
  };
  const next = (at, key) => {
    let best = null;
    let least = Infinity;
    anchors.forEach(([x, y], i) => {
      const [ahead, aside] = aheads[key]([x - anchors[at][0], y - anchors[at][1]]);
      const cost = ahead + 3 * Math.abs(aside);
      if (i !== at && ahead > Math.abs(aside) / 2 && cost < least) [best, least] = [i, cost];
    });
    return best ?? at;
  };
  // The focused region comes last, so that no neighbour covers its frame.
  const frame = svg("use", { class: "frame" });
  const picture = backdrop(kase, svg("defs", {}, veil, ...shapes), parts.map(([part]) => part), frame);
  // A group around it, since a drawing that listens for the focus would take it itself.
  const node = el("div", { role: "group", "aria-label": "The picture and its regions" }, picture);
  parts.forEach(([part], i) => {
    part.addEventListener("focus", () => frame.setAttribute("href", `#${regionId(kase, i)}`));
    part.addEventListener("blur", () => frame.removeAttribute("href"));
  });
  return { node, parts, next };
}

function textStage(kase, toggle) {
  const parts = kase.players.map(() => []);
  const line = el("p", { class: "sentence", role: "group", "aria-label": "The text and its words" });
  runsOf(kase.view).forEach(({ owner, text }) => {
    const [, before, core, after] = /^(\s*)([^]*?)(\s*)$/.exec(text);
    if (owner < 0) return line.append(user(text, "fixed"));
    const word = el(
      "button",
      { type: "button", class: "word", "data-player": owner, onclick: () => toggle(owner) },
      user(core || (text ? "␣" : kase.players[owner])),
    );
    parts[owner].push(word);
    return line.append(core ? before : "", word, core ? after : text);
  });
  return { node: line, parts, next: null };
}

// Neighbouring pieces of one player read as one word.
function runsOf(view) {
  const runs = [];
  view.pieces.forEach((text, at) => {
    const owner = view.owners[at];
    const last = runs.at(-1);
    if (last && last.owner === owner) {
      last.text += text;
      last.places.push(at);
    } else runs.push({ owner, text, places: [at] });
  });
  return runs;
}

function rowStage(kase, toggle, present, absent) {
  const parts = kase.players.map((name, i) => [
    el(
      "button",
      { type: "button", class: "row", "data-player": i, onclick: () => toggle(i) },
      el("span", { class: "tick", "aria-hidden": "true" }),
      user(name, "name"),
      el("span", { class: "value" }, user(present[i], "when-shown"), user(absent[i], "when-hidden")),
    ),
  ]);
  const node = el("div", { class: "rows", role: "group", "aria-label": "The players" }, parts.map(([row]) => row));
  return { node, parts, next: null };
}

// The words of a player for those who hear the page.
function spoken(kase, i, shown) {
  const { view } = kase;
  const value = view.kind === "table" ? `: ${shown ? view.present[i] : view.absent[i]}` : "";
  return `${kase.players[i]}${value}, ${shown ? "shown" : "hidden"}`;
}
