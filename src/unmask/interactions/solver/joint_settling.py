"""From nearly zero to zero, for several networks: terms that splitting leaves tiny."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.interactions.solver.joint_programme import JointBest
from unmask.interactions.solver.programme import DISJOINT
from unmask.lattice import transform

RIDGE = 1e-12
"""Added to the diagonal, as equations may depend on each other."""
ROUNDS = 6
"""Corrections of the rounding that a dense solve leaves, at most."""
ROUNDING = 2e-14
"""What a silent term may be, as a share of the largest dividend."""


def joint_settle(best: JointBest, precision: float) -> None:
    """Set what shrinking has set to zero to zero for good, and move the others to make up for it.

    After finitely many iterations splitting shrinks the right terms to nothing, while the exact
    terms beside them still creep towards it. Of each network, the OR terms that are left move as
    little as it takes for its silent AND terms to vanish. What comes out is taken if they do, to
    the last digits, and if the gap that was asked for, or else the one reached, is kept.

    Args:
        best: what splitting found.
        precision: the gap that was asked for.
    """
    problem = best.problem
    tiny = ROUNDING * problem.w.abs().amax((1, 2))
    dearest = torch.maximum(best.upper, best.lower / (1 - min(precision, 0.5)))
    for row in range(len(problem.w)):
        own = problem.rows(torch.tensor([row], device=problem.w.device))
        q = None if best.q is None else best.q[row][None]
        silent = best.short[0, row] == 0
        silent[:, 0] = False
        without = own.and_terms(torch.zeros_like(own.w), q)[0]
        y = own.merged(best.short[1, row][None])[0]
        y = torch.stack([_hushed(*parts) for parts in zip(without, y, silent, strict=True)])
        loud = own.and_terms(y[None], q)[0][silent].abs()
        cost = own.cost(y[None], q)[0]
        if cost <= dearest[row] and (loud <= tiny[row]).all():
            best.y[row], best.upper[row], best.silent[row] = y, cost, silent


def _hushed(
    without: Float[Tensor, " coalitions"],
    y: Float[Tensor, " coalitions"],
    silent: Bool[Tensor, " coalitions"],
) -> Float[Tensor, " coalitions"]:
    """The nearest y of the same terms in which the silent entries of x are zero, or nearly.

    Args:
        without: x where y is zero.
        y: OR terms.
        silent: entries of x.
    """
    place = torch.arange(len(y), device=y.device)
    rows, used = place[silent], place[y != 0]
    if not len(rows) or not len(used):
        return y
    # An OR and an AND term, as they are held here, meet where they share no player.
    meet = (rows[:, None] & used == 0).to(y)
    wide = meet.shape[1] >= meet.shape[0]
    square = meet @ meet.T if wide else meet.T @ meet
    square.diagonal().add_(RIDGE * square.diagonal().mean())
    factor, failed = torch.linalg.cholesky_ex(square)
    if bool(failed):
        return y
    before = torch.inf
    for _ in range(ROUNDS):
        loud = (without + transform(y[None], DISJOINT)[0])[rows]
        size = float(loud.abs().amax())
        if size == 0 or size > before / 2:
            break
        before = size
        if wide:
            move = meet.T @ torch.cholesky_solve(loud[:, None], factor)
        else:
            move = torch.cholesky_solve(meet.T @ loud[:, None], factor)
        y = y.index_add(0, used, move[:, 0], alpha=-1)
    return y
