"""Weighted linear regression on tensors, a batch of problems at once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def least_squares(
    x: Float[Tensor, "*batch rows columns"],
    y: Float[Tensor, "*batch rows"],
    weights: Float[Tensor, "*batch rows"] | None = None,
    ridge: float = 0.0,
) -> Float[Tensor, "*batch columns"]:
    r"""Fit y by a weighted sum of columns.

    $$
    \min_\beta \sum_r w_r (y_r - x_r \beta)^2 + \rho \lVert \beta \rVert_2^2
    $$

    Among equally good coefficients the shortest are taken, so columns may depend on each other.

    Args:
        x: columns; add one of ones for an intercept.
        y: what is fitted.
        weights: w, at least 0.
        ridge: rho.
    """
    if weights is not None:
        root = weights.sqrt()
        x, y = x * root[..., None], y * root
    if ridge > 0:
        columns = x.shape[-1]
        penalty = ridge**0.5 * torch.eye(columns, dtype=x.dtype, device=x.device)
        x = torch.cat([x, penalty.expand(*x.shape[:-2], columns, columns)], dim=-2)
        y = torch.cat([y, y.new_zeros(*y.shape[:-1], columns)], dim=-1)
    return (torch.linalg.pinv(x) @ y[..., None])[..., 0]


def lasso(
    x: Float[Tensor, "*batch rows columns"],
    y: Float[Tensor, "*batch rows"],
    penalty: float,
    weights: Float[Tensor, "*batch rows"] | None = None,
    steps: int = 1000,
) -> Float[Tensor, "*batch columns"]:
    r"""Fit y by few columns.

    $$
    \min_\beta \tfrac12 \sum_r w_r (y_r - x_r \beta)^2 + \lambda \lVert \beta \rVert_1
    $$

    By accelerated proximal gradient steps, restarted whenever they stop descending.

    Args:
        x: columns.
        y: what is fitted.
        penalty: lambda.
        weights: w, at least 0.
        steps: iterations.
    """
    if weights is not None:
        root = weights.sqrt()
        x, y = x * root[..., None], y * root
    gram = x.mT @ x
    target = (x.mT @ y[..., None])[..., 0]
    rate = 1 / torch.linalg.matrix_norm(gram, 2)[..., None].clamp_min(torch.finfo(x.dtype).tiny)
    beta = ahead = torch.zeros_like(target)
    momentum = torch.ones_like(rate)
    for _ in range(steps):
        gradient = (gram @ ahead[..., None])[..., 0] - target
        moved = ahead - rate * gradient
        new = moved - moved.clamp(-penalty * rate, penalty * rate)
        uphill = ((ahead - new) * (new - beta)).sum(-1, keepdim=True) > 0
        momentum = torch.where(uphill, 1.0, momentum)
        following = (1 + (1 + 4 * momentum**2).sqrt()) / 2
        ahead = new + torch.where(uphill, 0.0, (momentum - 1) / following) * (new - beta)
        beta, momentum = new, following
    return beta


_FOLLOWS = 1e-10
"""A column of which the others leave no more than this share follows from them."""


def explained_by_all(
    correlation: Float[Tensor, "both both"],
) -> Float[Tensor, " coalitions"]:
    r"""The share of y's variance that a regression on each set of columns explains.

    $$
    R^2(S) = r_S^\top R_{SS}^{-1} r_S
    $$

    Column by column, every set splits into one without it and one with it, and what a column
    explains of the others is taken off. The matrices shrink as the sets double, so that all 2^p
    together take some 12 times 2^p operations. Columns that follow from others explain nothing.

    Args:
        correlation: of p columns and, last, y.
    """
    left = correlation.double()[None]  # what each set so far leaves of the other columns and y
    while left.shape[-1] > 1:
        column = left[:, 1:, 0]
        size = left[:, 0, 0]
        inverse = torch.where(size > _FOLLOWS, 1 / size, 0)
        without = left[:, 1:, 1:]
        with_it = without - column[:, :, None] * (column * inverse[:, None])[:, None, :]
        left = torch.cat([without, with_it])
    return (correlation[-1, -1] - left[:, 0, 0]).clamp(0, 1)


def explained_in_order(
    correlation: Float[Tensor, "both both"], order: Int[Tensor, "orders columns"]
) -> Float[Tensor, "orders columns"]:
    """What each column adds to the explained share of y's variance when they enter in turn.

    It is the square of y's row of a Cholesky factor, taken of many orders at once.

    Args:
        correlation: of p columns and, last, y.
        order: the columns as they enter, an order per row.
    """
    p = order.shape[1]
    place = torch.cat([order, torch.full_like(order[:, :1], p)], 1)
    left = correlation.double()[place[:, :, None], place[:, None, :]]
    added = left.new_zeros(order.shape)
    for k in range(p):
        column = left[:, 1:, 0]
        size = left[:, 0, 0]
        inverse = torch.where(size > _FOLLOWS, 1 / size, 0)
        added[:, k] = column[:, -1].square() * inverse
        left = left[:, 1:, 1:] - column[:, :, None] * (column * inverse[:, None])[:, None, :]
    return torch.zeros_like(added).scatter(1, order, added)
