"""The sparsest AND-OR terms of many games, found together."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from unmask.game import Game
from unmask.interactions.and_or import STEPS, OrderWeights, and_or_tables
from unmask.results import Interactions


def and_or_games(
    games: Sequence[Game],
    *,
    tolerance: float = 0.0,
    order_weights: OrderWeights | None = None,
    precision: float | None = None,
    steps: int = STEPS,
) -> tuple[Interactions, ...]:
    """`and_or` of each game; those of equally many players are solved as one batch.

    The solver works on many tables at once in little more time than on one. The values of one game
    are asked for after those of another, so that the model sees one input's masks at a time.

    Args:
        games: with few enough players for a table each; their players may differ.
        tolerance: as in `and_or`.
        order_weights: as in `and_or`.
        precision: as in `and_or`.
        steps: as in `and_or`.
    """
    tables = [game.table() for game in games]
    found: dict[int, Interactions] = {}
    for players in sorted({len(game.names) for game in games}):
        rows = [row for row, game in enumerate(games) if len(game.names) == players]
        solved = and_or_tables(
            torch.stack([tables[row] for row in rows]),
            games[rows[0]].names,
            tolerance=tolerance,
            order_weights=order_weights,
            precision=precision,
            steps=steps,
        )
        for row, terms in zip(rows, solved, strict=True):
            found[row] = replace(terms, names=games[row].names)
    return tuple(found[row] for row in range(len(games)))
