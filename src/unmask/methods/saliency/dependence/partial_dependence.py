"""Partial dependence."""

from collections.abc import Sequence
from typing import SupportsIndex

from jaxtyping import Float
from torch import Tensor

from unmask.card import method
from unmask.methods.saliency.dependence import grid as grids
from unmask.results import Dependence
from unmask.score import Score


@method("friedman2001greedy")
def partial_dependence(
    score: Score,
    data: Float[Tensor, "batch columns"],
    *,
    feature: SupportsIndex | Sequence[SupportsIndex],
    grid: Tensor | Sequence[Tensor] | None = None,
    steps: int = grids.STEPS,
    percentiles: tuple[float, float] = grids.MIDDLE,
    categorical: Sequence[int] = (),
    weights: Float[Tensor, " weights"] | None = None,
    names: Sequence[str] | None = None,
    batch_size: int | None = None,
) -> Dependence:
    r"""Set a column to one value in every row, average the score over the rows, and try all values.

    $$
    \bar F_S(t) = \sum_i w_i\, F\bigl(t,\, x^{(i)}_{C}\bigr), \qquad \sum_i w_i = 1
    $$

    S is the column, or two of them, and C all others, which stay as they are in each row. So the
    average is over the marginal distribution of the others, not over those that go with t: where
    columns depend on each other it asks the model about rows that never occur. `observed` keeps the
    columns as they are, so that a picture shows where data are rare. An average hides
    opposite effects in different rows; `ice` shows each row.

    Only the score is called, so the model may be anything: of a forest of scikit-learn, say,
    `Score(lambda x: torch.as_tensor(forest.predict(x.numpy())), lambda output, rows: output)`. A
    category that is spread over several columns moves as one if the model takes its code:
    `lambda x: model(one_hot(x))`, and the data hold the code.

    Args:
        score: F, of any model.
        data: the rows x.
        feature: S, the place of a column, or of two.
        grid: the values t, or a tensor of them for each of two columns; without it they are all
            values of the data, or, where there are as many as `steps`, spread evenly.
        steps: values of each column.
        percentiles: the quantiles of the data between which they are spread.
        categorical: columns of codes, whose values are all taken and none made up.
        weights: w, one per row, in any unit; without it all rows count the same.
        names: of all columns of the data.
        batch_size: inputs in one call of the model.

    >>> import torch
    >>> rows = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 6.0]])
    >>> product = Score(lambda x: x[:, 0] + x[:, 0] * x[:, 1], lambda output, rows: output)
    >>> partial_dependence(product, rows, feature=0).average
    tensor([0., 4., 8.])
    """
    size = grids.admit(score, data, batch_size)
    columns = grids.chosen(feature, data.shape[1])
    called = grids.named(names, columns, data.shape[1])
    data = data.detach()
    points = grids.laid(data, columns, grid, steps, percentiles, categorical)
    w = grids.weighed(weights, data)

    total = w.new_zeros(len(points))
    for rows, some, values in grids.responses(score, data, columns, points, size):
        total[some] += values @ w[rows]
    average = total / w.sum()
    return Dependence(points, average.to(data.dtype), observed=data[:, list(columns)], names=called)
