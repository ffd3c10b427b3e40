// One case after the other, and what the reader does with it.

function finding(kase) {
  const goal = termsFor95(kase);
  const explain = goal === null ? "" : goal === 0 ? " It hardly depends on what is shown." : ` ${goal === 1 ? "1 term explains" : `${whole(goal)} terms explain`} 95 % of it.`;
  const wrong = kase.right === false ? [" That is wrong: the truth is ", said(kase.truth), "."] : [];
  const values = kase.corners === null ? "" : ` ${read(kase.corners[1])} with everything shown, ${read(kase.corners[0])} with everything hidden.`;
  return el(
    "header",
    { class: "finding" },
    el("p", { class: "eyebrow" }, verdict(kase), user(kase.title)),
    el("h2", {}, "The network says ", said(kase.prediction), ".", wrong, explain),
    doubt(kase),
    el("p", { class: "lead" }, "Read here: ", user(kase.score), values ? ":" : ".", values, ` ${many(kase.n, "player")}, ${kase.n <= 53 ? many(2 ** kase.n, "mask") : `2^${kase.n} masks`}.`),
  );
}

// How far terms can be believed that were found from some of the masks.
function doubt(kase) {
  const measured = explainedWhere(kase);
  if (!measured.length) return null;
  const shares = measured.map(({ share, where }) => `${percent(share)} ${where}`).join(" and ");
  return el("p", { class: "lead doubt" }, `Of how much the score varies, all terms together explain ${shares}; that was measured on masks that they were not fitted to.`);
}

// What is short is not torn apart at the end of a line.
const said = (text) => user(text, text.length <= 26 ? "says short" : "says");

function verdict(kase) {
  if (kase.right === null) return el("span", { class: "verdict open" }, "truth unknown");
  return el("span", { class: `verdict ${kase.right ? "right" : "wrong"}` }, kase.right ? "✓ right" : "✗ wrong");
}

function article(kase) {
  const what = whatIf(kase);
  return [
    finding(kase),
    el(
      "div",
      { class: "board" },
      el("div", { class: "column" }, what.node, what.fidelity, ordersPanel(kase)),
      el("div", { class: "column" }, what.terms, certificatePanel(kase)),
    ),
    saliencyPanel(kase),
  ].filter(Boolean);
}

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const cases = data.cases.map((row, id) => ({ ...opened(row), id }));
  const articles = cases.map((kase) =>
    el("article", { class: "case", id: `case-${kase.id}`, role: cases.length > 1 ? "tabpanel" : null, "aria-labelledby": cases.length > 1 ? `tab-${kase.id}` : null, hidden: true }),
  );
  const made = (at) => {
    if (!articles[at].childElementCount) articles[at].append(...article(cases[at]));
    return articles[at];
  };
  const tabs = cases.map((kase, at) =>
    el(
      "button",
      { type: "button", class: "tab", role: "tab", id: `tab-${at}`, "aria-controls": `case-${at}`, onclick: () => choose(at), onfocus: () => choose(at) },
      user(kase.title, "tab-title"),
      el("span", { class: "tab-line" }, user(kase.prediction), kase.right === false ? [" instead of ", user(kase.truth)] : null),
      verdict(kase),
    ),
  );
  const choose = (at) => {
    tabs.forEach((tab, i) => tab.setAttribute("aria-selected", String(i === at)));
    articles.forEach((one, i) => (one.hidden = i !== at));
    made(at);
  };
  const judged = cases.filter((kase) => kase.right !== null);
  const right = judged.filter((kase) => kase.right).length;
  const list = el("div", { class: "tabs", role: "tablist", "aria-label": "Inputs", "aria-orientation": "vertical" }, tabs);
  roving(list, tabs);
  const printAll = el("button", { type: "button", class: "quiet", onclick: () => {
    articles.forEach((one, at) => made(at));
    document.body.classList.add("every-case");
    window.print();
  } }, "Print all inputs");
  window.addEventListener("afterprint", () => document.body.classList.remove("every-case"));

  const side = el("nav", { class: "side", "aria-label": "Explained inputs" }, el("p", { class: "side-head" }, many(cases.length, "input"), judged.length ? `, ${right} right` : ""), list, printAll);
  const notes = data.notes.length ? el("ul", { class: "notes" }, data.notes.map((note) => el("li", {}, user(note)))) : null;
  document.getElementById("page").append(
    el("header", { class: "top" }, el("p", { class: "brand", "aria-hidden": "true" }, "unmask"), el("h1", {}, user(data.title))),
    el("div", { class: cases.length > 1 ? "layout" : "layout single" }, cases.length > 1 ? side : "", el("main", {}, articles)),
    el("footer", {}, notes, el("p", {}, "This page is one file. It computes in your browser and loads and sends nothing.")),
  );
  choose(0);
}

start();
