"""Results as columns: data frames to compute with, and Parquet for other programs."""

import os
from functools import singledispatch
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor

from unmask.results import (
    Attribution,
    Dependence,
    Examples,
    Hierarchy,
    Interactions,
    Measurement,
    Rating,
    Result,
    Surrogate,
    Synthesis,
)

if TYPE_CHECKING:
    import pandas


@singledispatch
def frame(result: object) -> "pandas.DataFrame":
    """A result as a table of pandas.

    - Interactions: a row per term, in their order: order, members (a tuple of names), logic
      ("AND" or "OR"), effect.
    - Attribution: a row per input and a column per name where the values are a table; otherwise a
      row per value with its place.
    - Examples: a row per case: input, rank, index, weight; or the inputs that were made.
    - Synthesis: a row per step: input, step, trace, and the score reached.
    - Surrogate: one row: model, fidelity, text.
    - Measurement: a row per number and per point of a curve: name, point, value. For a table of
      its curves: `frame(m).dropna().pivot(index="point", columns="name", values="value")`. Which
      of them are drawn together (`panels`) is no part of the table.
    - Rating: a row per input: input, value.
    - Dependence: a row per point: the columns by name, the average, and each row's own curve.
    - Hierarchy: a row per set: step, members (a tuple of names), score.
    - A run (its folder, its address in a store, or what `read_run` read): a row per salient term,
      see `unmask.store.frame_of_run`; `frame(run, everything=True)` has them all.

    Args:
        result: any type, or a run.
    """
    raise TypeError(
        f"frame takes a result or a run, but got {type(result).__name__}. "
        f"Give the path of a run, or {', '.join(kind.__name__ for kind in get_args(Result))}."
    )


@frame.register(Interactions)
def _(result: Interactions) -> "pandas.DataFrame":
    return _pandas().DataFrame(
        {
            "order": _array(result.order),
            "members": _pandas().Series(_named(result), dtype=object),
            "logic": _logic(result),
            "effect": _array(result.effects),
        }
    )


@frame.register(Attribution)
def _(result: Attribution) -> "pandas.DataFrame":
    return _spread(result.values, result.names)


@frame.register(Examples)
def _(result: Examples) -> "pandas.DataFrame":
    if result.index is None and result.weight is None:
        empty = torch.zeros(0, 0)
        return _spread(empty if result.inputs is None else result.inputs, None)
    known = result.index if result.index is not None else result.weight
    assert known is not None  # one of the two is there
    rows, ranks = np.indices(known.shape)
    columns = {"input": rows.ravel(), "rank": ranks.ravel()}
    for name, values in (("index", result.index), ("weight", result.weight)):
        if values is not None:
            columns[name] = _array(values).ravel()
    return _pandas().DataFrame(columns)


@frame.register(Synthesis)
def _(result: Synthesis) -> "pandas.DataFrame":
    rows, steps = np.indices(result.trace.shape)
    return _pandas().DataFrame(
        {
            "input": rows.ravel(),
            "step": steps.ravel(),
            "trace": _array(result.trace).ravel(),
            "score": _array(result.score)[rows.ravel()],
        }
    )


@frame.register(Surrogate)
def _(result: Surrogate) -> "pandas.DataFrame":
    row = {
        "model": getattr(result.model, "kind", type(result.model).__name__),
        "fidelity": result.fidelity,
        "text": result.text,
    }
    return _pandas().DataFrame([row])


@frame.register(Measurement)
def _(result: Measurement) -> "pandas.DataFrame":
    pandas = _pandas()
    names, points, values = (
        [*result.numbers],
        [-1] * len(result.numbers),
        [*result.numbers.values()],
    )
    for name, curve in result.curves.items():
        names += [name] * len(curve)
        points += range(len(curve))
        values += curve.tolist()
    columns = {"name": names, "point": points, "value": np.array(values, dtype=float)}
    table = pandas.DataFrame(columns).astype({"name": object, "point": "Int64"})
    table["point"] = table["point"].where(table["point"] >= 0)  # a number has no place
    return table


@frame.register(Rating)
def _(result: Rating) -> "pandas.DataFrame":
    values = _array(result.values)
    return _pandas().DataFrame({"input": np.arange(len(values)), "value": values})


@frame.register(Dependence)
def _(result: Dependence) -> "pandas.DataFrame":
    names = result.names or [f"column {i}" for i in range(result.points.shape[1])]
    columns = dict(zip(names, _array(result.points).T, strict=True))
    columns["average"] = _array(result.average)
    if result.curves is not None:
        columns |= {f"row {i}": curve for i, curve in enumerate(_array(result.curves))}
    return _pandas().DataFrame(columns)


@frame.register(Hierarchy)
def _(result: Hierarchy) -> "pandas.DataFrame":
    return _pandas().DataFrame(
        {
            "step": _array(result.step),
            "members": _pandas().Series(_named(result), dtype=object),
            "score": _array(result.score),
        }
    )


def write_terms(terms: Interactions, file: str | os.PathLike[str]) -> None:
    """Write interactions as Parquet, one row per term: order, members, logic, effect.

    Args:
        terms: any number of them.
        file: where to.
    """
    arrow = _arrow()
    import pyarrow.parquet

    orders = _array(terms.order)
    ends = np.concatenate([[0], np.cumsum(orders)])
    places = arrow.array(_array(terms.members.cpu().nonzero()[:, 1]), arrow.int32())
    # Half a surrogate pair, which a file name may hold, is no text that Parquet knows.
    names = [name.encode(errors="replace").decode() for name in terms.names]
    members = arrow.DictionaryArray.from_arrays(places, arrow.array(names, arrow.string()))
    table = arrow.table(
        {
            "order": arrow.array(orders, arrow.int32()),
            "members": arrow.LargeListArray.from_arrays(arrow.array(ends, arrow.int64()), members),
            "logic": arrow.array(_logic(terms)).dictionary_encode(),
            "effect": arrow.array(_array(terms.effects.double())),
        }
    )
    pyarrow.parquet.write_table(table, os.fspath(file), compression="zstd")


def _named(result: Interactions | Hierarchy) -> list[tuple[str, ...]]:
    """The names in each set."""
    ends = result.members.sum(1).cumsum(0).tolist()
    names = [result.names[place] for place in result.members.cpu().nonzero()[:, 1].tolist()]
    return [tuple(names[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=False)]


def _logic(terms: Interactions) -> np.ndarray:
    return np.where(_array(terms.is_or), "OR", "AND").astype(object)


def _spread(values: Tensor, names: tuple[str, ...] | None) -> "pandas.DataFrame":
    """A table as it is; of more axes, a row per value with its place on each."""
    pandas = _pandas()
    if names is not None and (values.ndim < 2 or len(names) != values.shape[-1]):
        raise ValueError(
            f"There are {len(names)} names for values of shape {tuple(values.shape)}. "
            "Give a name for every place on the last axis, or none."
        )
    if values.ndim == 2:
        return pandas.DataFrame(_array(values), columns=None if names is None else [*names])
    places = np.indices(values.shape)
    columns: dict[str, Any] = {
        "input" if axis == 0 else f"axis {axis}": place.ravel() for axis, place in enumerate(places)
    }
    if names is not None:
        last = f"axis {values.ndim - 1}"
        columns[last] = np.array(names, dtype=object)[columns[last]]
    return pandas.DataFrame({**columns, "value": _array(values).ravel()})


def _array(values: Tensor) -> np.ndarray:
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _pandas() -> ModuleType:
    return guest("pandas")


def _arrow() -> ModuleType:
    return guest("pyarrow")


def guest(name: str) -> ModuleType:
    """A package that only this room needs, imported on use.

    Args:
        name: of the package.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise ValueError(
            f"Tables need the package {name}, which is not installed. "
            "Install it with: pip install 'unmask[app]'."
        ) from None
