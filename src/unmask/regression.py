"""Weighted linear regression on tensors, a batch of problems at once."""

import torch
from jaxtyping import Float
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
