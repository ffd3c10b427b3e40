// What was found, in words, and how sure it is.

function verdictOf(story) {
  const found = story.phases?.numbers;
  if (!found) return ["No phase can be told.", story.unknown];
  const where = whole(found.switch_low) === whole(found.switch_high) ? "it is at that step" : `it lies between step ${whole(found.switch_low)} and step ${whole(found.switch_high)}`;
  const sure = `In nine of ten draws of the samples ${where}${neighbours(story, found.switch)}.`;
  const moved = `The mean order went from ${read(found.centre_at_start)} to ${read(found.centre_at_switch)}, and then to ${read(found.centre_at_end)}.`;
  if (found.phase_one && found.phase_two) return [`The second phase began at about step ${whole(found.switch)}.`, `${sure} ${moved}`];
  if (found.phase_two) return [`Interactions grow more complex from about step ${whole(found.switch)} on.`, `${sure} No first phase was seen before it. ${moved}`];
  if (found.phase_one) return ["No second phase so far.", `Interactions became simpler, and nothing shows that they grow complex again${chance("rise", found.p_rise)}. ${moved}`];
  return ["No two phases are seen.", `Neither a fall of the mean order${chance("fall", found.p_fall)} nor a rise${chance("rise", found.p_rise)} is sure. ${moved}`];
}

// How often a course without one would show as much.
const chance = (what, p) => (p === null || p === undefined ? "" : ` (p = ${p < 0.001 ? "< 0.001" : p.toFixed(p < 0.1 ? 3 : 2)} if there is no ${what})`);

// A switch is no better known than checkpoints are dense.
function neighbours(story, step) {
  const before = story.steps.filter((one) => one < step).pop();
  const after = story.steps.find((one) => one > step);
  if (before === undefined || after === undefined) return "";
  return `, as far as the checkpoints at steps ${whole(before)} and ${whole(after)} on either side can tell`;
}

function lossVerdict(story) {
  const found = story.phases?.numbers;
  if (!found || found.gap_onset === undefined || found.gap_onset === null) return null;
  const near = found.aligned ? "near the switch" : "apart from the switch";
  return `The gap between test and training loss begins to grow at about step ${whole(found.gap_onset)}${found.phase_two ? `, ${near}` : ""}.`;
}

function findingOf(story) {
  const [title, lead] = verdictOf(story);
  return el(
    "header",
    { class: "finding" },
    el("p", { class: "eyebrow" }, el("span", {}, `${many(story.samples, "sample")}, ${many(story.players, "player")}, ${many(story.steps.length, "checkpoint")}. Explained: `, user(story.score))),
    el("h2", {}, title),
    el("p", { class: "lead" }, [lead, lossVerdict(story)].filter(Boolean).join(" ")),
  );
}
