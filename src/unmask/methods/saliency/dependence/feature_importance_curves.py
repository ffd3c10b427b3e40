"""Importance of a column along its values, row by row, and in one number."""

from collections.abc import Sequence
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.methods.saliency.dependence import grid as grids
from unmask.methods.saliency.dependence.mixtures import paired, scores
from unmask.results import Attribution, Dependence
from unmask.score import Score


@method("casalicchio2018visualizing")
def feature_importance_curves(
    score: Score,
    data: Float[Tensor, "batch columns"],
    *,
    feature: SupportsIndex,
    grid: Tensor | None = None,
    names: Sequence[str] | None = None,
    batch_size: int | None = None,
) -> Dependence:
    r"""Set a column to one value after the other and see how much each row's loss grows.

    $$
    \mathrm{ICI}_i(t) = L\bigl(t,\, x^{(i)}_{C}\bigr) - L\bigl(x^{(i)}\bigr), \qquad
    \mathrm{PI}(t) = \tfrac1n \sum_i \mathrm{ICI}_i(t)
    $$

    S is the column, C all others. The curves of the result are ICI, one per row; their average PI
    is the curve of partial importance. Its mean over the values of all rows, each as often as it
    occurs, is the permutation importance of the column (over all pairs of rows), and the mean of
    one row's curve is the importance for that row. A curve falls below zero where the value would
    make the row's loss smaller.

    The score is a loss with an answer for each row: `unmask.loss(model, labels)` for classes. For
    numbers, one writes the reading: the answer of a row that was multiplied is found by `rows`.

    ```
    def squared(output, rows):
        return (output[:, 0] - (y if rows is None else y[rows])) ** 2

    score = Score(model, squared, "squared error", targets=len(y))
    ```

    Args:
        score: L, the loss of each row.
        data: the rows x.
        feature: S, the place of the column.
        grid: the values t; without it all that occur in the data.
        names: of all columns of the data.
        batch_size: inputs in one call of the model.

    >>> y = torch.tensor([0.0, 1.0])
    >>> def squared(output, rows):
    ...     return (output - (y if rows is None else y[rows])) ** 2
    >>> error = Score(lambda x: x[:, 0], squared, "squared error", targets=2)
    >>> feature_importance_curves(error, y[:, None], feature=0).curves
    tensor([[0., 1.],
            [1., 0.]])
    """
    size = grids.admit(score, data, batch_size)
    columns = grids.chosen(feature, data.shape[1])
    if len(columns) != 1:
        raise ValueError(
            f"Importance curves are over one column, but feature is {feature!r}. "
            "Give the place of one."
        )
    _several(data)
    called = grids.named(names, columns, data.shape[1])
    data = data.detach()
    every = columns if grid is None else ()  # all values that occur, however many
    points = grids.laid(data, columns, grid, grids.STEPS, grids.MIDDLE, categorical=every)

    curves = torch.empty(len(points), len(data), dtype=torch.float64, device=data.device)
    for rows, some, values in grids.responses(score, data, columns, points, size):
        curves[some, rows] = values
    curves -= grids.as_they_are(score, data, size)
    return Dependence(
        points,
        average=curves.mean(1).to(data.dtype),
        curves=curves.T.to(data.dtype).contiguous(),
        observed=data[:, list(columns)],
        names=called,
    )


@method("casalicchio2018visualizing", "breiman2001random", "fisher2019all")
def permutation_importance(
    score: Score,
    data: Float[Tensor, "batch columns"],
    *,
    samples: int | None = None,
    apart: bool = True,
    names: Sequence[str] | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Give every row another row's value of a column and see how much the loss grows on average.

    $$
    \mathrm{PFI}_j = \frac{1}{n(n-1)} \sum_i \sum_{k \ne i}
        \Bigl( L\bigl(x^{(k)}_j,\, x^{(i)}_{-j}\bigr) - L\bigl(x^{(i)}\bigr) \Bigr)
    $$

    Over all pairs of rows this is exact. With `samples`, each row meets that many others, drawn
    without repetition, and `errors` are standard errors. Pairs of a row with itself add nothing;
    counted too, as where rows are shuffled, they make the importance smaller by (n - 1) / n: so
    does scikit-learn.

    Where columns depend on each other the shuffled rows may be ones that never occur.

    Args:
        score: L, the loss of each row: `unmask.loss(model, labels)`, or one made by hand as
            `feature_importance_curves` tells.
        data: the rows x.
        samples: rows that lend each row a value; without it all n - 1 others, which takes n (n - 1)
            inputs per column.
        apart: leaves out the pairs of a row with itself.
        names: of the columns.
        generator: chooses them.
        batch_size: inputs in one call of the model.

    >>> y = torch.tensor([0.0, 1.0])
    >>> def squared(output, rows):
    ...     return (output - (y if rows is None else y[rows])) ** 2
    >>> error = Score(lambda x: x[:, 0], squared, "squared error", targets=2)
    >>> permutation_importance(error, y[:, None]).values
    tensor([[1.]])
    >>> permutation_importance(error, y[:, None], apart=False).values
    tensor([[0.5000]])
    """
    size = grids.admit(score, data, batch_size)
    _several(data)
    count, width = data.shape
    called = grids.named(names, range(width), width)
    data = data.detach()
    draws = paired(data, samples, generator, apart=True)
    kept = ~torch.eye(width, dtype=torch.bool, device=data.device)
    plain = grids.as_they_are(score, data, size)
    growth = torch.empty(width, len(draws), dtype=torch.float64, device=data.device)
    for column, draw, found in scores(score, data, kept, draws, size):
        growth[column, draw] = (found - plain).mean(1)
    scale = 1.0 if apart else (count - 1) / count
    errors = None
    if 1 < len(draws) < count - 1:
        # Drawn without repetition, of which there are n - 1: the more, the surer.
        left = 1 - len(draws) / (count - 1)
        errors = scale * growth.std(1) * (left / len(draws)) ** 0.5
    return Attribution(
        (scale * growth.mean(1))[None].to(data.dtype),
        names=called,
        evaluations=count * (width * len(draws) + 1),
        errors=None if errors is None else errors[None].to(data.dtype),
    )


def _several(data: Tensor) -> None:
    if len(data) < 2:
        raise ValueError(
            "An importance exchanges values between rows, but there is only one row. "
            "Give at least two."
        )
