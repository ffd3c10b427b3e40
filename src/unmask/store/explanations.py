"""The terms and the attributions of many explanations as Parquet, for other programs."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unmask.results import Attribution, Interactions

if TYPE_CHECKING:
    import pyarrow

_ROWS = 2**16
"""Rows that are packed together: what memory holds of a table, unless one result has more."""


@dataclass(frozen=True)
class Explanation:
    """Terms, and what they are of.

    Args:
        input: its number.
        step: of the training, 0 where a run explains one state of a model.
        method: that found them.
        terms: what was found; terms of no effect are left out of the file.
    """

    input: int
    step: int
    method: str
    terms: Interactions


@dataclass(frozen=True)
class Shares:
    """An attribution, and what it is of.

    Args:
        input: its number.
        method: that found it.
        attribution: of one input.
    """

    input: int
    method: str
    attribution: Attribution


def write_explanations(found: Iterable[Explanation], file: str | os.PathLike[str]) -> None:
    """Write a row per term: input, step, order, members, logic, effect, method.

    Args:
        found: any number of them.
        file: where to.
    """
    with _written(schema_of_terms(), file) as add:
        for one in found:
            add(table_of(one))


@contextmanager
def shares_written(file: str | os.PathLike[str]) -> Iterator[Callable[[Shares], None]]:
    """Lend a function that adds a row per value: input, method, position, name, value.

    A value without a name has the name "".

    Args:
        file: where to.
    """
    with _written(_schema_of_shares(), file) as add:
        yield lambda shares: add(_table_of_shares(shares))


@contextmanager
def _written(
    schema: "pyarrow.Schema", file: str | os.PathLike[str]
) -> "Iterator[Callable[[pyarrow.Table], None]]":
    """Write tables as they come, small ones packed together."""
    import pyarrow
    import pyarrow.parquet

    waiting: list[pyarrow.Table] = []
    with pyarrow.parquet.ParquetWriter(os.fspath(file), schema, compression="zstd") as writer:

        def flush() -> None:
            if waiting:
                writer.write_table(pyarrow.concat_tables(waiting))
                waiting.clear()

        def add(table: pyarrow.Table) -> None:
            waiting.append(table)
            if sum(map(len, waiting)) >= _ROWS:
                flush()

        yield add
        flush()


def schema_of_terms() -> "pyarrow.Schema":
    """The columns of terms."""
    import pyarrow

    return pyarrow.schema(
        {
            "input": pyarrow.int64(),
            "step": pyarrow.int64(),
            "order": pyarrow.int64(),
            "members": pyarrow.list_(pyarrow.string()),
            "logic": pyarrow.string(),
            "effect": pyarrow.float64(),
            "method": pyarrow.string(),
        }
    )


def _schema_of_shares() -> "pyarrow.Schema":
    import pyarrow

    return pyarrow.schema(
        {
            "input": pyarrow.int64(),
            "method": pyarrow.string(),
            "position": pyarrow.int64(),
            "name": pyarrow.string(),
            "value": pyarrow.float64(),
        }
    )


def table_of(one: Explanation) -> "pyarrow.Table":
    """The rows of one explanation.

    Args:
        one: the explanation.
    """
    import pyarrow

    kept = (one.terms.effects != 0).cpu()
    members = one.terms.members.cpu()[kept]
    order = members.sum(1).numpy()
    ends = np.concatenate([[0], np.cumsum(order)])
    places = members.nonzero()[:, 1].numpy()
    texts = _texts(one.terms.names).take(pyarrow.array(places, pyarrow.int64()))
    count = len(order)
    logic = np.where(one.terms.is_or.cpu()[kept].numpy(), "OR", "AND").astype(object)
    return pyarrow.table(
        {
            "input": np.full(count, one.input),
            "step": np.full(count, one.step),
            "order": order,
            "members": pyarrow.ListArray.from_arrays(pyarrow.array(ends, pyarrow.int32()), texts),
            "logic": pyarrow.array(logic, pyarrow.string()),
            "effect": one.terms.effects.detach().cpu()[kept].double().numpy(),
            "method": pyarrow.repeat(one.method, count),
        },
        schema=schema_of_terms(),
    )


def _table_of_shares(one: Shares) -> "pyarrow.Table":
    import pyarrow

    values = one.attribution.values[0].detach().cpu().double().flatten().numpy()
    names = one.attribution.names
    count = len(values)
    named = names is not None and len(names) == count
    return pyarrow.table(
        {
            "input": np.full(count, one.input),
            "method": pyarrow.repeat(one.method, count),
            "position": np.arange(count),
            "name": _texts(names) if named and names else pyarrow.repeat("", count),
            "value": values,
        },
        schema=_schema_of_shares(),
    )


def _texts(names: Sequence[str]) -> "pyarrow.Array":
    """Names as Parquet knows them: half a surrogate pair, which a file may bear, is no text."""
    import pyarrow

    return pyarrow.array([name.encode(errors="replace").decode() for name in names], "string")
