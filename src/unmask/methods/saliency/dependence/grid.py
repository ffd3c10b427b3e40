"""One or two columns of a table set to the points of a grid, row by row: what dependence needs."""

import operator
from collections.abc import Iterator, Sequence
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats.mstats import mquantiles
from torch import Tensor

from unmask import admission, internals
from unmask.score import Score

STEPS, MIDDLE = 100, (0.05, 0.95)
"""Points of a grid, and the quantiles between which it lies: those of scikit-learn."""


def admit(score: Score, data: Tensor, batch_size: int | None, what: str = "data") -> int:
    """Check the table; the rows of one call of the model."""
    admission.finite(f"The {what}", data)
    if not data.is_floating_point():
        raise TypeError(
            f"A column that is changed needs real numbers, but the {what} holds {data.dtype}. "
            "Convert it with .float()."
        )
    if data.ndim != 2 or 0 in data.shape:
        raise ValueError(
            f"A table has rows and columns, but the {what} has shape {tuple(data.shape)}. "
            "Give a tensor [rows, columns] with at least one of each."
        )
    internals.one_class_each(score, len(data), f"the {what}")
    admission.batched(batch_size)
    admission.settled(score.model)
    # Enough rows to fill a matrix product, few enough to stay in a processor's cache.
    numbers = 2**24 if data.is_cuda else 2**18
    return batch_size or min(2**16 if data.is_cuda else 2048, max(64, numbers // data.shape[1]))


def chosen(feature: SupportsIndex | Sequence[SupportsIndex], width: int) -> tuple[int, ...]:
    """The one or two columns that are meant, by place."""
    try:
        places = feature if isinstance(feature, Sequence) else (feature,)
        columns = tuple(operator.index(place) for place in places)
    except TypeError:
        raise TypeError(
            f"A column is meant by its place, a whole number, but feature is {feature!r}. "
            "Give a place from 0, or two; of a name, names.index(name)."
        ) from None
    if len(columns) not in (1, 2) or len(set(columns)) != len(columns):
        raise ValueError(
            f"Dependence is on one column or on two, but feature is {feature!r}. "
            "Give a place, or two different ones."
        )
    for column in columns:
        if not 0 <= column < width:
            raise ValueError(
                f"Column {column} does not exist: the data have {width} columns. "
                f"Give a place from 0 to {width - 1}."
            )
    return columns


def named(
    names: Sequence[str] | None, columns: Sequence[int], width: int
) -> tuple[str, ...] | None:
    """The names of the chosen columns, out of those of all."""
    if names is None:
        return None
    if len(names) != width:
        raise ValueError(
            f"There are {len(names)} names for {width} columns. Give a name for every column."
        )
    return tuple(names[column] for column in columns)


def laid(
    data: Float[Tensor, "batch width"],
    columns: Sequence[int],
    grid: Tensor | Sequence[Tensor] | None,
    steps: int,
    percentiles: tuple[float, float],
    categorical: Sequence[int],
) -> Float[Tensor, "points columns"]:
    """The points of the grid: each value of the first column with each of the second.

    Args:
        data: the table.
        columns: one or two places.
        grid: the values of the column, or of each of two; without it they are found.
        steps: how many are found, where there are more different ones.
        percentiles: the quantiles between which they are found.
        categorical: columns whose values are codes, which are all taken and never made up.
    """
    low, high = percentiles
    if not 0 <= low < high <= 1:
        raise ValueError(
            f"A grid lies between two quantiles that rise, but percentiles is {percentiles}. "
            "Give two shares such as (0.05, 0.95)."
        )
    if steps < 2:
        raise ValueError(f"A grid of {steps} points shows no change. Give at least 2.")
    given: Sequence[Tensor | None] = [None] * len(columns)
    if grid is not None:
        given = [grid] if isinstance(grid, Tensor) else [*grid]
        if len(given) != len(columns):
            raise ValueError(
                f"There are {len(given)} grids for {len(columns)} columns. "
                "Give the values of each column."
            )
    axes = [
        _axis(data[:, column], column, values, steps, percentiles, column in categorical)
        for column, values in zip(columns, given, strict=True)
    ]
    return torch.cartesian_prod(*axes).view(-1, len(axes))


def weighed(
    weights: Float[Tensor, " weights"] | None, data: Float[Tensor, "batch width"]
) -> Float[Tensor, " batch"]:
    """How much each row counts for the average."""
    if weights is None:
        return torch.ones(len(data), dtype=torch.float64, device=data.device)
    weights = weights.detach().to(data.device).double()
    good = weights.shape == data.shape[:1] and bool((weights >= 0).all()) and weights.sum() > 0
    if not good or not weights.isfinite().all():
        raise ValueError(
            f"Weights are one number per row, none below 0 and not all 0, but for {len(data)} rows "
            f"they have shape {tuple(weights.shape)} and sum to {float(weights.sum()):g}. "
            "Give how often each row should count."
        )
    return weights


def moved(
    data: Float[Tensor, "batch width"],
    columns: Sequence[int],
    points: Float[Tensor, "points columns"],
    batch_size: int,
) -> Iterator[tuple[slice, slice, Tensor, Int[Tensor, " batch"]]]:
    """Every row at every point, a batch at a time: rows, points, inputs and the row of each.

    A batch holds as many points as fit, each with all its rows. From one to the next only the
    moved columns are written; a batch is written over once the next is asked for.
    """
    numbers = torch.arange(len(data), device=data.device)
    for first in range(0, len(data), batch_size):
        rows = slice(first, min(first + batch_size, len(data)))
        own, count = data[rows], rows.stop - rows.start
        x, index, version = own, numbers[rows], None
        at_once = max(1, batch_size // count)
        for place in range(0, len(points), at_once):
            some = slice(place, min(place + at_once, len(points)))
            many = some.stop - some.start
            if len(x) != many * count or _written(x) != version:
                # The first batch, a shorter one, or one that the model has written on.
                x, index = own.repeat(many, 1), numbers[rows].repeat(many)
            of_points = x.view(many, count, -1)
            for axis, column in enumerate(columns):
                of_points[:, :, column] = points[some, axis, None]
            version = _written(x)
            yield rows, some, x, index


def responses(
    score: Score,
    data: Float[Tensor, "batch width"],
    columns: Sequence[int],
    points: Float[Tensor, "points columns"],
    batch_size: int,
) -> Iterator[tuple[slice, slice, Float[Tensor, "places some"]]]:
    """The score of every row at every point, a batch at a time."""
    for rows, some, x, index in moved(data, columns, points, batch_size):
        with torch.no_grad():
            values = score(x, index).double()
        if not values.sum().isfinite():  # then one of them is not; it is the cheaper question
            first = int((~values.isfinite()).nonzero()[0, 0])
            raise ValueError(
                f"The {score.name} of row {int(index[first])} is {float(values[first])} where "
                f"column {columns[0]} is {float(x[first, columns[0]]):g}. Look at what the model "
                "computes there, or give a grid that leaves the place out."
            )
        yield rows, some, values.view(some.stop - some.start, -1)


def as_they_are(
    score: Score, data: Float[Tensor, "batch width"], batch_size: int
) -> Float[Tensor, " batch"]:
    """The score of every row as it stands."""
    rows = torch.arange(len(data), device=data.device)
    with torch.no_grad():
        found = [score(data[some], some).double() for some in rows.split(batch_size)]
    return torch.cat(found)


def _written(x: Tensor) -> object:
    """How often a tensor was written to; of those that do not count, never the same twice."""
    return object() if x.is_inference() else x._version


def _axis(
    observed: Float[Tensor, " batch"],
    column: int,
    given: Tensor | None,
    steps: int,
    percentiles: tuple[float, float],
    categorical: bool,
) -> Float[Tensor, " points"]:
    """The values of one column, in ascending order."""
    different = observed.detach().unique()
    if given is not None:
        values = torch.as_tensor(given).detach().to(observed).flatten().unique()
        admission.finite("The grid", values)
        if len(values) == 0:
            raise ValueError(f"The grid of column {column} is empty. Give at least one value.")
        unseen = values[~torch.isin(values, different)]
        if categorical and len(unseen):
            raise ValueError(
                f"Column {column} holds categories, and {float(unseen[0]):g} is none of the "
                f"{len(different)} in the data. Leave it out of the grid."
            )
        return values
    if len(different) >= steps and not categorical:
        low, high = mquantiles(observed.detach().cpu().double().numpy(), prob=percentiles).tolist()
        between = torch.from_numpy(np.linspace(low, high, steps)).to(observed)
        different = between.unique()
    if len(different) < 2:
        raise ValueError(
            f"Column {column} does not vary between its quantiles {percentiles[0]:g} and "
            f"{percentiles[1]:g}. Widen percentiles, give a grid, or choose another column."
        )
    return different
