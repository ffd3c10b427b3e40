// The whole training from left to right: the mean order, all orders, and the losses. Steps are apart
// as log(1 + step), as they were taken.

const MARGIN = { left: 46, right: 22 };

function along(story, width) {
  const places = story.steps.map((step) => Math.log1p(step));
  const [first, last] = [places[0], places[places.length - 1]];
  const room = width - MARGIN.left - MARGIN.right;
  const at = (place) => MARGIN.left + (last > first ? (room * (place - first)) / (last - first) : room / 2);
  return { x: places.map(at), of: (step) => at(Math.min(last, Math.max(first, Math.log1p(step)))) };
}

// Steps under an axis, as many as have room.
function stepLabels(story, axis, y) {
  const labels = [];
  const end = story.steps.length - 1;
  const half = (i) => 4 * whole(story.steps[i]).length + 6;
  let free = -Infinity;
  story.steps.forEach((step, i) => {
    // The last one is always told.
    if (i < end && (axis.x[i] - half(i) < free || axis.x[i] + half(i) > axis.x[end] - half(end))) return;
    free = axis.x[i] + half(i);
    labels.push(label(axis.x[i], y, whole(step), { "text-anchor": "middle" }));
  });
  return labels;
}

const path = (xs, ys) => xs.map((x, i) => (ys[i] === null ? "" : `${i && ys[i - 1] !== null ? "L" : "M"}${x.toFixed(1)} ${ys[i].toFixed(1)}`)).join("");

function band(xs, low, high, name = "") {
  const there = xs.map((_, i) => i).filter((i) => low[i] !== null && high[i] !== null);
  if (there.length < 2) return null;
  const up = there.map((i) => `${xs[i].toFixed(1)} ${high[i].toFixed(1)}`);
  const down = there.reverse().map((i) => `${xs[i].toFixed(1)} ${low[i].toFixed(1)}`);
  return svg("path", { class: `band ${name}`, d: `M${[...up, ...down].join("L")}Z` });
}

function scale(low, high, top, bottom) {
  const room = high > low ? high - low : 1;
  return (value) => (value === null ? null : bottom - ((bottom - top) * (value - low)) / room);
}

function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = size * [1, 2, 5, 10].find((one) => one * size >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(Number((Math.round(value / step) * step).toPrecision(10)));
  return found;
}

// Where the second phase is said to have begun, and how surely.
function switchMarks(story, axis, top, bottom) {
  const found = story.phases?.numbers;
  if (!found || !found.phase_two) return [];
  const [low, high] = [axis.of(found.switch_low), axis.of(found.switch_high)];
  return [
    svg("rect", { class: "interval", x: low, y: top, width: Math.max(2, high - low), height: bottom - top }),
    rule(axis.of(found.switch), top, axis.of(found.switch), bottom, "switch"),
  ];
}

function centreDrawing(story, state) {
  const height = 190, top = 12, bottom = 160;
  const { centre, centre_error: error } = story.orders;
  const low = centre.map((value, i) => value - error[i]);
  const high = centre.map((value, i) => value + error[i]);
  const fitted = story.phases?.curves.fitted;
  const all = [...low, ...high].filter((value) => value !== null);
  const y = scale(Math.min(...all), Math.max(...all), top, bottom);
  const said = centre.map((value, i) => `${read(value)} at step ${whole(story.steps[i])}`).join(", ");
  return drawing(height, `Mean order of the interactions: ${said}`, (width) => {
    const axis = along(story, width);
    return [
      ...switchMarks(story, axis, top, bottom),
      ...ticks(Math.min(...all), Math.max(...all), 4).map((value) => [
        rule(MARGIN.left, y(value), width - MARGIN.right, y(value), "grid"),
        label(MARGIN.left - 8, y(value) + 4, String(value), { "text-anchor": "end" }),
      ]).flat(),
      band(axis.x, low.map(y), high.map(y)),
      fitted ? svg("path", { class: "fitted", d: path(axis.x, fitted.map(y)) }) : null,
      svg("path", { class: "curve", d: path(axis.x, centre.map(y)) }),
      ...axis.x.map((x, i) => svg("circle", { class: "reach", cx: x, cy: y(centre[i]), r: 3 })),
      rule(axis.x[state.at], top, axis.x[state.at], bottom, "here"),
      svg("circle", { class: "here-dot", cx: axis.x[state.at], cy: y(centre[state.at]), r: 5.5 }),
      ...stepLabels(story, axis, bottom + 20),
    ].filter(Boolean);
  }, "course");
}

// All orders as a ribbon: the darker, the larger the share.
function ribbon(story, state) {
  const { share } = story.orders;
  const orders = share[0].length, cell = orders > 12 ? 14 : 18, top = 4;
  const height = top + orders * cell + 6;
  const most = Math.max(...share.flat().filter((value) => value !== null));
  return drawing(height, "The share of each order of interaction at each step; the numbers are in the table below", (width) => {
    const axis = along(story, width);
    const edges = axis.x.map((x, i) => (i ? (x + axis.x[i - 1]) / 2 : x - 7));
    edges.push(axis.x[axis.x.length - 1] + 7);
    const marks = [];
    for (let order = 0; order < orders; order++) {
      const y = top + (orders - 1 - order) * cell;
      marks.push(label(MARGIN.left - 8, y + cell / 2 + 4, String(order + 1), { "text-anchor": "end" }));
      share.forEach((row, i) => {
        marks.push(svg("rect", { class: "cell-shade", x: edges[i], y, width: edges[i + 1] - edges[i] + 0.3, height: cell - 1, "fill-opacity": most > 0 ? (0.03 + 0.97 * (row[order] ?? 0) / most).toFixed(3) : 0 },
          svg("title", {}, `Order ${order + 1} at step ${whole(story.steps[i])}: ${percent(row[order])}`)));
      });
    }
    marks.push(svg("rect", { class: "frame-here", x: edges[state.at], y: top - 2, width: edges[state.at + 1] - edges[state.at], height: orders * cell + 2 }));
    return marks;
  }, "course");
}

function lossDrawing(story, state) {
  const height = 150, top = 12, bottom = 120;
  const kinds = Object.entries(story.losses);
  const all = kinds.flatMap(([, one]) => one.mean.flatMap((value, i) => (value === null ? [] : [value - one.error[i], value + one.error[i]])));
  const [least, most] = [Math.min(0, ...all), Math.max(...all)];
  const y = scale(least, most, top, bottom);
  return drawing(height, `Loss on ${kinds.map(([name]) => name).join(" and ")} data at each step`, (width) => {
    const axis = along(story, width);
    return [
      ...switchMarks(story, axis, top, bottom),
      ...ticks(least, most, 3).map((value) => [
        rule(MARGIN.left, y(value), width - MARGIN.right, y(value), "grid"),
        label(MARGIN.left - 8, y(value) + 4, String(value), { "text-anchor": "end" }),
      ]).flat(),
      ...kinds.flatMap(([name, one]) => [
        band(axis.x, one.mean.map((value, i) => (value === null ? null : y(value - one.error[i]))), one.mean.map((value, i) => (value === null ? null : y(value + one.error[i]))), name),
        svg("path", { class: `curve ${name}`, d: path(axis.x, one.mean.map(y)) }),
      ]),
      rule(axis.x[state.at], top, axis.x[state.at], bottom, "here"),
      ...stepLabels(story, axis, bottom + 20),
    ].filter(Boolean);
  }, "course");
}

const keyOf = (name, text) => el("span", { class: "key" }, svg("svg", { width: 26, height: 8, "aria-hidden": "true" }, svg("line", { class: name, x1: 0, x2: 26, y1: 4, y2: 4 })), ` ${text}`);

function courseKeys(story) {
  const found = story.phases;
  if (!found) return null;
  return [
    found.curves.fitted ? keyOf("fitted", "two lines, fitted") : null,
    found.numbers.phase_two ? keyOf("switch", "the switch; shaded, where it may lie") : null,
  ];
}

function coursePanel(story, state) {
  const parts = [
    el("h4", {}, "Mean order, with its 95 % interval over samples ", courseKeys(story)),
    centreDrawing(story, state),
    el("h4", {}, "Share of each order"),
    ribbon(story, state),
  ];
  if (story.losses) {
    const key = Object.keys(story.losses).map((name) => keyOf(`curve ${name}`, name));
    parts.push(el("h4", {}, "Loss ", key), lossDrawing(story, state));
  }
  const drawings = parts.filter((node) => node.redraw);
  for (const node of drawings) {
    node.addEventListener("click", (event) => {
      const box = node.getBoundingClientRect();
      const axis = along(story, box.width);
      const x = event.clientX - box.left;
      state.go(axis.x.reduce((best, one, i) => (Math.abs(one - x) < Math.abs(axis.x[best] - x) ? i : best), 0));
    });
  }
  const slider = el("input", { type: "range", min: 0, max: story.steps.length - 1, value: state.at, "aria-label": "Step of the training", oninput: () => state.go(Number(slider.value)) });
  const where = el("output", { class: "kept" });
  const remark = el("p", { class: "remark" });
  state.listen(() => {
    const step = story.steps[state.at];
    slider.value = String(state.at);
    slider.setAttribute("aria-valuetext", `step ${whole(step)}`);
    where.textContent = `Step ${whole(step)}: mean order ${read(story.orders.centre[state.at])}, total strength ${read(story.orders.scale[state.at])} per sample`;
    remark.replaceChildren(...(story.remarks[step] ?? []).map((text) => user(`${text}. `)));
    drawings.forEach((node) => node.redraw());
  });
  const rows = story.orders.share.map((row, i) => el("tr", {}, el("th", { scope: "row" }, whole(story.steps[i])), el("td", {}, read(story.orders.centre[i])), row.map((value) => el("td", {}, percent(value)))));
  const head = el("tr", {}, el("th", { scope: "col" }, "step"), el("th", { scope: "col" }, "mean order"), story.orders.share[0].map((_, i) => el("th", { scope: "col" }, String(i + 1))));
  return panel(
    "through",
    "Through training",
    howto("Each interaction joins so many parts of the input: that is its order. Low orders are simple and generalise; high ones are complex.", "Steps are as far apart as their logarithms. Move the slider, or press a place in a drawing, to look at one."),
    parts,
    el("div", { class: "slider" }, slider),
    where,
    remark,
    el("details", {}, el("summary", {}, "All numbers"), el("div", { class: "wide" }, el("table", { class: "bars numbers" }, el("thead", {}, head), el("tbody", {}, rows)))),
  );
}
