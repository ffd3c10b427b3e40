"""How alike two rows of numbers are, for many rows at once. Where a row is constant: NaN."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def constant(rows: Float[Tensor, "*batch numbers"]) -> Bool[Tensor, "*batch"]:
    """Which rows say the same of everything, so that they rank nothing."""
    return (rows == rows[..., :1]).all(-1)


def pearson(
    one: Float[Tensor, "*batch numbers"], other: Float[Tensor, "*batch numbers"]
) -> Float[Tensor, "*batch"]:
    r"""The correlation of two rows.

    $$
    \rho = \frac{\langle a - \bar a, b - \bar b \rangle}
                {\lVert a - \bar a \rVert\, \lVert b - \bar b \rVert}
    $$
    """
    one, other = one.double(), other.double()
    undefined = constant(one) | constant(other)
    # Scaled first, so that squares of the very small do not vanish.
    a, b = (_scaled(rows - rows.mean(-1, keepdim=True)) for rows in (one, other))
    rho = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return torch.where(undefined, torch.nan, rho.clamp(-1, 1))


def spearman(
    one: Float[Tensor, "*batch numbers"], other: Float[Tensor, "*batch numbers"]
) -> Float[Tensor, "*batch"]:
    """The correlation of the ranks of two rows."""
    return pearson(ranks(one), ranks(other))


def ranks(rows: Float[Tensor, "*batch numbers"]) -> Float[Tensor, "*batch numbers"]:
    """The places in ascending order, from 1; equal numbers share the mean of their places."""
    ordered, order = rows.sort(-1)
    place = torch.arange(rows.shape[-1], device=rows.device).expand_as(order)
    new = ordered[..., 1:] != ordered[..., :-1]
    edge = torch.ones_like(ordered[..., :1], dtype=torch.bool)
    first = torch.where(torch.cat([edge, new], -1), place, 0).cummax(-1).values
    last = torch.where(torch.cat([new, edge], -1), place, place.shape[-1])
    last = last.flip(-1).cummin(-1).values.flip(-1)
    shared = (first + last + 2).double() / 2
    return torch.empty_like(shared).scatter_(-1, order, shared)


def _scaled(rows: Tensor) -> Tensor:
    most = rows.abs().amax(-1, keepdim=True)
    return rows / torch.where(most > 0, most, 1)
