// Which terms were gained and which were lost between two steps.

const SHOWN = 8;

function spark(row, at, from) {
  const width = 92, height = 24;
  const most = Math.max(...row.map(Math.abs), 1);
  const y = (value) => height - 3 - ((height - 6) * Math.abs(value)) / most;
  const x = (i) => 3 + ((width - 6) * i) / Math.max(1, row.length - 1);
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    svg("path", { class: "curve", d: path(row.map((_, i) => x(i)), row.map(y)) }),
    svg("circle", { class: "reach", cx: x(from), cy: y(row[from]), r: 2.6 }),
    svg("circle", { class: "here-dot", cx: x(at), cy: y(row[at]), r: 3.2 }),
  );
}

function termsPanel(story, state) {
  let group = story.groups[0];
  const lists = { gained: el("ol", { class: "moves" }), lost: el("ol", { class: "moves" }) };
  const choice = el("select", { "aria-label": "Sample", dir: "auto", onchange: () => ((group = story.groups[Number(choice.value)]), show()) },
    story.groups.map((one, i) => el("option", { value: i, dir: "auto" }, one.title)));
  const other = el("select", { "aria-label": "Compare with", onchange: () => state.compare(Number(other.value)) },
    story.steps.map((step, i) => el("option", { value: i }, `step ${whole(step)}`)));
  const between = el("p", { class: "between" });
  const named = (term) => {
    const [members, isOr] = term;
    const parts = members.map((member) => user(group.names[member], "member"));
    return el("span", { class: "logic-text" }, parts.flatMap((node, i) => (i ? [" ", el("span", { class: isOr ? "join or" : "join" }, isOr ? "OR" : "AND"), " ", node] : [node])));
  };
  const line = (i, change) => {
    const through = group.share.map((row) => row[i]);
    const [now, then] = [through[state.at] / 10000, through[state.from] / 10000];
    const text = group.signed ? (value) => `${value > 0 ? "+" : ""}${percent(value)}` : percent;
    return el(
      "li",
      { class: "move" },
      named(group.terms[i]),
      spark(through, state.at, state.from),
      el("span", { class: "figure" }, `${text(then)} → ${text(now)}`),
    );
  };
  const show = () => {
    const change = group.terms.map((_, i) => Math.abs(group.share[state.at][i]) - Math.abs(group.share[state.from][i]));
    const sorted = change.map((_, i) => i).sort((a, b) => change[b] - change[a]);
    const gained = sorted.filter((i) => change[i] > 0).slice(0, SHOWN);
    const lost = sorted.filter((i) => change[i] < 0).reverse().slice(0, SHOWN);
    lists.gained.replaceChildren(...gained.map((i) => line(i, change[i])));
    lists.lost.replaceChildren(...lost.map((i) => line(i, change[i])));
    for (const list of Object.values(lists)) if (!list.childElementCount) list.append(el("li", { class: "empty" }, "none between these two steps"));
    other.value = String(state.from);
    between.replaceChildren("Of ", user(group.title), `, from step ${whole(story.steps[state.from])} to step ${whole(story.steps[state.at])}.`);
  };
  state.listen(show);
  return panel(
    "strongest",
    "Terms gained and lost",
    howto("The share of a sample's whole strength that a term has, at the step to compare with and at the chosen one. An AND term acts when all of its parts are there, an OR term when any is.", "The small curve follows it through training."),
    el("div", { class: "choices" }, el("label", {}, "of ", choice), el("label", {}, "since ", other)),
    between,
    el("div", { class: "two" }, el("div", {}, el("h4", {}, "Gained"), lists.gained), el("div", {}, el("h4", {}, "Lost"), lists.lost)),
  );
}
