"""A few questions that tell whether a game has few terms, and of which logic and order."""

from dataclasses import dataclass
from itertools import combinations
from math import comb, log2

import numpy as np
import torch

from unmask.interactions.sparse.order_limited import small_sets
from unmask.interactions.sparse.purse import Purse
from unmask.lattice import MOEBIUS, coalitions, transform

_SETS = 12
"""Sets of players of each size that are looked at."""
_FEW = 64
"""Of the budget, the part that may be asked of the subsets of a set."""
_CROWDED = 0.5
"""Share of the pairs of players that matter from which terms are many."""


@dataclass(frozen=True)
class Probe:
    """What was seen of a game's small sets.

    Args:
        sparse: whether single terms are worth a search.
        mirrored: whether terms look fewer and smaller from the full coalition than from the empty.
        order: the players of the largest sets that add something on that side, if none that has
            one player more does; 0 if this is not known.
        densities: by their size from 1 on, the shares of the sets that add something.
    """

    sparse: bool
    mirrored: bool
    order: int = 0
    densities: tuple[float, ...] = ()

    def questions(self, players: int) -> float:
        """What a search for all terms would ask, as far as their number can be told.

        Args:
            players: n.
        """
        every = enumerate(self.densities[: self.order], start=1)
        return sum(share * comb(players, size) * size * log2(players) for size, share in every)


def probe(
    purse: Purse, players: int, rounding: float, most: int, random: np.random.Generator
) -> Probe:
    r"""Ask for the dividends of some sets of three players, and of those of the mirrored game.

    Among AND terms of few players hardly a set of three has a dividend; in a network that is not
    planted, nearly all have. OR terms look so from the full coalition. Where sets of three have
    one, larger sets are asked for, one player more at a time, as long as all sets that are
    smaller could be asked for too.

    Args:
        purse: the game; without room for a few sets nothing is asked.
        players: n.
        rounding: the size of a difference that may be rounding or noise.
        most: coalitions that a table of all small sets may take.
        random: chooses the sets.
    """
    count = min(_SETS, purse.budget // _FEW)
    if count < 2 or players < 3 or 16 * count > purse.left // 4:
        return Probe(sparse=False, mirrored=False)
    sets = [random.permutation(players)[:3] for _ in range(count)]
    either = _adding(purse, sets, (False, True), rounding)
    densities = [_densities(adding) for adding in either]
    # Terms are whole on the side where fewer sets of three add something, and fewer players do
    # something by themselves.
    mirrored = densities[1][::-1] < densities[0][::-1]
    crowd, found = _crowd(either[mirrored]), densities[mirrored]
    sides = (False, True) if densities[0][2] == densities[1][2] > 0 else (mirrored,)
    acting = np.unique(np.array(sets)[either[mirrored][:, [1, 2, 4]]])
    order = 0 if found[2] else 2 if found[1] else 1
    size = 4
    pool, acting_share = np.arange(players), 1.0
    if found[0] < 1 and len(acting) > 2 * size:
        # Sets in which a player is idle tell nothing, so that those of three are looked at again.
        pool, acting_share = acting, found[0]
        order, size = (0, 3) if order == 2 else (order, size)
    while (
        order == 0
        and size < min(players, len(pool))
        and small_sets(players, size - 1) <= most
        and count * 2**size <= purse.budget // 32
    ):
        sets = [random.permutation(pool)[:size] for _ in range(count // len(sides))]
        shares = [float(adding[:, -1].mean()) for adding in _adding(purse, sets, sides, rounding)]
        if 0.0 in shares:
            mirrored, order = sides[shares.index(0.0)], size - 1
        share = min(shares) * acting_share**size
        found = (*found[: size - 1], share)
        size += 1
    crowded = crowd > _CROWDED and found[2] > 0
    return Probe(found[2] <= 1 / 2 and not crowded, mirrored, order, found)


def _adding(
    purse: Purse, sets: list[np.ndarray], sides: tuple[bool, ...], rounding: float
) -> list[np.ndarray]:
    """Which subsets of each set have a dividend, seen from each side."""
    size = len(sets[0])
    pattern = coalitions(size).numpy()
    inside = np.zeros((len(sets), len(pattern), purse.players), dtype=bool)
    for rows, one in zip(inside, sets, strict=True):
        rows[:, one] = pattern
    flat = inside.reshape(-1, purse.players)
    values = purse.ask(np.concatenate([~flat if mirrored else flat for mirrored in sides]))
    table = torch.from_numpy(values).view(len(sides), len(sets), -1)
    dividends = transform(table, MOEBIUS).abs().numpy()
    # The rounding of 2^s values adds up in a dividend of s players.
    return list(dividends > max(rounding, purse.tolerance) * 2 ** (pattern.sum(1) / 2))


def _densities(adding: np.ndarray) -> tuple[float, ...]:
    """The shares of single players, pairs and sets of three that add something."""
    return tuple(float(adding[:, some].mean()) for some in ([1, 2, 4], [3, 5, 6], [7]))


def _crowd(adding: np.ndarray) -> float:
    """Of the pairs of players that act by themselves the share that adds something."""
    singles, pairs = adding[:, [1, 2, 4]], adding[:, [3, 5, 6]]
    acting = np.stack([singles[:, i] & singles[:, j] for i, j in combinations(range(3), 2)], 1)
    return float(pairs[acting].mean()) if acting.any() else 0.0
