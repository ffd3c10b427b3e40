"""Individual conditional expectation."""

from collections.abc import Sequence
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.internals import value_and_gradient
from unmask.methods.saliency.dependence import grid as grids
from unmask.results import Dependence
from unmask.score import Score


@method("goldstein2015peeking")
def ice(
    score: Score,
    data: Float[Tensor, "batch columns"],
    *,
    feature: SupportsIndex | Sequence[SupportsIndex],
    grid: Tensor | Sequence[Tensor] | None = None,
    centre: float | Sequence[float] | None = None,
    steps: int = grids.STEPS,
    percentiles: tuple[float, float] = grids.MIDDLE,
    categorical: Sequence[int] = (),
    weights: Float[Tensor, " weights"] | None = None,
    names: Sequence[str] | None = None,
    batch_size: int | None = None,
) -> Dependence:
    r"""Set a column of a row to one value after the other and draw the score: a curve per row.

    $$
    F_i(t) = F\bigl(t,\, x^{(i)}_{C}\bigr) - F\bigl(t_0,\, x^{(i)}_{C}\bigr)
    $$

    The last term only where a centre is given. S is the column, or two of them, and C all others,
    which stay as they are in row i. The mean of the curves is the partial dependence. Curves that
    are parallel mean that the column acts by itself, and centred they are one; where they cross,
    others decide what it does. Like partial dependence, the curves speak of rows that may never
    occur.

    All rows times all values are kept: for many rows give a part of them.

    Args:
        score: F, of any model.
        data: the rows x.
        feature: S, the place of a column, or of two.
        grid: the values t, or a tensor of them for each of two columns; without it they are all
            values of the data, or, where there are as many as `steps`, spread evenly.
        centre: the value at which every curve is zero, one for each column; it need not be in the
            grid.
        steps: values of each column.
        percentiles: the quantiles of the data between which they are spread.
        categorical: columns of codes, whose values are all taken and none made up.
        weights: how much each row counts for the average, in any unit.
        names: of all columns of the data.
        batch_size: inputs in one call of the model.

    >>> rows = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 6.0]])
    >>> product = Score(lambda x: x[:, 0] + x[:, 0] * x[:, 1], lambda output, rows: output)
    >>> ice(product, rows, feature=0, centre=1.0).curves
    tensor([[-2.,  0.,  2.],
            [-3.,  0.,  3.],
            [-7.,  0.,  7.]])
    """
    size = grids.admit(score, data, batch_size)
    columns = grids.chosen(feature, data.shape[1])
    called = grids.named(names, columns, data.shape[1])
    data = data.detach()
    points = grids.laid(data, columns, grid, steps, percentiles, categorical)
    w = grids.weighed(weights, data)
    at = points if centre is None else torch.cat([points, _centre(centre, columns, data)])

    curves = torch.empty(len(at), len(data), dtype=torch.float64, device=data.device)
    for rows, some, values in grids.responses(score, data, columns, at, size):
        curves[some, rows] = values
    if centre is not None:
        curves = curves[:-1] - curves[-1]
    return _dependence(points, curves, w, data, columns, called)


@method("goldstein2015peeking")
def ice_derivative(
    score: Score,
    data: Float[Tensor, "batch columns"],
    *,
    feature: SupportsIndex,
    grid: Tensor | None = None,
    steps: int = grids.STEPS,
    percentiles: tuple[float, float] = grids.MIDDLE,
    weights: Float[Tensor, " weights"] | None = None,
    names: Sequence[str] | None = None,
    batch_size: int | None = None,
) -> Dependence:
    r"""Ask of every row how fast the score changes with a column, at one value after the other.

    $$
    d_i(t) = \frac{\partial}{\partial t} F\bigl(t,\, x^{(i)}_{C}\bigr)
    $$

    The derivative is that of the model itself, not of a smoothed curve as in the paper. If the
    column acts by itself all rows agree, so the spread over the rows, `curves.std(0)`, shows where
    it interacts with others. A network with kinks (ReLU) has derivatives with jumps. Of a model
    without gradients take differences: `torch.gradient(curves, spacing=(t,), dim=1)` of `ice`.

    Args:
        score: F, differentiable in its input.
        data: the rows x.
        feature: the place of the column.
        grid: the values t; without it they are chosen as for `ice`.
        steps: values of the column.
        percentiles: the quantiles of the data between which they are spread.
        weights: how much each row counts for the average, in any unit.
        names: of all columns of the data.
        batch_size: inputs in one call of the model.

    >>> rows = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 6.0]])
    >>> product = Score(lambda x: x[:, 0] + x[:, 0] * x[:, 1], lambda output, rows: output)
    >>> ice_derivative(product, rows, feature=0, grid=torch.tensor([0.0, 2.0])).curves
    tensor([[2., 2.],
            [3., 3.],
            [7., 7.]])
    """
    size = grids.admit(score, data, batch_size)
    columns = grids.chosen(feature, data.shape[1])
    if len(columns) != 1:
        raise ValueError(
            f"A derivative is taken along one column, but feature is {feature!r}. "
            "Give the place of one."
        )
    called = grids.named(names, columns, data.shape[1])
    data = data.detach()
    points = grids.laid(data, columns, grid, steps, percentiles, ())
    w = grids.weighed(weights, data)

    curves = torch.empty(len(points), len(data), dtype=torch.float64, device=data.device)
    for rows, some, x, index in grids.moved(data, columns, points, size):
        _, gradient = value_and_gradient(score, x, index)
        slope = gradient[:, columns[0]].double().view(some.stop - some.start, -1)
        curves[some, rows] = slope
    return _dependence(points, curves, w, data, columns, called)


def _centre(
    centre: float | Sequence[float], columns: Sequence[int], data: Tensor
) -> Float[Tensor, "1 columns"]:
    place = data.new_tensor([centre] if isinstance(centre, int | float) else [*centre])
    if place.shape != (len(columns),) or not place.isfinite().all():
        raise ValueError(
            f"A centre is a number for each of the {len(columns)} columns, but got {centre!r}. "
            "Give the value at which the curves should be zero."
        )
    return place[None]


def _dependence(
    points: Float[Tensor, "points columns"],
    curves: Float[Tensor, "points rows"],
    w: Float[Tensor, " rows"],
    data: Float[Tensor, "rows width"],
    columns: Sequence[int],
    names: tuple[str, ...] | None,
) -> Dependence:
    return Dependence(
        points,
        average=(curves @ w / w.sum()).to(data.dtype),
        curves=curves.T.to(data.dtype).contiguous(),
        observed=data[:, list(columns)],
        names=names,
    )
