"""The terms of many explanations as one Parquet file, for other programs."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unmask.results import Interactions

if TYPE_CHECKING:
    import pyarrow


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


def write_explanations(found: Iterable[Explanation], file: str | os.PathLike[str]) -> None:
    """Write a row per term: input, step, order, members, logic, effect, method.

    Args:
        found: any number of them.
        file: where to.
    """
    import pyarrow
    import pyarrow.parquet

    with pyarrow.parquet.ParquetWriter(os.fspath(file), _schema()) as writer:
        for one in found:
            writer.write_table(_table(one))


def gathered(files: Iterable[Path], file: str | os.PathLike[str]) -> None:
    """One file of the rows of several, in their order.

    Args:
        files: that `write_explanations` wrote.
        file: where to.
    """
    import pyarrow
    import pyarrow.parquet

    with pyarrow.parquet.ParquetWriter(os.fspath(file), _schema()) as writer:
        for part in files:
            try:
                table = pyarrow.parquet.ParquetFile(os.fspath(part)).read()
            except (pyarrow.ArrowException, OSError) as error:
                raise ValueError(
                    f"{part} is no Parquet file that can be read ({error}). It is truncated or "
                    "foreign: delete the folder that it is in, and repeat what made it."
                ) from None
            writer.write_table(table.cast(_schema()))


def _schema() -> "pyarrow.Schema":
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


def _table(one: Explanation) -> "pyarrow.Table":
    import pyarrow

    kept = (one.terms.effects != 0).cpu()
    members = one.terms.members.cpu()[kept]
    order = members.sum(1).numpy()
    ends = np.concatenate([[0], np.cumsum(order)])
    # Half a surrogate pair, which a file name may hold, is no text that Parquet knows.
    names = [name.encode(errors="replace").decode() for name in one.terms.names]
    places = members.nonzero()[:, 1].numpy()
    texts = pyarrow.array(names, pyarrow.string()).take(pyarrow.array(places, pyarrow.int64()))
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
            "method": pyarrow.array([one.method] * count, pyarrow.string()),
        },
        schema=_schema(),
    )
