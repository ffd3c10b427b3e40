"""Which solver finds the sparsest logic of a game, and how well it has to."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.interactions.solver.interior_point import STEPS as MOST
from unmask.interactions.solver.interior_point import interior_point
from unmask.interactions.solver.programme import Best, programme
from unmask.interactions.solver.settling import settle
from unmask.interactions.solver.splitting import splitting
from unmask.interactions.solver.tolerant_splitting import tolerant_splitting

FEW = 10
"""Players up to which the interior point method is the default: one step factors a matrix of
2^n rows, 20 ms at 10 players and eight times that for every player more."""
MANY_DIGITS = 1e-3
"""A gap above this is reached sooner by splitting."""
FINAL = 1e-9
"""Where the interior point method goes in any case: the last digits cost it one or two steps more,
and tell which terms are zero."""
MEMORY = 2**24
"""Entries of the matrices that the interior point method holds at a time."""


def sparsest(
    values: Float[Tensor, "batch coalitions"],
    *,
    weights: Float[Tensor, " orders"],
    noise: Float[Tensor, " batch"],
    precision: float | None,
    steps: int,
    start: Float[Tensor, "batch coalitions"] | None = None,
) -> Best:
    """The sparsest logic of each game that the steps allow, with what is proven about it.

    Args:
        values: tables of games whose empty coalition is worth zero.
        weights: of the L1 norm, per order from 0.
        noise: how far each logic may be off.
        precision: gap at which to stop; None for 1e-6 up to 10 players and 1e-2 beyond.
        steps: the most iterations.
        start: y of logics to start from, see `programme`.
    """
    problem = programme(values, weights, noise)
    best = Best(problem)
    every = torch.arange(len(values), device=values.device)
    best.offer_bound(every, problem.w.sign())  # tight where there is nothing to share
    if start is not None:
        best.offer(every, start)
    if precision is None:
        precision = 1e-6 if problem.players <= FEW else 1e-2
    limit = MANY_DIGITS if problem.players <= FEW else MANY_DIGITS / 100
    inwards = problem.players <= FEW + 2 and precision < limit
    if inwards:
        _inwards(best, precision, steps)
        start = best.y  # should a game have stopped short
    for tolerant in (False, True):
        rows = _open(best, precision, tolerant)
        if len(rows):
            own = best.part(rows)
            method = tolerant_splitting if tolerant else splitting
            begin = None if start is None else start[rows]
            method(own.problem, own, precision=precision, steps=steps, start=begin)
            best.put(rows, own)
    if not inwards and problem.players <= FEW:
        _inwards(best, precision, steps)  # costs of very different sizes can defeat splitting
    return best


def _inwards(best: Best, precision: float, steps: int) -> None:
    size = max(1, MEMORY // best.problem.w.shape[1] ** 2)
    for tolerant in (False, True):
        for rows in _open(best, precision, tolerant).split(size):
            own = best.part(rows)
            interior_point(
                own.problem, own, precision=min(precision, FINAL), steps=min(steps, MOST)
            )
            settle(own, precision)
            best.put(rows, own)


def _open(best: Best, precision: float, tolerant: bool) -> Int[Tensor, " rows"]:
    """Games with or without noise whose gap is not reached."""
    return ((best.gap > precision) & ((best.problem.noise > 0) == tolerant)).nonzero()[:, 0]
