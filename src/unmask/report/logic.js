// The logic of a prediction: AND and OR terms over players, and the sum of those that fire.
// A coalition is a row of 32-bit words whose bit i says whether player i is shown.

function numbers(text, Kind) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}

function opened(row) {
  const masks = numbers(row.masks, Uint32Array);
  const or = numbers(row.or, Uint8Array);
  const effects = numbers(row.effects, Float64Array);
  return {
    ...row,
    n: row.players.length,
    table: row.table === null ? null : numbers(row.table, Float64Array),
    masks,
    or,
    effects,
    standingIn: standingIn(row, masks, or, effects),
    attributions: row.attributions.map((one) => ({
      ...one,
      values: numbers(one.values, Float64Array),
      pieces: one.pieces ? numbers(one.pieces, Float64Array) : null,
    })),
  };
}

// For each count of kept terms, what the others add on average over all masks: an AND of m players
// fires on 2^-m of them, an OR on the rest.
function standingIn(row, masks, or, effects) {
  const sums = new Float64Array(effects.length + 1);
  sums[effects.length] = row.rest_mean;
  for (let term = effects.length - 1; term >= 0; term--) {
    let members = 0;
    for (let w = 0; w < row.words; w++) {
      for (let bits = masks[term * row.words + w]; bits; bits &= bits - 1) members++;
    }
    const all = 2 ** -members;
    sums[term] = sums[term + 1] + effects[term] * (or[term] ? 1 - all : all);
  }
  return sums;
}

function everyone(kase) {
  const shown = new Uint32Array(kase.words);
  for (let i = 0; i < kase.n; i++) put(shown, i, true);
  return shown;
}

const has = (shown, i) => ((shown[i >>> 5] >>> (i & 31)) & 1) === 1;

function put(shown, i, there) {
  if (there) shown[i >>> 5] |= 1 << (i & 31);
  else shown[i >>> 5] &= ~(1 << (i & 31));
}

function membersOf(kase, term) {
  const mask = kase.masks.subarray(term * kase.words, (term + 1) * kase.words);
  return [...kase.players.keys()].filter((i) => has(mask, i));
}

// An AND term fires when all of it is shown, an OR term when any of it is.
function fires(kase, term, shown) {
  let all = true;
  let any = false;
  for (let w = 0; w < kase.words; w++) {
    const mask = kase.masks[term * kase.words + w];
    if ((mask & ~shown[w]) !== 0) all = false;
    if ((mask & shown[w]) !== 0) any = true;
  }
  return kase.or[term] ? any : all;
}

function logicValue(kase, shown, keep) {
  let sum = kase.empty + kase.standingIn[keep];
  for (let term = 0; term < keep; term++) {
    if (fires(kase, term, shown)) sum += kase.effects[term];
  }
  return sum;
}

// The network's own value: of every mask where the table is in the page, else of two of them.
function networkValue(kase, shown) {
  if (kase.table !== null) return kase.table[shown[0]];
  if (kase.corners === null) return null;
  const count = [...kase.players.keys()].filter((i) => has(shown, i)).length;
  if (count === 0) return kase.corners[0];
  return count === kase.n ? kase.corners[1] : null;
}

const firstAtLeast = (values, goal) => values.findIndex((value) => value !== null && value >= goal);

// The shares of the variance that the terms explain, where that was measured.
function explainedWhere(kase) {
  return [
    { share: kase.explained, where: "over all masks" },
    { share: kase.explained_near_full, where: "where at most a fifth is hidden" },
  ].filter(({ share }) => share !== null);
}

// With more players the network was compared on some of the masks.
const drawn = (kase) => kase.n > 20;

function termsFor95(kase) {
  if (kase.terms95 !== null) return Math.round(kase.terms95);
  if (kase.curve === null) return null;
  const at = firstAtLeast(kase.curve.fidelity, 0.95);
  return at < 0 ? null : kase.curve.stops[at];
}
