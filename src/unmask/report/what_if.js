// The what-if panel: network and logic side by side on what is shown.

const COMPARED = [
  "Hide players and compare: the network's own answer to the masked input, and the sum of the terms that still fire.",
  "If the two stay together whatever you hide, the terms are the logic of this prediction.",
];
// Where there are too many masks for the network's answers to all of them.
const ALONE = [
  "Hide players to see the sum of the terms that still fire; the network's own answer is told with everything shown, and with everything hidden.",
  "How near the two are in between stands under “Why believe it?”.",
];

// The value between the least and the largest over all masks.
function gauge(kase, state) {
  const [least, most] = kase.range;
  const draw = (width) => {
    const [left, right, y] = [8, 8, 26];
    const x = (v) => left + ((width - left - right) * Math.max(0, Math.min(1, (v - least) / (most - least || 1))));
    const out = [
      rule(left, y, width - right, y, "track"),
      label(left, y + 33, read(least), { "text-anchor": "start" }),
      label(width - right, y + 33, read(most), { "text-anchor": "end" }),
    ];
    if (least < 0 && most > 0) {
      out.push(rule(x(0), y - 7, x(0), y + 7, "zero"));
      if (x(0) > 60 && x(0) < width - 60) out.push(label(x(0), y + 33, "0", { "text-anchor": "middle" }));
    }
    const { network, logic } = state;
    if (logic !== null) out.push(svg("path", { class: "logic-mark", d: `M${x(logic)} ${y + 3}l6 11h-12z` }));
    if (network !== null) out.push(svg("path", { class: "network-mark", d: `M${x(network)} ${y - 3}l6 -11h-12z` }));
    return out;
  };
  return drawing(64, "", draw, "gauge");
}

// The three numbers, the gauge and the tally, brought up to date by `show`.
function readout(kase, state) {
  const out = (name) => el("output", { class: `number ${name}` });
  const [network, logic, difference] = ["network", "logic", "difference"].map(out);
  const meter = gauge(kase, state);
  const tally = el("p", { class: "tally" });
  const reading = (symbol, name, value, text) =>
    el(
      "div",
      { class: "reading" },
      el("h4", {}, symbol ? el("span", { class: "symbol", "aria-hidden": "true" }, symbol) : null, name),
      value,
      el("p", {}, text),
    );
  const fill = (node, value, text) => {
    node.textContent = text;
    node.dataset.value = value === null ? "" : String(value);
    node.classList.toggle("absent", value === null);
  };
  const show = (count, firing) => {
    const apart = state.network === null ? null : state.network - state.logic;
    // Beyond the rounding of a sum of all effects a difference means something.
    const nothing = apart !== null && Math.abs(apart) <= 1e-9 * Math.max(1, kase.l1);
    const asked = state.network === null ? "not in the page" : read(state.network);
    fill(network, state.network, asked);
    fill(logic, state.logic, read(state.logic));
    fill(difference, apart, apart === null ? "unknown" : nothing ? "0" : signed(apart));
    const [least, most] = kase.range.map(read);
    meter.setAttribute("aria-label", `From ${least} to ${most} over all masks: network ${asked}, logic ${read(state.logic)}.`);
    meter.redraw();
    tally.textContent = `${count} of ${many(kase.n, "player")} shown; ${whole(firing)} of ${many(state.keep, "term")} fire${firing === 1 ? "s" : ""}.`;
    tally.dataset.firing = String(firing);
  };
  const source = kase.table === null ? `${kase.n <= 53 ? whole(2 ** kase.n) : `2^${kase.n}`} values do not fit the page` : "the model's own value";
  const nodes = [
    el(
      "div",
      { class: "readings" },
      reading("▼", "Network", network, source),
      reading("▲", "Logic", logic, "the terms that fire, added"),
      reading("", "Difference", difference, "network less logic"),
    ),
    meter,
    tally,
  ];
  return { nodes, show };
}

// Shows on the parts of the input which players are shown, and counts them.
function mark(kase, stage, shown) {
  let count = 0;
  stage.parts.forEach((parts, i) => {
    const there = has(shown, i);
    count += there;
    parts.forEach((part) => {
      part.classList.toggle("hidden", !there);
      part.setAttribute("aria-pressed", String(there));
      part.setAttribute("aria-label", spoken(kase, i, there));
    });
  });
  return count;
}

// Lights up the terms that fire, and counts them.
function light(kase, rows, { shown, keep }) {
  let firing = 0;
  for (let term = 0; term < keep; term++) firing += fires(kase, term, shown);
  rows.forEach((row, term) => {
    const acts = term < keep && fires(kase, term, shown);
    row.classList.toggle("fires", acts);
    row.classList.toggle("left-out", term >= keep);
    row.dataset.fires = String(acts);
    row.setAttribute("aria-label", `${row.spoken}; ${term >= keep ? "left out" : acts ? "fires" : "silent"}`);
  });
  return firing;
}

// What hiding or showing a player would do, before the reader does it.
function forecast(kase, state, i) {
  const to = flipped(state.shown, i);
  const would = networkValue(kase, to);
  const known = would !== null && state.network !== null;
  const [who, now, then] = known ? ["network", state.network, would] : ["logic", state.logic, logicValue(kase, to, state.keep)];
  return [
    has(state.shown, i) ? "Hiding " : "Showing ",
    user(kase.players[i], "says"),
    ` would move the ${who} by ${signed(then - now)}, to ${read(then)}.`,
  ];
}

function flipped(shown, i) {
  const to = shown.slice();
  put(to, i, !has(to, i));
  return to;
}

function listen(stage, toggle, foresee, idle) {
  roving(stage.node, stage.parts.map(([first]) => first), stage.next);
  stage.parts.forEach((parts, i) =>
    parts.forEach((part, at) => {
      if (at > 0) part.setAttribute("tabindex", "-1");
      part.addEventListener("mouseenter", () => foresee(i));
      part.addEventListener("focus", () => foresee(i));
      part.addEventListener("mouseleave", idle);
      part.addEventListener("blur", idle);
      if (part.tagName !== "g") return;
      part.addEventListener("keydown", (event) => {
        if (event.key !== " " && event.key !== "Enter") return;
        event.preventDefault();
        toggle(i);
      });
    }),
  );
}

function whatIf(kase) {
  const state = { shown: everyone(kase), keep: kase.effects.length, network: null, logic: null };
  const alive = el("p", { class: "unseen", role: "status", "aria-live": "polite" });
  const preview = el("p", { class: "preview" });
  const all = el("button", { type: "button", class: "show-all", onclick: () => set(everyone(kase), "All shown.") }, "Show all");
  const none = el("button", { type: "button", class: "hide-all", onclick: () => set(new Uint32Array(kase.words), "All hidden.") }, "Hide all");

  const refresh = () => {
    state.network = networkValue(kase, state.shown);
    state.logic = logicValue(kase, state.shown, state.keep);
    const count = mark(kase, stage, state.shown);
    numbersShown.show(count, light(kase, terms.rows, state));
    fidelity.show(state.keep);
    all.disabled = count === kase.n;
    none.disabled = count === 0;
  };
  const set = (shown, news) => {
    state.shown = shown;
    refresh();
    alive.textContent = `${news} Network ${state.network === null ? "not in the page" : read(state.network)}, logic ${read(state.logic)}.`;
  };
  const toggle = (i) => {
    set(flipped(state.shown, i), `${kase.players[i]} ${has(state.shown, i) ? "hidden" : "shown"}.`);
    foresee(i);
  };
  const only = (members) => {
    const shown = new Uint32Array(kase.words);
    members.forEach((i) => put(shown, i, true));
    set(shown, `Only ${members.map((i) => kase.players[i]).join(", ")} shown.`);
  };
  const keep = (count) => {
    state.keep = count;
    refresh();
  };
  const foresee = (i) => preview.replaceChildren(...forecast(kase, state, i));
  const idle = () => preview.replaceChildren("Press a part to hide or show it; with the keyboard, arrow keys and space.");

  const stage = stageOf(kase, toggle);
  const point = (members) => stage.parts.forEach((parts, i) => parts.forEach((part) => part.classList.toggle("pointed", members.includes(i))));
  const terms = termsPanel(kase, only, point);
  const fidelity = fidelityPanel(kase, keep);
  const numbersShown = readout(kase, state);
  terms.state.refresh = refresh;
  listen(stage, toggle, foresee, idle);
  idle();
  refresh();

  const node = panel(
    "what-if",
    "What if part of it were hidden?",
    howto(...(kase.table === null ? ALONE : COMPARED)),
    stage.node,
    preview,
    el("div", { class: "buttons" }, all, none),
    numbersShown.nodes,
    alive,
  );
  return { node, terms: terms.node, fidelity: fidelity.node };
}
