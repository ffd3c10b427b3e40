"""How many AND interactions can be salient, from the mean output per number of players shown."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_NEXT_TO = 1e-9
"""A number as near as this to a whole one is meant to be whole."""


@dataclass(frozen=True)
class Exponents:
    """The constants of the bound.

    Args:
        delta: of the total, which grows as n^(p + delta) / tau.
        limit: what delta is at most if the three conditions hold.
    """

    delta: float
    limit: float


def growth(mean: Float[Tensor, " orders"]) -> tuple[float, float]:
    """The exponent p: from one player to m, and from any number of players to any other.

    It is the least with ubar(m') >= (m'/m)^p ubar(m) for m' < m, with m' = 1 and with every m';
    infinite where there is none. Of numbers below zero no p makes any difference for the better.

    Args:
        mean: ubar(1), ..., ubar(n).
    """
    from_one, from_any = 0.0, 0.0
    rounding = _NEXT_TO * float(mean.abs().max())
    means = torch.where(mean.abs() <= rounding, 0.0, mean).tolist()
    for m, after in enumerate(means, start=1):
        for m_before, before in enumerate(means[: m - 1], start=1):
            if before > 0 and after > 0:
                p = math.log(after / before) / math.log(m / m_before)
            elif before >= 0 and after <= 0:
                p = 0.0
            else:
                p = math.inf
            from_any = max(from_any, p)
            if m_before == 1:
                from_one = max(from_one, p)
    return from_one, from_any


def exponents(
    total: Float[Tensor, " orders"], mean: Float[Tensor, " orders"], p: float, order: int
) -> Exponents:
    r"""Find delta, and the limit that the conditions set to it.

    The sum of all effects of order k, in units of ubar(1), is written to the base n. Its digits
    from floor(p) on make $\lambda_k n^{p + \delta}$, with the largest $|\lambda_k| = 1$. The mean
    outputs $\bar u(m)$ are mixtures of these sums and lie between 0 and $n^p \bar u(1)$, which
    leaves delta little room. Both are NaN where they are not defined.

    Args:
        total: the sums for k = 1, ..., n.
        mean: ubar(1), ..., ubar(n).
        p: as found by `growth`.
        order: M, the highest order with interactions.
    """
    n = len(total)
    undefined = Exponents(math.nan, math.nan)
    if n < 2 or order < 1 or not mean[0] > 0 or not math.isfinite(p):
        return undefined
    first_digit = float(n ** math.floor(p + _NEXT_TO))
    high, low = [], []
    for k in range(1, order + 1):
        in_units = float(n) if k == 1 else float(total[k - 1] / mean[0])
        size = abs(in_units)
        nearest = round(size)
        size = float(nearest) if abs(size - nearest) <= _NEXT_TO * max(1, size) else size
        upper = first_digit * (size // first_digit) if first_digit > 1 else size
        high.append(math.copysign(upper, in_units))
        low.append(math.copysign(size - upper, in_units))
    largest = max(abs(upper) for upper in high)
    if largest == 0:
        return undefined
    delta = math.log(largest, n) - p

    limits = []
    for m in range(max(order, n - order), n + 1):
        share = [math.comb(m, k) / math.comb(n, k) for k in range(1, order + 1)]
        slope = sum(s * upper / largest for s, upper in zip(share, high, strict=True))
        rest = sum(s * lower for s, lower in zip(share, low, strict=True)) * n**-p
        room = 1 - rest if slope > 0 else rest
        if abs(slope) >= 1e-8 and room > 0:
            limits.append(math.log(room / abs(slope), n))
    return Exponents(delta, min(limits, default=math.nan))
