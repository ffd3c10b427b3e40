"""A few questions that tell whether a game has few terms, and of which logic."""

from dataclasses import dataclass

import numpy as np
import torch

from unmask.interactions.sparse.purse import Purse
from unmask.lattice import MOEBIUS, coalitions, transform

_TRIPLES = 12
"""Sets of three players, asked for from either side."""
_FEW = 64
"""Of the budget, the part that these questions may take at most."""


@dataclass(frozen=True)
class Probe:
    """What was seen of a game's small sets.

    Args:
        sparse: whether most sets of three players add nothing, from one side at least.
        mirrored: whether fewer players add something from the full coalition than from the empty.
        of_pairs: whether no set of three adds anything on that side, and most pairs do.
    """

    sparse: bool
    mirrored: bool
    of_pairs: bool


def probe(purse: Purse, players: int, rounding: float, random: np.random.Generator) -> Probe:
    r"""Ask for the dividends of some sets of three players, and of those of the mirrored game.

    Among AND terms of few players hardly a set of three has a dividend; in a network that is not
    planted, nearly all have. OR terms look so from the full coalition.

    Args:
        purse: the game; without room for a few triples nothing is asked.
        players: n.
        rounding: the size of a difference that may be rounding or noise.
        random: chooses the sets.
    """
    triples = min(_TRIPLES, purse.budget // _FEW)
    if triples < 2 or players < 3 or 16 * triples > purse.left // 4:
        return Probe(sparse=False, mirrored=False, of_pairs=False)
    inside = np.zeros((triples, 8, players), dtype=bool)
    pattern = coalitions(3).numpy()
    for row in inside:
        row[:, random.permutation(players)[:3]] = pattern
    flat = inside.reshape(-1, players)
    values = purse.ask(np.concatenate([flat, ~flat]))
    table = torch.from_numpy(values).view(2, triples, 8)
    dividends = transform(table, MOEBIUS).abs().numpy()
    rounding = max(rounding, purse.tolerance)
    idle = (dividends[..., 7] <= rounding * 8**0.5).mean(1)
    active = (dividends[..., [1, 2, 4]] > rounding * 2**0.5).mean((1, 2))
    pairs = (dividends[..., [3, 5, 6]] > rounding * 4**0.5).mean((1, 2))
    # From the side from which terms are whole, fewer players do something by themselves.
    mirrored = bool(active[1] < active[0])
    side = int(mirrored)
    return Probe(
        sparse=bool(idle[side] >= 0.5),
        mirrored=mirrored,
        of_pairs=bool(idle[side] == 1 and pairs[side] > 0.5),
    )
