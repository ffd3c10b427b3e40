"""The dividends of all small sets, exactly, from the coalitions that have so few players."""

import itertools
from math import comb

from unmask.interactions.sparse.adaptive_moebius import Ask, Dividends, rows_of


def small_sets(players: int, order: int) -> int:
    """How many coalitions have at most so many players.

    Args:
        players: in all.
        order: of a coalition.
    """
    return sum(comb(players, size) for size in range(order + 1))


def swelling(size: int, order: int) -> float:
    r"""How much rounding grows from small coalitions to one of s players.

    $$
    \hat v(S) = \sum_{T \subseteq S,\, |T| \le k} (-1)^{k-|T|} \tbinom{s-|T|-1}{k-|T|}\, v(T)
    $$

    Where the values have errors of one size, each by itself, that of the sum is so many times it.

    Args:
        size: s.
        order: k.
    """
    if size <= order:
        return 1.0
    weights = [(comb(size, j), comb(size - j - 1, order - j)) for j in range(order + 1)]
    return sum(many * weight**2 for many, weight in weights) ** 0.5


def order_limited(ask: Ask, players: int, *, order: int, tolerance: float) -> Dividends:
    r"""All dividends of at most k players.

    $$
    a(T) = \sum_{S \subseteq T} (-1)^{|T|-|S|}\, v(S), \qquad |T| \le k
    $$

    They are exact, whatever larger sets add; and they are the whole game if that is nothing.

    Args:
        ask: v; of the mirrored game they are the OR terms.
        players: n.
        order: k.
        tolerance: the size of a dividend that counts as zero.
    """
    sets = [
        one for size in range(order + 1) for one in itertools.combinations(range(players), size)
    ]
    left = dict(zip(sets, ask(rows_of(sets, players)).tolist(), strict=True))
    known = Dividends(players, left.pop(()))
    for one in sets[1:]:  # what smaller sets add has been found by then
        inner = (
            known.effects.get(some, 0.0)
            for size in range(1, len(one))
            for some in itertools.combinations(one, size)
        )
        effect = left[one] - known.empty - sum(inner)
        if abs(effect) > tolerance * 2 ** (len(one) / 2):
            known.effects[one] = effect
    return known
