// How much methods say the same, whether or not it is true.

function agreementPanel(story) {
  if (!story.agreement) return null;
  const { ids, rows } = story.agreement;
  const line = el("p", { class: "preview", "aria-live": "polite" }, "Point at a cell, or move to it by the arrow keys.");
  const said = (a, b) => (rows[a][b] === null ? `${readable(ids[a])} and ${readable(ids[b])} cannot be compared.` : `${readable(ids[a])} and ${readable(ids[b])}: ${read(rows[a][b])}.`);
  const cells = [];
  const cell = (a, b) => {
    const value = rows[a][b];
    const node = shaded(el("td", { class: value === null ? "none" : value < 0 ? "minus" : "plus", onmouseenter: () => (line.textContent = said(a, b)), onfocus: () => (line.textContent = said(a, b)), "aria-label": said(a, b) }), Math.abs(value ?? 0));
    cells.push(node);
    return node;
  };
  const table = el("table", { class: "alike" }, el("thead", {}, el("tr", {}, el("th", {}), ids.map((_, i) => el("th", { scope: "col" }, i + 1)))), el("tbody", {}, ids.map((id, a) => el("tr", {}, el("th", { scope: "row" }, `${readable(id)} `, el("span", { class: "nth" }, a + 1)), ids.map((_, b) => cell(a, b))))));
  roving(table, cells, (at, key) => ({ ArrowDown: at + ids.length, ArrowUp: at - ids.length }[key] ?? null) === null ? null : Math.min(cells.length - 1, Math.max(0, key === "ArrowDown" ? at + ids.length : at - ids.length)));
  return panel(
    "agreement",
    "Do the methods agree?",
    howto("The rank correlation of two methods, averaged over the inputs: full blue is the same order, white none at all, orange the reverse. Methods that agree may be wrong together."),
    el("div", { class: "wide" }, table),
    line,
  );
}
