"""The dividends of a few sets rewritten as AND and OR terms, as few as possible."""

import itertools
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.optimize import linprog
from scipy.sparse import csc_array, eye, hstack

Effects = dict[tuple[int, ...], float]

_LARGEST_OR = 10
"""Players of an OR term; it has 2^s - 1 dividends."""
_ENTRIES = 30_000
"""Of the linear programme; beyond it takes longer than a few seconds."""
_ROUNDS = 20
"""Times at most that all OR effects are looked at once more."""
_DUST = 1e-9
"""Effects below this share of the largest are what the linear programme leaves for nothing."""


def two_logics(dividends: Effects) -> tuple[Effects, Effects]:
    r"""AND and OR terms that have these dividends, as few as can be found.

    $$
    a(S) = x(S) + (-1)^{|S|-1} \sum_{T \supseteq S,\, |T| \ge 2} y(T)
    $$

    Sought is first the least sum of |x| and |y|, then changes of one y that leave fewer terms.
    An OR term y leaves a dividend on every set inside it. It is thought of only where more than
    half of these are there. Where there are too many such places for a linear programme, the
    terms are all AND or all OR, whichever are smaller. In either case x is what y leaves of a, so
    that nothing is lost.

    Args:
        dividends: a, by set.
    """
    dividends = {one: effect for one, effect in dividends.items() if effect and one}
    places = _places(dividends)
    entries = sum(2 ** len(one) for one in places)
    ors: Effects = {}
    if places and entries <= _ENTRIES:
        ors = _programme(dividends, places)
    elif places:
        mirrored = or_effects(dividends)
        if _size(mirrored) < _size(dividends):
            ors = {one: effect for one, effect in mirrored.items() if len(one) > 1}
    largest = max(map(abs, dividends.values()), default=0.0)
    ors = {one: effect for one, effect in ors.items() if abs(effect) > _DUST * largest}
    return _left(dividends, ors, largest), ors


def or_effects(dividends: Effects) -> Effects:
    r"""The same game with OR terms only.

    $$
    y(S) = (-1)^{|S|-1} \sum_{T \supseteq S} a(T)
    $$

    Args:
        dividends: a, by set.
    """
    found: Effects = {}
    for one, effect in dividends.items():
        for inner in _subsets(one):
            signed = effect if len(inner) % 2 else -effect
            found[inner] = found.get(inner, 0.0) + signed
    return found


def _subsets(one: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All but the empty one."""
    return [inner for size in range(1, len(one) + 1) for inner in itertools.combinations(one, size)]


def _places(dividends: Effects) -> list[tuple[int, ...]]:
    """Sets in which most subsets have a dividend, so that an OR term may explain them."""
    return [
        one
        for one in dividends
        if 1 < len(one) <= _LARGEST_OR
        and 2 * sum(inner in dividends for inner in _subsets(one)) > 2 ** len(one) - 1
    ]


def _programme(dividends: Effects, places: list[tuple[int, ...]]) -> Effects:
    """The OR effects of the least sum."""
    subsets = [_subsets(one) for one in places]
    sets = list(dict.fromkeys(inner for some in subsets for inner in some))
    index = {one: i for i, one in enumerate(sets)}
    row = np.array([index[inner] for some in subsets for inner in some])
    column = np.repeat(np.arange(len(places)), [len(some) for some in subsets])
    sign = np.array([1.0 if len(inner) % 2 else -1.0 for some in subsets for inner in some])
    leaves = csc_array((sign, (row, column)), shape=(len(sets), len(places)))
    given = np.array([dividends.get(one, 0.0) for one in sets])
    unit = np.abs(given).max()
    plain = eye(len(sets), format="csr")
    both: Any = hstack([plain, -plain, leaves, -leaves], format="csr")
    solved = linprog(
        np.ones(both.shape[1]), A_eq=both, b_eq=given / unit, bounds=(0, None), method="highs"
    )
    if solved.x is None:
        return {}
    plus, minus = solved.x[2 * len(sets) :].reshape(2, -1)
    effects = _polished(leaves, given / unit, plus - minus)
    return dict(zip(places, (unit * effects).tolist(), strict=True))


def _polished(
    leaves: csc_array, given: Float64[np.ndarray, " sets"], start: Float64[np.ndarray, " places"]
) -> Float64[np.ndarray, " places"]:
    """OR effects changed one by one as long as terms become fewer.

    Where x, y and xy are all there, several logics have the same sum of effects, and a linear
    programme takes any of them.
    """
    y = start.copy()
    x = given - leaves @ y
    for _ in range(_ROUNDS):
        before = y.copy()
        for place in range(len(y)):
            inside = slice(leaves.indptr[place], leaves.indptr[place + 1])
            rows, sign = leaves.indices[inside], leaves.data[inside]
            wanted = sign * x[rows] + y[place]  # an OR of this size leaves nothing of a set
            tried = np.unique(np.append(np.round(wanted, 9), 0.0))
            left = np.abs(wanted - tried[:, None])
            terms = (left > _DUST).sum(1) + (tried != 0)
            best = tried[np.lexsort((left.sum(1) + np.abs(tried), terms))[0]]
            near = wanted[np.abs(wanted - best) <= _DUST]
            best = float(near[0]) if len(near) and best else best
            x[rows] -= sign * (best - y[place])
            y[place] = best
        if np.allclose(before, y, rtol=0, atol=_DUST):
            break
    return y


def _left(dividends: Effects, ors: Effects, largest: float) -> Effects:
    """The AND terms that the OR terms leave to be explained."""
    left = dict(dividends)
    for one, effect in ors.items():
        for inner in _subsets(one):
            left[inner] = left.get(inner, 0.0) - (effect if len(inner) % 2 else -effect)
    return {one: effect for one, effect in left.items() if abs(effect) > _DUST * largest}


def _size(effects: Effects) -> float:
    return sum(map(abs, effects.values()))
