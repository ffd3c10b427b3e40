// The orders at one step: what adds to the score upwards, what takes from it downwards.

function profilePanel(story, state) {
  const { positive, negative, error } = story.orders;
  const orders = positive[0].length;
  const highest = Math.max(...positive.flat(), 0);
  const lowest = Math.min(...negative.flat(), 0);
  const height = 250, top = 14, bottom = 216;
  const y = scale(lowest, highest, top, bottom);
  const pictured = drawing(height, "Orders at the chosen step", (width) => {
    const room = (width - MARGIN.left - MARGIN.right) / orders;
    const wide = Math.min(46, room * 0.62);
    const marks = ticks(lowest, highest, 5).flatMap((value) => [
      rule(MARGIN.left, y(value), width - MARGIN.right, y(value), value === 0 ? "axis" : "grid"),
      label(MARGIN.left - 8, y(value) + 4, percent(Math.abs(value)), { "text-anchor": "end" }),
    ]);
    for (let order = 0; order < orders; order++) {
      const x = MARGIN.left + room * (order + 0.5);
      const [up, down] = [positive[state.at][order], negative[state.at][order]];
      const [was, fell] = [positive[state.from][order], negative[state.from][order]];
      marks.push(
        svg("rect", { class: "positive", x: x - wide / 2, y: y(up), width: wide, height: Math.max(0, y(0) - y(up)) }, svg("title", {}, `Order ${order + 1}: ${percent(up)} up, ${percent(-down)} down, the two together ± ${percent(error[state.at][order])}`)),
        svg("rect", { class: "negative", x: x - wide / 2, y: y(0), width: wide, height: Math.max(0, y(down) - y(0)) }),
        svg("rect", { class: "ghost", x: x - wide / 2 - 3, y: y(was), width: wide + 6, height: Math.max(0, y(fell) - y(was)) }),
        label(x, bottom + 20, String(order + 1), { "text-anchor": "middle" }),
      );
    }
    return marks;
  });
  const outlined = el("span");
  let shown = null;
  state.listen(() => {
    outlined.textContent = ` Outlined: step ${whole(story.steps[state.from])}.`;
    const said = positive[state.at].map((up, i) => `order ${i + 1}: ${percent(up)} up, ${percent(Math.abs(negative[state.at][i]))} down`);
    pictured.setAttribute("aria-label", `Orders at step ${whole(story.steps[state.at])}: ${said.join("; ")}`);
    shown.querySelector("h3").textContent = `Orders at step ${whole(story.steps[state.at])}`;
    pictured.redraw();
  });
  shown = panel(
    "profile",
    "Orders at this step",
    el("p", { class: "howto" }, "Upwards the share of the strength that adds to the score, downwards the share that takes from it, by order.", outlined),
    pictured,
  );
  return shown;
}
