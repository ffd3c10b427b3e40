// What one cell of the matrix stands for: every input, and the curve that was measured.

function strip(story, id, rows) {
  const values = rows.flatMap(([, , cell]) => cell.values.filter((value) => value !== null));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const each = 46, top = 10;
  return drawing(top + each * rows.length + 26, "Every input by itself", (width) => {
    const left = Math.min(150, width * 0.34);
    const x = (value) => left + 8 + (width - left - 16) * (high > low ? (value - low) / (high - low) : 0.5);
    const marks = [low, high].map((value, i) => label(x(value), top + each * rows.length + 16, read(value), { "text-anchor": high > low ? (i ? "end" : "start") : "middle" }));
    rows.forEach(([name, kind, cell], r) => {
      const y = top + each * (r + 0.5);
      marks.push(rule(left + 8, y, width - 8, y, "grid"), label(left - 4, y + 4, name.length > left / 6.6 ? `${name.slice(0, Math.floor(left / 6.6) - 1)}…` : name, { "text-anchor": "end", class: kind === "this" ? "strong" : null }));
      // Spread by a fixed pattern, so that equal values do not hide each other.
      cell.values.forEach((value, i) => value !== null && marks.push(svg("circle", { class: `dot ${kind}`, cx: x(value), cy: y + (((i * 7) % 11) - 5) * 1.7, r: 2.6 })));
      if (cell.low !== null) marks.push(rule(x(cell.low), y, x(cell.high), y, "whisker"));
      marks.push(rule(x(cell.mean), y - 14, x(cell.mean), y + 14, "here"));
    });
    return marks;
  });
}

function curves(story, id, rows) {
  const drawn = rows.filter(([, , cell]) => cell.curve);
  if (!drawn.length) return null;
  const all = drawn.flatMap(([, , cell]) => cell.curve.mean.filter((value) => value !== null));
  const at = drawn.flatMap(([, , cell]) => cell.curve.at);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const [from, to] = [Math.min(...at), Math.max(...at)];
  const height = 210, top = 12, bottom = 172, left = 54;
  const y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low || 1);
  return el(
    "div",
    {},
    el("h4", {}, "Mean curve"),
    drawing(height, `Curves of ${story.metrics[id].title}`, (width) => {
      const x = (value) => left + ((width - left - 12) * (value - from)) / (to - from || 1);
      const marks = [low, (low + high) / 2, high].flatMap((value) => [rule(left, y(value), width - 12, y(value), "grid"), label(left - 7, y(value) + 4, read(value), { "text-anchor": "end" })]);
      marks.push(label(left, bottom + 20, read(from)), label(width - 12, bottom + 20, read(to), { "text-anchor": "end" }), label((left + width) / 2, bottom + 34, story.metrics[id].over ?? "", { "text-anchor": "middle" }));
      for (const [, kind, cell] of drawn) {
        const points = cell.curve.at.map((one, i) => [one, cell.curve.mean[i]]).filter(([, value]) => value !== null);
        marks.push(svg("path", { class: `curve ${kind}`, d: points.map(([one, value], i) => `${i ? "L" : "M"}${x(one).toFixed(1)} ${y(value).toFixed(1)}`).join("") }));
      }
      return marks;
    }),
    el("p", { class: "signs" }, drawn.map(([name, kind]) => el("span", {}, svg("svg", { class: "line-sign", viewBox: "0 0 30 8", "aria-hidden": "true" }, svg("path", { class: `curve ${kind}`, d: "M0 4L30 4" })), name))),
  );
}

function detailOf(story, method, id) {
  const cell = method.cells[id];
  const metric = story.metrics[id];
  const chance = story.methods.find((one) => one.id === story.chance && one.id !== method.id);
  const rows = [[readable(method.id), "this", cell]];
  if (chance?.cells[id]?.values.length) rows.push([readable(chance.id), "chance", chance.cells[id]]);
  const [difference, low, high, p] = cell.against ?? [null];
  const said = [
    cell.low === null ? "One input tells nothing of others, so there is no interval." : `Between ${read(cell.low)} and ${read(cell.high)} in nineteen of twenty draws of the inputs.`,
    cell.undefined ? `It has no meaning for ${many(cell.undefined, "input")}.` : null,
    difference === null ? null : `On the same inputs ${read(Math.abs(difference))} ${difference < 0 ? "worse" : "better"} than random values (${signed(low)} to ${signed(high)}${p === null ? "" : `, p ${p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`} after Holm`}).`,
  ];
  return el(
    "div",
    { class: "detail" },
    el(
      "div",
      {},
      el("h4", {}, `${metric.title} of ${readable(method.id)}`),
      el("p", { class: "number" }, read(cell.mean)),
      el("p", { class: "remark" }, said.filter(Boolean).join(" ")),
      el("p", { class: "remark" }, `${metric.says} ${metric.better === "higher" ? "Higher is better." : "Lower is better."}`),
    ),
    el("div", {}, cell.values.length ? [el("h4", {}, "Every input"), strip(story, id, rows)] : null),
    curves(story, id, rows),
  );
}
