// What to believe, in words: the recommended method first, and why each other is not.

function findingOf(story) {
  const [first, ...others] = story.recommended;
  const title = first ? ["Believe ", el("span", { class: "says" }, readable(first)), " first."] : ["No explanation can be recommended here."];
  const few = others.slice(0, 3).map(readable);
  const equal = others.length ? `${capital(few.join(", "))}${others.length > 3 ? ` and ${others.length - 3} more` : ""} ${others.length > 1 ? "are" : "is"} not told apart from it by ${many(story.inputs, "input")}. ` : "";
  const judged = story.methods.filter((method) => !method.reference).length;
  return el(
    "header",
    { class: "finding" },
    el("p", { class: "eyebrow" }, el("span", {}, `${many(judged, "method")} on ${many(story.inputs, "input")} of ${many(story.players, "player")}. Explained: `, user(story.score), `. About ${whole(story.cost)} forward passes.`)),
    el("h2", {}, title),
    el("p", { class: "lead" }, equal, story.fillings),
  );
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const readable = (id) => id.replaceAll("_", " ");

function rankDrawing(method, most) {
  const width = 148, height = 22;
  const x = (rank) => 8 + ((width - 16) * (rank - 1)) / Math.max(1, most - 1);
  const [rank, low, high] = method.rank;
  return svg(
    "svg",
    { class: "rank", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `rank ${read(rank)}, between ${read(low)} and ${read(high)}` },
    rule(x(1), 11, x(most), 11, "grid"),
    rule(x(low), 11, x(high), 11, "whisker"),
    svg("circle", { class: "surely", cx: x(rank), cy: 11, r: 4 }),
  );
}

const MARKS = { good: "✓", bad: "✕", open: "?" };

const said = (kind, text, full = null) => el("li", { class: kind, title: full }, el("span", { class: "mark", "aria-hidden": "true" }, MARKS[kind]), el("span", {}, text));

// What speaks for a method takes one line; how it was measured stands in the matrix.
function praised(method) {
  const good = method.verdicts.filter(([kind]) => kind === "good").map(([, text]) => text);
  const heads = good.map((text) => text.split(" (")[0].replace(/\.$/, ""));
  return good.length ? said("good", `${heads.map((head, i) => (i ? head.charAt(0).toLowerCase() + head.slice(1) : head)).join("; ")}.`, good.join(" ")) : null;
}

function rankingPanel(story) {
  const ranked = story.methods.filter((method) => method.rank);
  const most = Math.max(2, ...ranked.map((method) => method.rank[2]));
  const line = (method) =>
    el(
      "li",
      { class: `judged${method.reference ? " reference" : ""}` },
      el("div", { class: "who" }, el("span", { class: "method" }, readable(method.id)), el("span", { class: "kin" }, method.reference ? "knows nothing of the model" : method.family)),
      method.rank ? rankDrawing(method, most) : el("span", { class: "rank none" }, "not ranked"),
      el(
        "ul",
        { class: "says-of" },
        praised(method),
        method.verdicts.filter(([kind]) => kind !== "good").map(([kind, text]) => said(kind, text)),
        method.failed.map(([reason, count]) => said("bad", [`Failed on ${many(count, "input")}: `, user(reason)])),
      ),
    );
  return panel(
    "ranking",
    "Which to believe",
    howto("The place of each method among all, averaged over the metrics of each criterion and then over the criteria; the line is where it lies in nineteen of twenty draws of the inputs. The first is on the left."),
    el("ol", { class: "ranking-list" }, story.methods.map(line)),
  );
}
