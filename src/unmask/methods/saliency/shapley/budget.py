"""How many coalitions may be evaluated, and when to evaluate them all instead."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from unmask.game import Game
from unmask.methods.saliency.shapley.shapley_exact import shapley_exact
from unmask.results import Attribution

MOST = 2**20
"""Coalitions that are evaluated at most to reach an error, where no other limit is given."""


def rounds(players: int, samples: int | None, error: float | None, least: int) -> Iterator[int]:
    """How many coalitions to have evaluated after each round, up to all 2^n there are.

    Without an error there is one round. With one, each round has twice the coalitions of the last,
    and it is for the caller to stop when the error is small enough.

    Args:
        players: how many.
        samples: the most coalitions.
        error: what is wanted.
        least: coalitions that the estimate needs.
    """
    if error is not None and not error > 0:
        raise ValueError(
            f"No sampling reaches a standard error of {error}. Give a number above 0, in the unit "
            "of the game's values."
        )
    default = 2 * players + 2048 if error is None else MOST
    most = default if samples is None else samples
    everything = 2**players
    least = min(least, everything)
    if most < least:
        raise ValueError(
            f"{most} coalitions do not tell {players} players apart. Give at least samples={least}."
        )
    size = most if error is None else min(most, max(least, 4 * players, 128))
    while size < min(most, everything):
        yield size
        size = 2 * size
    yield min(most, everything)


def exactly(game: Game) -> Attribution:
    """All coalitions, so nothing is left to chance: the standard errors are zero."""
    found = shapley_exact(game)
    return replace(found, errors=torch.zeros_like(found.values))
