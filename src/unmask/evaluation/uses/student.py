"""A student who is to foresee what a network will answer."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.internals import plain


def foreseen(rows: Float[Tensor, "batch numbers"], answers: Int[Tensor, " batch"]) -> float:
    """How often a linear student foresees answers after he was shown others like them.

    He is a ridge classifier of standardised numbers, with a penalty of 1. Each half of the rows is
    foreseen by what the other half taught.

    Args:
        rows: what he sees.
        answers: what he is to say.
    """
    seen, said = plain(rows).double(), plain(answers).to(rows.device)
    half = len(seen) // 2
    right = 0
    for taught, asked in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        foretold = _foretold(seen[taught], said[taught], seen[asked])
        right += int((foretold == said[asked]).sum())
    return right / len(seen)


def _foretold(taught: Tensor, said: Tensor, asked: Tensor) -> Int[Tensor, " asked"]:
    mean, spread = taught.mean(0), taught.std(0, correction=0)
    spread = torch.where(spread > 1e-12 * mean.abs(), spread, 1)  # a constant tells nothing
    x, new = (taught - mean) / spread, (asked - mean) / spread
    classes = said.unique()
    y = (said[:, None] == classes).double()
    share = y.mean(0)
    one = torch.ones(min(x.shape), dtype=x.dtype, device=x.device).diag()
    if x.shape[1] < len(x):
        slope = torch.linalg.solve(x.T @ x + one, x.T @ (y - share))
    else:  # the same, with as many equations as rows
        slope = x.T @ torch.linalg.solve(x @ x.T + one, y - share)
    return classes[(new @ slope + share).argmax(1)]
