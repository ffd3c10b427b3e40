// One comparison, from the verdict to what it rests on.

function start() {
  const story = JSON.parse(document.getElementById("data").textContent);
  const left = story.left_out.map((one) => el("li", {}, el("strong", {}, readable(one.id)), ": ", user(one.reason)));
  document.getElementById("page").append(
    el("header", { class: "top" }, el("p", { class: "brand", "aria-hidden": "true" }, "unmask"), el("h1", {}, user(story.title))),
    el(
      "div",
      { class: "layout single" },
      el("main", {}, findingOf(story), rankingPanel(story), matrixPanel(story), mapsPanel(story), agreementPanel(story), left.length ? panel("left-out", "Left out", howto("These methods were not tried, or could not be."), el("ul", { class: "left-list" }, left)) : null),
    ),
    el("footer", {}, story.notes.length ? el("ul", { class: "notes" }, story.notes.map((note) => el("li", {}, user(note)))) : null, el("p", {}, "This page is one file. It computes in your browser and loads and sends nothing.")),
  );
}

start();
