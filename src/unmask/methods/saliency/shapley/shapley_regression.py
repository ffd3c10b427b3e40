"""Shapley regression: how much of R^2 each column explains."""

from collections.abc import Sequence
from math import sqrt

import torch
from jaxtyping import Float, Shaped
from scipy.optimize import least_squares
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.game import LARGEST_TABLE, Game
from unmask.methods.saliency.shapley.shapley_exact import shapley_exact
from unmask.regression import explained_by_all, explained_in_order
from unmask.results import Attribution

_ORDERS = 1000
_AT_ONCE = 2**22
"""Entries of the correlation matrices that are in memory together."""


@method("lindeman1980introduction", "lipovetsky2001analysis")
def shapley_regression(
    data: Float[Tensor, "batch columns"],
    labels: Shaped[Tensor, " batch"],
    *,
    names: Sequence[str] | None = None,
    samples: int = _ORDERS,
    generator: torch.Generator | None = None,
) -> Attribution:
    r"""Share what a linear regression explains among its columns.

    $$
    \phi_j = \sum_{S \not\ni j} \frac{|S|!\,(p - |S| - 1)!}{p!}
             \bigl( R^2(S \cup \{j\}) - R^2(S) \bigr), \qquad R^2(S) = r_S^\top R_{SS}^{-1} r_S
    $$

    R holds the correlations of the columns and r those with y, so that units do not matter. The
    shares are at least zero and sum to R^2 of the regression on all columns; `gap` is what they
    miss of it. Unlike coefficients they stay sensible where columns tell the same: of two copies of
    a column each gets half. Columns that are unrelated get the square of their correlation with y.

    All 2^p regressions are done for up to 20 columns, in one pass over their table. With more,
    random orders of entry are averaged over, each with its reverse, and the result has standard
    errors. A column that follows from those before it adds nothing, so there may also be more
    columns than rows; but then R^2 is 1 and says little.

    Args:
        data: the columns.
        labels: y, a number for each row; of classes, their numbers.
        names: of the columns.
        samples: orders of entry, for more than 20 columns.
        generator: source of randomness, for more than 20 columns.

    >>> x = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> shapley_regression(x, 2 * x[:, 0] + x[:, 1]).values
    tensor([[0.8000, 0.2000]], dtype=torch.float64)
    """
    correlation = _correlation(data, labels)
    p = len(correlation) - 1
    names = _named(names, p)
    if p <= LARGEST_TABLE:
        table = explained_by_all(correlation)
        found = shapley_exact(Game(lambda masks: masks.sum(1).double(), names, lambda: table))
        return Attribution(found.values, found.gap, names)
    if samples < 4:
        raise ValueError(
            f"{samples} orders of entry do not tell how accurate their mean is. Give at least 4."
        )
    generator = admission.drawing(generator)
    pairs, done = -(-samples // 2), 0
    total, squares = correlation.new_zeros(p), correlation.new_zeros(p)
    while done < pairs:
        count = min(pairs - done, max(1, _AT_ONCE // (2 * p * p)))
        draws = torch.rand(count, p, generator=generator, device=generator.device)
        order = draws.argsort(1).to(correlation.device)
        shares = (
            explained_in_order(correlation, order) + explained_in_order(correlation, order.flip(1))
        ) / 2
        total, squares = total + shares.sum(0), squares + shares.square().sum(0)
        done += count
    mean = total / pairs
    spread = (squares / pairs - mean.square()).clamp_min(0) * pairs / (pairs - 1)
    whole = explained_in_order(correlation, torch.arange(p, device=mean.device)[None]).sum()
    return Attribution(
        mean[None], (whole - mean.sum())[None], names, errors=(spread / pairs).sqrt()[None]
    )


@method("lipovetsky2001analysis")
def shapley_coefficients(
    data: Float[Tensor, "batch columns"],
    labels: Shaped[Tensor, " batch"],
    *,
    names: Sequence[str] | None = None,
    samples: int = _ORDERS,
    generator: torch.Generator | None = None,
) -> Attribution:
    r"""Find coefficients whose contributions are the shares of Shapley regression.

    $$
    a_j \bigl( 2 r_j - (R a)_j \bigr) = \phi_j
    $$

    They are standardised, so a prediction is the sum of a_j times column j in standard deviations.
    Where columns tell the same, coefficients of least squares grow large with opposite signs; these
    stay of the size of what a column tells by itself. Of unrelated columns the two are equal.

    Summed over the columns the equations ask for a regression that explains as much as least
    squares, which only its own coefficients do. So as a rule they have no solution, and those are
    taken that miss them least, by the sum of squares. `gap` is what is lost: R^2 of least squares
    less R^2 of these coefficients.

    Args:
        data: the columns.
        labels: y, a number for each row; of classes, their numbers.
        names: of the columns.
        samples: orders of entry, for more than 20 columns.
        generator: source of randomness, for more than 20 columns.

    >>> x = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    >>> shapley_coefficients(x, x[:, 0] - 0.75 * x[:, 1]).values
    tensor([[ 0.8000, -0.6000]], dtype=torch.float64)
    """
    found = shapley_regression(data, labels, names=names, samples=samples, generator=generator)
    share = found.values[0].clamp_min(0).cpu().numpy()
    correlation = _correlation(data, labels).cpu().numpy()
    between, own = correlation[:-1, :-1], correlation[:-1, -1]

    def missed(a):
        return a * (2 * own - between @ a) - share

    def slope(a):
        square = -a[:, None] * between
        square[range(len(a)), range(len(a))] += 2 * own - between @ a
        return square

    start = (1 - 2 * (own < 0)) * share**0.5
    a = least_squares(
        missed,
        start,
        slope,  # pyright: ignore[reportArgumentType] - the stubs know its names only
        method="lm",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    ).x
    values = torch.tensor(a, dtype=torch.float64, device=found.values.device)[None]
    return Attribution(
        values, found.values.sum(1) - float(2 * own @ a - a @ between @ a), found.names
    )


def _correlation(
    data: Float[Tensor, "batch columns"], labels: Shaped[Tensor, " batch"]
) -> Float[Tensor, "both both"]:
    """Of the columns and, last, of y."""
    for what, given in (("The data", data), ("The labels", labels)):
        admission.finite(what, given)
    if data.ndim != 2 or len(data) < 2 or data.shape[1] == 0 or labels.shape != data.shape[:1]:
        raise ValueError(
            f"A regression needs at least 2 rows, a column and a number for each row, but the data "
            f"have shape {tuple(data.shape)} and the labels {tuple(labels.shape)}. "
            "Give rows by columns, and one label per row."
        )
    both = torch.cat([data.detach().double(), labels.detach().double().to(data.device)[:, None]], 1)
    both = both - both.mean(0)
    size = both.square().sum(0).sqrt()
    # What is left of a constant by rounding.
    constant = (size <= 1e-12 * sqrt(len(data)) * both.abs().amax(0)) | (size == 0)
    if constant.any():
        first = int(constant.nonzero()[0, 0])
        what = "All labels are" if first == data.shape[1] else f"All of column {first} is"
        raise ValueError(
            f"{what} the same, so a regression on it explains nothing. Leave it out, or give rows "
            "that differ."
        )
    both = both / size
    return both.mT @ both


def _named(names: Sequence[str] | None, columns: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"column {i}" for i in range(columns))
    if len(names) != columns:
        raise ValueError(
            f"There are {columns} columns, but {len(names)} names. Give one name per column."
        )
    return tuple(names)
