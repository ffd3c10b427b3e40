"""Lines with one bend, fitted by trying every place of the bend: a valley, a hinge, no bend."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

GRID = 200
"""Places that are tried, besides the points themselves."""


@dataclass(frozen=True)
class Bent:
    """The best line with a bend, of each row of what is fitted.

    Args:
        place: c, where it bends.
        error: the weighted sum of squares that it leaves.
        before: slope up to the bend.
        after: slope from the bend on.
        fitted: its values at the points.
    """

    place: Float[Tensor, " rows"]
    error: Float[Tensor, " rows"]
    before: Float[Tensor, " rows"]
    after: Float[Tensor, " rows"]
    fitted: Float[Tensor, "rows points"]


def valley(
    s: Float[Tensor, " points"], y: Float[Tensor, "rows points"], weights: Float[Tensor, " points"]
) -> Bent:
    r"""The best line that falls up to a bend and rises from there.

    $$
    y(s) = a + b_1 \min(s - c, 0) + b_2 \max(s - c, 0), \qquad b_1 \le 0 \le b_2
    $$

    A row that only falls bends at its end, one that only rises at its beginning.

    Args:
        s: where the points are; those beyond `shoulders` may be drawn in to these.
        y: what is fitted, row by row.
        weights: of the points.
    """
    grid = _grid(s)
    fits = [
        _Fits(s, _inside(s, grid), weights, before=True, after=True),
        _Fits(s, grid[1:], weights, before=True, after=False),
        _Fits(s, grid[:-1], weights, before=False, after=True),
        _Fits(s, grid[:1], weights, before=False, after=False),
    ]
    return _best(fits, y, lambda b1, b2: (b1 <= 0) & (b2 >= 0))


def shoulders(
    s: Float[Tensor, " points"], y: Float[Tensor, " points"], weights: Float[Tensor, " points"]
) -> tuple[float, float]:
    r"""Where a valley begins and ends, if the course is level before or after it.

    $$
    y(s) \approx a + b_1 \min(\bar s - c, 0) + b_2 \max(\bar s - c, 0), \qquad
    \bar s = \min(\max(s, d), e)
    $$

    d and e are sought among the points. A shoulder inside the course must earn its place, by the
    information criterion of Schwarz, and so must the valley beside a straight line; d is else the
    first point, and e the last.

    Args:
        s: where the points are, rising.
        y: what is fitted.
        weights: of the points.
    """
    count = len(s)
    places = torch.arange(count)
    d, c, e = (one.flatten() for one in torch.meshgrid(places, places, places, indexing="ij"))
    proper = (d < c) & (c < e)
    d, c, e = d[proper], c[proper], e[proper]
    away = s.clamp(min=s[d, None], max=s[e, None]) - s[c, None]
    columns = torch.stack([torch.ones_like(away), away.clamp(max=0), away.clamp(min=0)], -1)
    weighted = columns * weights[:, None]
    gram = columns.mT @ weighted
    found = torch.linalg.solve(gram, weighted.mT @ y)
    error = ((y - (columns @ found[..., None])[..., 0]).square() * weights).mean(1)
    # Of an error that is rounding, no part of it is worth a shoulder.
    least = 1e-18 * float(y.abs().max()) ** 2
    inner = (d > 0).double() + (e < count - 1)
    price = count * error.clamp(min=least).log() + math.log(count) * inner
    price = torch.where((found[:, 1] <= 0) & (found[:, 2] >= 0), price, torch.inf)
    best = int(price.argmin())
    # A straight line does without the bend and without a second slope.
    _, line = straight(s, y[None], weights)
    line = count * (line / count).clamp(min=least).log() - 2 * math.log(count)
    if not float(price[best]) < float(line):
        return float(s[0]), float(s[-1])
    return float(s[d[best]]), float(s[e[best]])


def any_bend(
    s: Float[Tensor, " points"], y: Float[Tensor, "rows points"], weights: Float[Tensor, " points"]
) -> Bent:
    """The best line with one bend, whatever its slopes.

    Args:
        s: where the points are, rising.
        y: what is fitted, row by row.
        weights: of the points.
    """
    places = _inside(s, _grid(s))
    return _best([_Fits(s, places, weights, before=True, after=True)], y, None)


def hinge(
    s: Float[Tensor, " points"], y: Float[Tensor, "rows points"], weights: Float[Tensor, " points"]
) -> Bent:
    r"""The best line that is level up to a bend and rises from there.

    $$
    y(s) = a + b \max(s - g, 0), \qquad b \ge 0
    $$

    A row that never rises bends at its end.

    Args:
        s: where the points are, rising.
        y: what is fitted, row by row.
        weights: of the points.
    """
    grid = _grid(s)
    fits = [
        _Fits(s, grid[:-1], weights, before=False, after=True),
        _Fits(s, grid[-1:], weights, before=False, after=False),
    ]
    return _best(fits, y, lambda b1, b2: b2 >= 0)


def straight(
    s: Float[Tensor, " points"], y: Float[Tensor, "rows points"], weights: Float[Tensor, " points"]
) -> tuple[Float[Tensor, "rows points"], Float[Tensor, " rows"]]:
    """The best straight line of each row at the points, and the weighted squares that it leaves.

    Args:
        s: where the points are.
        y: what is fitted, row by row.
        weights: of the points.
    """
    columns = torch.stack([torch.ones_like(s), s], 1)
    solve = torch.linalg.pinv(columns * weights.sqrt()[:, None]) * weights.sqrt()
    fitted = y @ solve.T @ columns.T
    return fitted, ((y - fitted).square() * weights).sum(1)


def _inside(s: Tensor, grid: Tensor) -> Float[Tensor, " places"]:
    """Places with two points or more on either side, the place among them."""
    points = s.unique()
    return grid[(grid >= points[1]) & (grid <= points[-2])]


def _grid(s: Tensor) -> Float[Tensor, " places"]:
    between = torch.linspace(float(s[0]), float(s[-1]), GRID, dtype=s.dtype, device=s.device)
    between[0], between[-1] = s[0], s[-1]
    return torch.cat([s, between]).unique()


class _Fits:
    """The designs of one kind of line at many bends, solved once for any number of rows."""

    def __init__(
        self, s: Tensor, places: Tensor, weights: Tensor, *, before: bool, after: bool
    ) -> None:
        away = s - places[:, None]
        zero = torch.zeros_like(away)
        self.places = places
        self.columns = torch.stack(
            [
                torch.ones_like(away),
                away.clamp(max=0) if before else zero,
                away.clamp(min=0) if after else zero,
            ],
            dim=-1,
        )
        root = weights.sqrt()
        self.solve = torch.linalg.pinv(self.columns * root[:, None]) * root
        self.root = root

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor]:
        coefficients = torch.einsum("gkp,rp->rgk", self.solve, y)
        fitted = torch.einsum("gpk,rgk->rgp", self.columns, coefficients)
        error = ((y[:, None] - fitted) * self.root).square().sum(-1)
        return coefficients, error


def _best(fits: list[_Fits], y: Tensor, allowed: Callable[[Tensor, Tensor], Tensor] | None) -> Bent:
    places = torch.cat([fit.places for fit in fits])
    columns = torch.cat([fit.columns for fit in fits])
    found: list[tuple[Tensor, ...]] = []
    for rows in y.split(max(1, 2**22 // columns[..., 0].numel())):
        coefficients, errors = (
            torch.cat(parts, 1) for parts in zip(*(fit(rows) for fit in fits), strict=True)
        )
        if allowed is not None:
            fine = allowed(coefficients[..., 1], coefficients[..., 2])
            errors = torch.where(fine, errors, torch.inf)
        error, best = errors.min(1)
        chosen = coefficients[torch.arange(len(rows)), best]
        fitted = torch.einsum("rpk,rk->rp", columns[best], chosen)
        found.append((places[best], error, chosen[:, 1], chosen[:, 2], fitted))
    return Bent(*(torch.cat(parts) for parts in zip(*found, strict=True)))
