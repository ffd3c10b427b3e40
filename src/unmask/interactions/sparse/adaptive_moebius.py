"""Adaptive search for the dividends of a game that has few: many binary searches at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float64

from unmask.lattice import MOEBIUS, coalitions, transform

Ask = Callable[[Bool[np.ndarray, "rows players"]], Float64[np.ndarray, " rows"]]

_CHECKS = 200
"""Random coalitions, all of them right, after which nothing more is looked for."""
_SHARES = (0.5, 0.75, 0.9, 1.0)
"""How much of the players the coalitions hold that are searched; large terms need large ones."""
_LOCAL = 6
"""Players of a set up to which all its subsets are asked for, so that nothing can cancel in it."""
_NARROWEST, _WIDEST = 16, 256
"""Searches at a time."""


@dataclass
class Dividends:
    """Dividends found so far: sets of players and what each adds.

    Args:
        players: n.
        empty: the value of the empty coalition.
        effects: by set.
    """

    players: int
    empty: float
    effects: dict[tuple[int, ...], float] = field(default_factory=dict)

    def add(self, more: dict[tuple[int, ...], float]) -> None:
        """Take more dividends in; what was known of a set is added to."""
        for key, effect in more.items():
            self.effects[key] = self.effects.get(key, 0.0) + effect

    def plus(self, other: "Dividends | None") -> "Dividends":
        """These dividends and others, of a game that is the sum of two."""
        if other is None:
            return self
        both = Dividends(self.players, self.empty + other.empty, dict(other.effects))
        both.add(self.effects)
        return both

    def members(self) -> Bool[np.ndarray, "terms players"]:
        """The sets, one per row."""
        return rows_of(list(self.effects), self.players)

    def __call__(self, masks: Bool[np.ndarray, "rows players"]) -> Float64[np.ndarray, " rows"]:
        """What they add up to."""
        if not self.effects:
            return np.full(len(masks), self.empty)
        members = self.members().astype(np.float32)
        order, effects = members.sum(1), np.array([*self.effects.values()])
        # Counts are small whole numbers, which float32 holds exactly.
        values = np.empty(len(masks))
        step = max(1, 2**22 // len(order))
        for start in range(0, len(masks), step):
            held = masks[start : start + step].astype(np.float32) @ members.T
            values[start : start + step] = (held == order) @ effects
        return self.empty + values


def rows_of(sets: list[tuple[int, ...]], players: int) -> Bool[np.ndarray, "sets players"]:
    """Sets of players as masks.

    Args:
        sets: the players of each.
        players: how many there are in all.
    """
    rows = np.zeros((len(sets), players), dtype=bool)
    sizes = [len(one) for one in sets]
    rows[np.repeat(np.arange(len(sets)), sizes), [i for one in sets for i in one]] = True
    return rows


def adaptive_moebius(
    ask: Ask,
    players: int,
    *,
    budget: int,
    tolerance: Callable[[], float],
    worth_going_on: Callable[[Dividends], bool],
    random: np.random.Generator,
) -> tuple[Dividends, bool]:
    r"""Find the dividends one after the other by asking where the terms known so far are wrong.

    $$
    r(S) = v(S) - v(\emptyset) - \sum_{T \in K,\, T \subseteq S} a(T)
    $$

    From a coalition where r is not zero players are taken away, by halves, until what is left
    is a set that needs all its players for it; a search takes about |T| log2 n questions, and
    many run side by side, each from a coalition of its own, so that the game is asked in
    batches. Of each set that is found, all subsets are asked for too, so that effects which
    cancel each other in it come out as well. It ends when r is zero on 200 coalitions of all
    sizes, or when the budget does not hold another round; the second answer says which.

    Args:
        ask: v.
        players: n.
        budget: coalitions that may be asked for.
        tolerance: the rounding of one value; asked for anew each round.
        worth_going_on: asked once, when half of the budget is spent.
        random: chooses coalitions and orders.
    """
    spent, width, right = 1, _NARROWEST, 0
    known = Dividends(players, float(ask(np.zeros((1, players), dtype=bool))[0]))
    seen: dict[bytes, float] = {}
    tried: set[tuple[int, ...]] = set()
    asked_whether = False
    while spent + 2 * width <= budget:
        if spent > budget // 2 and not asked_whether:
            asked_whether = True
            if not worth_going_on(known):
                break
        # The rounding of all terms adds up in what they leave.
        rounding = tolerance() * (1 + len(known.effects) ** 0.5)
        starts = random.random((width, players)) < np.resize(_SHARES, width)[:, None]
        wrong = np.abs(ask(starts) - known(starts)) > rounding
        spent += width
        right = 0 if wrong.any() else right + width
        if right >= _CHECKS:
            return known, True
        if not wrong.any():
            width = min(_WIDEST, 2 * width)
            continue
        # A round in search of large sets may take all that is left, and find nothing.
        limit = budget if asked_whether else max(spent, budget // 2)
        sets, asked = _searched(ask, known, starts[wrong], rounding, random, limit - spent)
        spent += asked
        distinct = list(dict.fromkeys(sets))
        more, asked = _resolved(ask, known, distinct, rounding, seen, budget - spent)
        spent += asked
        if not more and spent + width > limit and not asked_whether:
            continue  # to be asked whether that is worth the while
        if not more:
            break
        known.add(more)
        alike = _of_one_size(known, more, tried)
        more, asked = _resolved(ask, known, alike, rounding, seen, budget - spent)
        spent += asked
        known.add(more)
        # Searches that meet in the same set are wasted, those that do not could be more.
        if len(distinct) > 0.7 * len(sets):
            width = min(_WIDEST, 2 * width)
        elif len(distinct) < 0.4 * len(sets):
            width = max(_NARROWEST, width // 2)
    return known, False


def _searched(
    ask: Ask,
    known: Dividends,
    starts: Bool[np.ndarray, "searches players"],
    tolerance: float,
    random: np.random.Generator,
    budget: int,
) -> tuple[list[tuple[int, ...]], int]:
    """From each coalition down to a set without which nothing is wrong there."""
    count, players = starts.shape
    # The players of a start come first, in an order of its own; the pool is a prefix of them.
    order = np.argsort(random.random((count, players)) + 2 * ~starts, axis=1)
    place = np.argsort(order, axis=1)
    fixed = np.zeros_like(starts)
    low, high = np.full(count, -1), starts.sum(1)
    active, spent = np.arange(count), 0
    found: list[tuple[int, ...]] = []
    while len(active) and spent + len(active) <= budget:
        # Whether the fixed players alone do it is asked first.
        middle = np.where(low[active] < 0, 0, (low[active] + high[active]) // 2)
        probes = fixed[active] | (place[active] < middle[:, None])
        wrong = np.abs(ask(probes) - known(probes)) > tolerance
        spent += len(active)
        high[active] = np.where(wrong, middle, high[active])
        low[active] = np.where(wrong, low[active], middle)
        done = high[active] == 0
        found += [tuple(np.flatnonzero(row).tolist()) for row in fixed[active[done]]]
        active = active[~done]
        settled = active[(high[active] - low[active] == 1) & (low[active] >= 0)]
        fixed[settled, order[settled, high[settled] - 1]] = True
        high[settled] -= 1
        low[settled] = -1
    return [one for one in found if one], spent


def _of_one_size(
    known: Dividends, new: dict[tuple[int, ...], float], tried: set[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Unions of sets whose dividends are equal but for their signs.

    A term of another logic, an OR or a parity, leaves dividends of one size on many subsets of its
    players. Some of them give it away, and the others need no search of their own.
    """
    by_effect: dict[float, list[tuple[int, ...]]] = {}
    for one, effect in known.effects.items():
        by_effect.setdefault(float(f"{abs(effect):.6e}"), []).append(one)
    unions: dict[tuple[int, ...], None] = {}
    for effect in {float(f"{abs(known.effects[one]):.6e}") for one in new}:
        sets = by_effect[effect]
        for parts in ([sets], _connected(sets)):
            for part in parts:
                union = tuple(sorted({i for one in part for i in one}))
                if len(part) > 1 and len(union) <= _LOCAL and union not in tried:
                    unions[union] = None
    tried.update(unions)
    return list(unions)


def _connected(sets: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Sets in groups, those that share a player in one."""
    groups: list[tuple[set[int], list[tuple[int, ...]]]] = []
    for one in sets:
        apart = [group for group in groups if group[0].isdisjoint(one)]
        met = [group for group in groups if not group[0].isdisjoint(one)]
        union = set(one).union(*(group[0] for group in met))
        groups = [*apart, (union, [one, *(other for group in met for other in group[1])])]
    return [group for _, group in groups]


def _resolved(
    ask: Ask,
    known: Dividends,
    sets: list[tuple[int, ...]],
    tolerance: float,
    seen: dict[bytes, float],
    budget: int,
) -> tuple[dict[tuple[int, ...], float], int]:
    """The dividends that are missing in some sets and, of small ones, in all their subsets."""
    more: dict[tuple[int, ...], float] = {}
    spent = 0
    by_size: dict[int, list[tuple[int, ...]]] = {}
    for one in sets:
        by_size.setdefault(len(one), []).append(one)
    for size in sorted(by_size):
        pattern = coalitions(size).numpy() if size <= _LOCAL else np.ones((1, size), dtype=bool)
        for one in by_size[size]:
            rows = np.zeros((len(pattern), known.players), dtype=bool)
            rows[:, list(one)] = pattern
            values, asked = _looked_up(ask, rows, seen, budget - spent)
            if values is None:
                return more, spent
            spent += asked
            left = torch.from_numpy(values - known(rows))
            dividends = transform(left, MOEBIUS).numpy() if size <= _LOCAL else left.numpy()
            # The rounding of 2^s values adds up in a dividend of s players.
            for row, dividend in zip(pattern, dividends, strict=True):
                if abs(dividend) > tolerance * 2 ** (row.sum() / 2) and row.any():
                    more[tuple(np.array(one)[row].tolist())] = float(dividend)
    return more, spent


def _looked_up(
    ask: Ask,
    rows: Bool[np.ndarray, "rows players"],
    seen: dict[bytes, float],
    budget: int,
) -> tuple[Float64[np.ndarray, " rows"] | None, int]:
    """The values of coalitions of which many were asked for before."""
    keys = [row.tobytes() for row in np.packbits(rows, axis=1)]
    new = [i for i, key in enumerate(keys) if key not in seen]
    if len(new) > budget:
        return None, 0
    for i, value in zip(new, ask(rows[new]).tolist(), strict=True):
        seen[keys[i]] = value
    return np.array([seen[key] for key in keys]), len(new)
