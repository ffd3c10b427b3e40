// The same inputs as each method sees them.

const FIRST = 12;

function pictureOf(source, heat, title) {
  return el("span", { class: "seen" }, el("img", { src: source, alt: "", class: heat ? "ground" : null }), heat ? el("img", { src: heat, alt: title, class: "over" }) : null);
}

function barsOf(values, names) {
  const order = values.map((_, i) => i).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a])).slice(0, 6);
  const most = Math.max(...values.map(Math.abs));
  return el("table", { class: "bars few" }, el("tbody", {}, order.map((i) => el("tr", {}, el("th", { scope: "row" }, user(names[i])), el("td", {}, el("span", { class: "unseen" }, read(values[i])), bar(values[i], most))))));
}

function wordsOf(values, names) {
  const most = Math.max(...values.map(Math.abs)) || 1;
  return el("p", { class: "coloured few" }, values.flatMap((value, i) => [shaded(el("span", { class: `tinted ${value > 0 ? "plus" : value < 0 ? "minus" : "none"}`, title: read(value) }, user(names[i])), Math.abs(value) / most), " "]));
}

function mapsPanel(story) {
  const { kind, inputs, values } = story.maps ?? { inputs: [] };
  if (!inputs.length) return null;
  const listed = story.methods.filter((method) => values[method.id]);
  const card = (method, body) => el("figure", { class: `seen-by${method.reference ? " reference" : ""}` }, el("figcaption", {}, readable(method.id)), body);
  const absent = () => el("p", { class: "empty" }, "failed on this input");
  const grid = el("div", { class: `seen-grid of-${kind}` });
  let at = 0;
  let all = listed.length <= FIRST;
  const more = el("button", { class: "quiet", onclick: () => ((all = true), show()) });
  const show = () => {
    const some = all ? listed : listed.slice(0, FIRST);
    const cards = some.map((method) => {
      const seen = values[method.id];
      if (kind === "picture") return card(method, el("div", { class: "six" }, inputs.map((input, i) => (seen[i] ? pictureOf(input.picture, seen[i], `${readable(method.id)} on ${input.title}`) : absent()))));
      if (!seen[at]) return card(method, absent());
      return card(method, kind === "text" ? wordsOf(seen[at], inputs[at].names) : barsOf(seen[at], inputs[at].names));
    });
    const plain = kind === "picture" ? [card({ id: "the inputs" }, el("div", { class: "six" }, inputs.map((input) => pictureOf(input.picture, null, input.title))))] : [];
    grid.replaceChildren(...plain, ...cards);
    more.hidden = all;
    more.textContent = `Show the other ${listed.length - FIRST}`;
  };
  const choice = el("select", { "aria-label": "Input", dir: "auto", onchange: () => ((at = Number(choice.value)), show()) }, inputs.map((one, i) => el("option", { value: i, dir: "auto" }, one.title)));
  show();
  return panel(
    "seen-by-all",
    "The same inputs, method by method",
    howto("Blue speaks for the score and striped orange against it, each method on its own scale."),
    kind === "picture" ? null : el("div", { class: "choices" }, el("label", {}, "of ", choice)),
    grid,
    more,
  );
}
