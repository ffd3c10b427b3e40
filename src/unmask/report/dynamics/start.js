// One story, and where in it the reader is.

function start() {
  const story = JSON.parse(document.getElementById("data").textContent);
  const listeners = [];
  const tell = () => listeners.forEach((listener) => listener());
  const turn = story.phases?.numbers.phase_two ? story.steps.reduce((best, step, i) => (Math.abs(Math.log1p(step) - Math.log1p(story.phases.numbers.switch)) < Math.abs(Math.log1p(story.steps[best]) - Math.log1p(story.phases.numbers.switch)) ? i : best), 0) : 0;
  const state = {
    at: story.steps.length - 1,
    from: turn,
    go: (at) => ((state.at = at), tell()),
    compare: (from) => ((state.from = from), tell()),
    listen: (listener) => listeners.push(listener),
  };
  const skipped = story.skipped.map((one) => el("li", {}, `Step ${whole(one.step)} was skipped: `, user(one.reason), "."));
  document.getElementById("page").append(
    el("header", { class: "top" }, el("p", { class: "brand", "aria-hidden": "true" }, "unmask"), el("h1", {}, user(story.title))),
    el("div", { class: "layout single" }, el("main", {}, findingOf(story), coursePanel(story, state), el("div", { class: "board" }, profilePanel(story, state), termsPanel(story, state)))),
    el("footer", {}, skipped.length ? el("ul", { class: "notes" }, skipped) : null, el("p", {}, "This page is one file. It computes in your browser and loads and sends nothing.")),
  );
  tell();
}

start();
