// The panels that stand beside the what-if panel. Each says in two sentences how to read it.

// The strongest terms.

const FIRST_TERMS = 12;
const MORE_TERMS = 100;

function termsPanel(kase, only, point) {
  const kept = kase.effects.length;
  const most = kase.effects.reduce((widest, effect) => Math.max(widest, Math.abs(effect)), 0);
  const list = el("ol", { class: "terms", "aria-label": "Terms, strongest first" });
  const rows = [];
  const goal = termsFor95(kase);
  let running = 0;

  const addUntil = (count) => {
    for (let term = rows.length; term < Math.min(count, kept); term++) {
      running += Math.abs(kase.effects[term]);
      rows.push(termRow(kase, term, most, running / kase.l1, only, point));
      list.append(el("li", {}, rows[term]));
      if (term + 1 === goal && goal < kept) {
        list.append(el("li", { class: "divider" }, `the ${goal === 1 ? "term" : whole(goal) + " terms"} above explain${goal === 1 ? "s" : ""} 95 %`));
      }
    }
    more.hidden = rows.length >= kept;
    every.hidden = rows.length >= kept;
    more.textContent = `Show ${whole(Math.min(MORE_TERMS, kept - rows.length))} more`;
  };
  const more = el("button", { type: "button", class: "quiet more", onclick: () => grow(rows.length + MORE_TERMS) });
  const every = el("button", { type: "button", class: "quiet every", onclick: () => grow(kept) }, `Show all ${whole(kept)}`);
  const state = { refresh: () => {} };
  const grow = (count) => {
    const from = rows.length;
    addUntil(count);
    state.refresh();
    rows[from].focus();
  };
  addUntil(FIRST_TERMS);

  const node = panel(
    "strongest",
    "The strongest terms",
    howto(
      "An AND term adds its effect while all of its players are shown, an OR term while at least one is; those that move the value most over all masks come first.",
      "Terms marked ● fire right now; press a term to show its players and nothing else.",
    ),
    kept
      ? el(
          "div",
          { class: "terms-head", "aria-hidden": "true" },
          el("span", {}, ""),
          el("span", {}, "term"),
          el("span", {}, "effect"),
          el("span", {}, "share so far"),
        )
      : el("p", { class: "empty" }, "There are no terms: the value is the same on every mask."),
    list,
    el("div", { class: "buttons" }, more, every),
    kase.count > kept
      ? el("p", { class: "remark" }, `${whole(kase.count)} terms in all. The ${whole(kept)} strongest are in this page; the others stand in with their mean, which is off by at most ${read(kase.rest_error)} on any mask.`)
      : null,
  );
  return { node, rows, state };
}

function termRow(kase, term, most, share, only, point) {
  const members = membersOf(kase, term);
  const effect = kase.effects[term];
  const join = kase.or[term] ? "OR" : "AND";
  const words = wording(kase, members, join);
  const row = el(
    "button",
    {
      type: "button",
      class: `term ${effect < 0 ? "minus" : "plus"}`,
      "data-term": term,
      "data-effect": String(effect),
      onclick: () => only(members),
      onmouseenter: () => point(members),
      onmouseleave: () => point([]),
      onfocus: () => point(members),
      onblur: () => point([]),
    },
    el("span", { class: "lamp", "aria-hidden": "true" }),
    el("span", { class: "logic" }, thumbnail(kase, members), el("span", { class: "words" }, words)),
    el("span", { class: "effect" }, bar(effect, most), el("span", { class: "figure" }, signed(effect))),
    el("span", { class: "share" }, percent(share)),
  );
  row.spoken = `${members.map((i) => kase.players[i]).join(` ${join} `)}: ${signed(effect)}; ${percent(share)} of the strength so far`;
  return row;
}

// The names joined; where nearly all players are in it, the few that are not.
function wording(kase, members, join) {
  const chip = el("span", { class: `join ${join.toLowerCase()}` }, join);
  const listed = (players, between, name) => players.map((i, at) => [at ? between() : null, user(kase.players[i], name)]);
  const others = [...kase.players.keys()].filter((i) => !members.includes(i));
  if (members.length >= 5 && others.length <= 2) {
    return [chip, " of all players", others.length ? " but " : "", listed(others, () => " and ", "but")];
  }
  return listed(members, () => [" ", chip.cloneNode(true), " "], "member");
}

// On pictures a term shows where its players lie.
function thumbnail(kase, members) {
  const { view } = kase;
  if (view.kind !== "image" || !view.outlines.length) return null;
  return svg(
    "svg",
    { class: "thumbnail", viewBox: `0 0 ${view.width} ${view.height}`, "aria-hidden": "true" },
    svg("rect", { class: "ground", width: view.width, height: view.height }),
    members.map((i) => svg("use", { href: `#${regionId(kase, i)}` })),
  );
}

// Fidelity against the number of terms.

function fidelityPanel(kase, keep) {
  const kept = kase.effects.length;
  const stops = kase.curve?.stops ?? [...Array(Math.min(kept, 60) + 1).keys(), ...(kept > 60 ? [kept] : [])];
  const out = el("output", { class: "kept", "aria-live": "polite" });
  const slider = el("input", {
    type: "range",
    min: 0,
    max: stops.length - 1,
    value: stops.length - 1,
    step: 1,
    "aria-label": "Keep only the strongest terms",
    oninput: () => keep(stops[Number(slider.value)]),
  });
  let at = stops.length - 1;
  const fidelity = kase.curve?.fidelity ?? null;
  const goal = termsFor95(kase);

  const draw = (width) => {
    if (!fidelity) return [];
    const [left, right, top, bottom] = [34, 10, 14, 132];
    const x = (i) => left + ((width - left - right) * i) / Math.max(1, stops.length - 1);
    const y = (f) => bottom - (bottom - top) * Math.max(0, Math.min(1, f ?? 0));
    const path = fidelity.map((f, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(f).toFixed(1)}`).join("");
    // Where a count lies between two stops of the slider.
    const place = (count) => {
      const past = firstAtLeast(stops, count);
      return past > 0 ? past - (stops[past] - count) / (stops[past] - stops[past - 1]) : past;
    };
    const end = stops.length - 1;
    const marks = [];
    let last = -Infinity;
    for (const stop of [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, kept]) {
      if (stop > kept) continue;
      const at = x(place(stop));
      if (stop !== kept && (at - last < 36 || x(end) - at < 48)) continue;
      last = at;
      marks.push(label(at, bottom + 17, whole(stop), { "text-anchor": stop === kept ? "end" : "middle" }));
      marks.push(rule(at, bottom, at, bottom + 4, "axis"));
    }
    const reach = goal === null ? -1 : place(goal);
    const late = x(reach) > width * 0.6;
    return [
      ...[0, 0.5, 1].map((f) => rule(left, y(f), width - right, y(f), f ? "grid" : "axis")),
      ...[0, 0.5, 1].map((f) => label(left - 6, y(f) + 4, `${f * 100}%`, { "text-anchor": "end" })),
      rule(left, y(0.95), width - right, y(0.95), "goal"),
      svg("path", { class: "area", d: `${path}L${x(stops.length - 1)} ${y(0)}L${x(0)} ${y(0)}Z` }),
      svg("path", { class: "curve", d: path }),
      ...marks,
      reach < 0
        ? svg("g", {})
        : svg("g", {}, svg("circle", { class: "reach", cx: x(reach), cy: y(Math.max(0.95, fidelity[Math.ceil(reach)])), r: 3.5 }), label(x(reach) + (late ? -8 : 8), y(0.95) + (late ? 34 : 20), `95 % with ${whole(goal)}`, { class: "strong", "text-anchor": late ? "end" : "start" })),
      rule(x(at), top - 6, x(at), bottom, "here"),
      svg("circle", { class: "here-dot", cx: x(at), cy: y(fidelity[at]), r: 5 }),
    ];
  };
  const spokenCurve = fidelity && goal !== null ? `Fidelity rises with the number of terms; 95 % is reached with ${many(goal, "term")}.` : "Fidelity against the number of terms.";
  const chart = fidelity ? drawing(156, spokenCurve, draw, "fidelity-curve") : el("p", { class: "empty" }, "No curve was measured.");

  const show = (count) => {
    at = Math.max(0, firstAtLeast(stops, count));
    slider.value = String(at);
    const text = count >= kept ? `all ${many(kept, "term")}` : `the ${many(count, "strongest term").replace("1 strongest terms", "1 strongest term")}`;
    const reached = fidelity && fidelity[at] !== null ? `, R² ${fidelity[at].toFixed(3).replace("-", "−")}` : "";
    out.textContent = `The logic uses ${text}${reached}`;
    slider.setAttribute("aria-valuetext", `${text}${reached}`);
    if (chart.redraw) chart.redraw();
  };
  const node = panel(
    "fidelity",
    "How many terms does it take?",
    howto(
      `The curve says how much of the network's output over ${drawn(kase) ? "masks drawn at random" : "all masks"} the strongest terms explain (R²) while the others stand in with their mean: 100 % is everything, 0 % no better than a constant.`,
      "Move the slider to keep fewer terms, and watch the logic's value change.",
    ),
    chart,
    el("div", { class: "slider" }, slider),
    out,
  );
  return { node, show };
}

// Strength per order.

function ordersPanel(kase) {
  const orders = kase.orders;
  const draw = (width) => {
    const [left, right, top, bottom] = [40, 6, 12, 168];
    const up = orders.positive.map((v) => Math.abs(v ?? 0));
    const down = orders.negative.map((v) => Math.abs(v ?? 0));
    const [high, low] = [Math.max(...up), Math.max(...down)];
    const scale = (bottom - top) / (high + low || 1);
    const zero = top + high * scale;
    const step = (width - left - right) / orders.order.length;
    const thick = Math.min(34, step * 0.62);
    const every = Math.ceil(22 / step);
    return [
      ...orders.order.flatMap((order, i) => {
        const x = left + step * (i + 0.5);
        return [
          svg("rect", { class: "positive", x: x - thick / 2, y: zero - up[i] * scale, width: thick, height: up[i] * scale }),
          svg("rect", { class: "negative", x: x - thick / 2, y: zero, width: thick, height: down[i] * scale }),
          i % every ? svg("g", {}) : label(x, bottom + 18, whole(order), { "text-anchor": "middle" }),
        ];
      }),
      rule(left, zero, width - right, zero, "axis"),
      high ? label(left - 6, top + 8, `+${read(high)}`, { "text-anchor": "end" }) : svg("g", {}),
      label(left - 6, zero + 4, "0", { "text-anchor": "end" }),
      low && zero < bottom - 12 ? label(left - 6, bottom, `−${read(low)}`, { "text-anchor": "end" }) : svg("g", {}),
      label(left + (width - left - right) / 2, bottom + 36, "players in the term", { "text-anchor": "middle", class: "caption" }),
    ];
  };
  const said = orders ? `Strength per order: ${orders.order.map((order, i) => `order ${order}: ${read(orders.positive[i])} up, ${read(Math.abs(orders.negative[i] ?? 0))} down`).join("; ")}.` : "";
  return panel(
    "orders",
    "How many players act together?",
    howto(
      "Each column adds up the effects of all terms with that many players: what raises the value stands upwards, what lowers it hangs down striped.",
      "Weight on the left means simple logic that tends to carry over to new inputs; weight on the right means intricate, fragile combinations.",
    ),
    orders ? drawing(210, said, draw, "order-histogram") : el("p", { class: "empty" }, "Orders were not measured."),
  );
}

// The certificate.

function certificatePanel(kase) {
  const { matching, gap, l1 } = kase;
  const masks = kase.n <= 53 ? many(2 ** kase.n, "mask") : `2^${kase.n} masks`;
  const measured = explainedWhere(kase);
  const nearest = measured.length ? measured.map(({ share, where }) => ["Explained", percent(share), `of the variance of the score ${where}`]) : [[
      "Distance to the sparsest",
      gap === null ? "not sought" : gap <= 1e-12 ? "0 %" : percent(gap),
      gap === null ? "no lower bound was computed" : gap <= 1e-6 ? "no AND-OR logic of these values has less strength in all" : "no AND-OR logic of these values has less strength by more than this share",
  ]];
  const compared = drawn(kase) ? "on masks drawn at random" : "on the masks";
  const rows = [
    ["Matching error", read(matching.largest_error), `the most that logic and network differ ${compared} (mean ${read(matching.mean_error)})`],
    ...nearest,
    ["Strength of all terms", read(l1), gap === null ? "the sum of their effects without sign" : `proven to be at least ${read(l1 * (1 - gap))} for any such logic`],
    ["Terms", whole(kase.count), kase.salient === null ? `of at most ${kase.n <= 52 ? whole(2 * (2 ** kase.n - 1) - kase.n) : `2^${kase.n + 1}`} possible` : `of which ${whole(kase.salient)} are salient`],
    ["Evaluations", kase.evaluations === null ? "unknown" : whole(kase.evaluations), `times the network was asked; there are ${masks}`],
  ];
  return panel(
    "certificate",
    "Why believe it?",
    howto(
      "A matching error near zero means that the terms are not a guess about the network: they give its own value whatever is hidden.",
      measured.length
        ? "What is explained was measured on masks that served for nothing else; believe the terms as far as it is near 100 %."
        : "The distance says how much shorter the explanation could be at most; at zero it is proven to be the shortest.",
    ),
    el("dl", {}, rows.map(([name, value, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, el("strong", {}, value), el("span", {}, text))))),
  );
}

// Saliency.

function saliencyPanel(kase) {
  if (!kase.attributions.length) return null;
  const sentences = howto(
    "Saliency gives each part one number: plain blue pushes the value up, striped or dotted orange pulls it down.",
    "It is shorter than the terms, but it cannot say which parts act only together.",
  );
  const one = { image: heatMap, text: colouredText }[kase.view.kind];
  const drawable = one && (kase.view.kind !== "image" || kase.view.outlines.length || kase.attributions.every((a) => a.heat));
  const body = drawable
    ? el("div", { class: "maps" }, kase.attributions.map((attribution) => figure(kase, attribution, one)))
    : bars(kase);
  return panel("saliency", "Saliency beside it", sentences, body, drawable ? el("details", {}, el("summary", {}, "The same as numbers"), bars(kase)) : null);
}

const methodName = (name) => name.replaceAll("_", " ");
const largest = (values) => values.reduce((most, v) => (Number.isFinite(v) ? Math.max(most, Math.abs(v)) : most), 0);

function remainder({ gap }) {
  return gap === null ? "These values promise no sum." : `They add up to the change of the value, less ${read(Math.abs(gap))}.`;
}

function figure(kase, attribution, draw) {
  return el(
    "figure",
    { "data-method": attribution.name },
    el("figcaption", {}, user(methodName(attribution.name))),
    draw(kase, attribution),
    el("p", { class: "remark" }, remainder(attribution)),
  );
}

function heatMap(kase, attribution) {
  const { view } = kase;
  const most = largest(attribution.values);
  const said = `Heat map of ${methodName(attribution.name)} over the picture`;
  const node = backdrop(kase);
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", said);
  node.classList.add("faint");
  if (attribution.heat) {
    node.append(svg("image", { class: "overlay crisp", href: attribution.heat, width: view.width, height: view.height, preserveAspectRatio: "none" }));
    return node;
  }
  const size = view.width / 18;
  const stripes = `stripes-${kase.id}-${attribution.name}`;
  node.prepend(svg("defs", {}, hatch(stripes, size / 3.4, "stripe")));
  view.outlines.forEach((d, i) => {
    const value = attribution.values[i];
    const share = most ? Math.abs(value) / most : 0;
    const fill = value < 0 ? `url(#${stripes})` : null;
    node.append(svg("path", { class: fill ? null : "positive", fill, d, "fill-rule": "evenodd", "fill-opacity": (0.92 * share).toFixed(3) }));
    if (share > 0.25 && kase.n <= 25) {
      const [x, y] = view.anchors[i];
      node.append(svg("text", { x, y, class: "on-map", "font-size": size, "text-anchor": "middle", dy: "0.35em" }, value < 0 ? "−" : "+"));
    }
  });
  view.outlines.forEach((d) => node.append(svg("path", { class: "thin", d })));
  return node;
}

function colouredText(kase, attribution) {
  const most = largest(attribution.pieces ?? attribution.values);
  const line = el("p", { class: "sentence coloured" });
  runsOf(kase.view).forEach(({ owner, places, text }) => {
    const pieces = attribution.pieces ? places.map((at) => [kase.view.pieces[at], attribution.pieces[at]]) : [[text, owner < 0 ? 0 : attribution.values[owner]]];
    pieces.forEach(([piece, value]) => {
      const [, before, core, after] = /^(\s*)([^]*?)(\s*)$/.exec(piece);
      if (!core) return line.append(piece);
      const node = el("span", { class: `tinted ${value < 0 ? "minus" : "plus"}`, title: signed(value) }, user(core));
      const share = most ? Math.abs(value) / most : 0;
      node.style.setProperty("--share", share.toFixed(3));
      if (share < 0.04) node.classList.add("none");
      return line.append(before, node, after);
    });
  });
  return line;
}

function bars(kase) {
  const all = kase.attributions;
  const head = el("tr", {}, el("th", { scope: "col" }, "player"), all.map((one) => el("th", { scope: "col" }, user(methodName(one.name)))));
  const body = kase.players.map((name, i) =>
    el("tr", {}, el("th", { scope: "row" }, user(name)), all.map((one) => el("td", {}, el("span", { class: "cell" }, bar(one.values[i], largest(one.values)), el("span", { class: "figure" }, signed(one.values[i])))))),
  );
  const foot = el("tr", {}, el("th", { scope: "row" }, "left over"), all.map((one) => el("td", { class: "rest" }, one.gap === null ? "no sum promised" : read(one.gap))));
  return el("table", { class: "bars" }, el("thead", {}, head), el("tbody", {}, body), el("tfoot", {}, foot));
}
