// Where a number stands on the line of its metric: to the right is always better.

function lines(story) {
  const found = {};
  for (const [id, metric] of Object.entries(story.metrics)) {
    const cells = story.methods.map((method) => method.cells[id]).filter((cell) => cell && cell.mean !== null);
    const means = cells.map((cell) => cell.mean).sort((a, b) => a - b);
    const ends = cells.flatMap((cell) => [cell.mean, cell.low ?? cell.mean, cell.high ?? cell.mean]);
    // One method gone astray must not press all others into a corner: it is drawn at the edge.
    const middle = means[Math.floor(means.length / 2)] ?? 0;
    const reach = means.map((mean) => Math.abs(mean - middle)).sort((a, b) => a - b)[Math.floor(0.85 * (means.length - 1))] ?? 1;
    const low = Math.max(Math.min(...ends), middle - 3 * reach || -Infinity);
    const high = Math.min(Math.max(...ends), middle + 3 * reach || Infinity);
    found[id] = { low, high, up: metric.better === "higher" };
  }
  return found;
}

function place(line, value) {
  const share = line.high > line.low ? (value - line.low) / (line.high - line.low) : 0.5 + Math.sign(value - line.low) / 2;
  const inside = Math.min(1, Math.max(0, share));
  return line.up ? inside : 1 - inside;
}

const beyond = (line, value) => value < line.low || value > line.high;

// Better than random values for sure, worse for sure, or neither; differences above zero are better.
function standing(cell) {
  if (!cell.against) return "apart";
  const [, low, high] = cell.against;
  if (low === null) return "open";
  return low > 0 ? "better" : high < 0 ? "worse" : "open";
}

const STANDINGS = { better: "better than chance", worse: "worse than chance", open: "not told from chance", apart: "not set against chance" };

const between = (cell) => (cell.low === null ? read(cell.mean) : `${read(cell.mean)} (${read(cell.low)} to ${read(cell.high)})`);

// A sign that tells the standing by its shape: full, crossed or hollow.
function sign(x, y, standing) {
  if (standing === "worse") return svg("path", { class: "worse", d: `M${x - 3.6} ${y - 3.6}l7.2 7.2m0 -7.2l-7.2 7.2` });
  return svg("circle", { class: { better: "surely", open: "hollow", apart: "apart" }[standing], cx: x, cy: y, r: 3.8 });
}

// The share of a colour; a style in an attribute would be blocked by the page's policy.
function shaded(node, share) {
  node.style.setProperty("--share", share.toFixed(3));
  return node;
}
