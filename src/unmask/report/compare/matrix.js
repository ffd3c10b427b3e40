// Every method by every metric, each cell a number on the line of its metric.

function small(story, scales, id, method) {
  const cell = method.cells[id];
  const width = 74, height = 26, y = 13;
  const line = scales[id];
  const x = (value) => 7 + (width - 14) * place(line, value);
  const chance = story.methods.find((one) => one.id === story.chance)?.cells[id];
  const ends = cell.low === null ? [] : [rule(Math.min(x(cell.low), x(cell.high)), y, Math.max(x(cell.low), x(cell.high)), y, "whisker")];
  return svg(
    "svg",
    { class: "small", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    rule(7, y, width - 7, y, "grid"),
    chance && chance.mean !== null ? rule(x(chance.mean), 3, x(chance.mean), height - 3, "chance") : null,
    ends,
    beyond(line, cell.mean) ? svg("path", { class: "worse", d: x(cell.mean) < width / 2 ? `M11 ${y - 4}l-5 4l5 4` : `M${width - 11} ${y - 4}l5 4l-5 4` }) : sign(x(cell.mean), y, method.reference ? "apart" : standing(cell)),
  );
}

function matrixPanel(story) {
  const scales = lines(story);
  const groups = story.criteria.filter((one) => one.metrics.length);
  const columns = groups.flatMap((one) => one.metrics);
  const buttons = [];
  let opened = null;
  const toggle = (button, method, id) => {
    const was = opened?.button;
    opened?.row.remove();
    was?.setAttribute("aria-expanded", "false");
    opened = null;
    if (was === button) return;
    button.setAttribute("aria-expanded", "true");
    opened = { button, row: el("tr", { class: "opened" }, el("td", { colspan: columns.length + 1 }, detailOf(story, method, id))) };
    button.closest("tr").after(opened.row);
  };
  const open = (method, id) => {
    const cell = method.cells[id];
    if (!cell) return el("td", { class: "none" }, el("span", { class: "unseen" }, "not measured"), "·");
    if (cell.mean === null) return el("td", { class: "none", title: cell.why ?? "undefined for every input" }, "–");
    const said = `${story.metrics[id].title} of ${readable(method.id)}: ${between(cell)}, ${method.reference ? "a reference" : STANDINGS[standing(cell)]}`;
    const button = el("button", { class: "open", "aria-label": said, title: said, "aria-expanded": "false", onclick: () => toggle(button, method, id) }, small(story, scales, id, method));
    buttons.push(button);
    return el("td", {}, button);
  };
  const body = story.methods.map((method) =>
    el("tr", { class: method.reference ? "reference" : null }, el("th", { scope: "row" }, readable(method.id)), columns.map((id) => open(method, id))),
  );
  const table = el(
    "table",
    { class: "matrix" },
    el(
      "thead",
      {},
      el("tr", {}, el("th", { rowspan: 2, scope: "col" }, el("span", { class: "unseen" }, "method")), groups.map((one) => el("th", { class: "group", scope: "colgroup", colspan: one.metrics.length }, one.title))),
      el("tr", {}, columns.map((id) => el("th", { scope: "col", class: "metric", title: story.metrics[id].says }, story.metrics[id].title))),
    ),
    el("tbody", {}, body),
  );
  roving(table, buttons, (at, key) => {
    if (key !== "ArrowDown" && key !== "ArrowUp") return null;
    const here = buttons[at].closest("td").cellIndex;
    const row = buttons[at].closest("tr");
    for (let next = key === "ArrowDown" ? row.nextElementSibling : row.previousElementSibling; next; next = key === "ArrowDown" ? next.nextElementSibling : next.previousElementSibling) {
      const found = buttons.indexOf(next.cells[here]?.querySelector("button"));
      if (found >= 0) return found;
    }
    return at;
  });
  return panel(
    "by-metric",
    "Method by metric",
    howto("Further to the right is better in every column. The line is the 95 % interval, the dashed mark is random values.", "Open a cell to see what was measured."),
    el(
      "p",
      { class: "signs" },
      ["better", "open", "worse", "apart"].map((kind) => el("span", {}, svg("svg", { viewBox: "0 0 14 14", class: "small-sign", "aria-hidden": "true" }, sign(7, 7, kind)), STANDINGS[kind])),
    ),
    el("div", { class: "wide" }, table),
  );
}
