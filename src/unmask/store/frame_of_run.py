"""The terms of a whole run as a data frame, from its tables or from results at hand."""

import os
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from unmask.store.columns import frame, guest
from unmask.store.explanations import Explanation, schema_of_terms, table_of
from unmask.store.folder import WORDS, load
from unmask.store.places import Place, fetched
from unmask.store.tables import TERMS, tables

if TYPE_CHECKING:
    import pandas
    import pyarrow

TAU = 0.05
"""The spread of a salient term, relative to the largest of the same explanation."""
COLUMNS = ("input", "step", "method", "order", "members", "logic", "effect", "spread")


@frame.register(str)
@frame.register(os.PathLike)
def frame_of_run(
    run: str | os.PathLike[str], *, everything: bool = False, tau: float = TAU
) -> "pandas.DataFrame":
    r"""The terms of a run, those that matter: a row per term, in the order of the inputs.

    The columns are input, step, method, order, members (a tuple of names), logic, effect and
    spread, the standard deviation of what a term adds over all masks:

    $$
    \sigma_T = |I(T)| \sqrt{2^{-|T|} (1 - 2^{-|T|})}
    $$

    A term is salient if its spread is at least `tau` of the largest of the same input, step and
    method. A run that goes on is read as far as it has come. Of a single result that `save` wrote
    the frame is that of the result.

    Args:
        run: a run folder, or the store of one: a path, or an address that fsspec knows.
        everything: whether all terms are wanted, not the salient ones alone.
        tau: the least spread of a salient term, relative to the largest.
    """
    place = Place.of(run)
    if place.local is not None and (place.local / WORDS).is_file():
        return frame(load(place.local))
    _check(tau)
    found = tables([place.url])
    files = [*found.whole[TERMS], *found.parts[TERMS]]
    runs = {_run(file) for file in found.whole[TERMS]} | {
        _run(Place(_run(file))) for file in found.parts[TERMS]
    }
    if len(runs) != 1:
        what = f"holds {len(runs)} runs" if runs else "holds no terms of a run"
        raise ValueError(
            f"'{place.url}' {what}. Give the folder of one run, or its store; "
            "`query` asks many at once."
        )
    return _framed(_read(files), 0.0 if everything else tau)


def frame_of(
    found: Iterable[Explanation], *, everything: bool = False, tau: float = TAU
) -> "pandas.DataFrame":
    """The same of explanations at hand.

    Args:
        found: any number of them.
        everything: whether all terms are wanted.
        tau: the least spread of a salient term, relative to the largest of its explanation.
    """
    _check(tau)
    guest("pyarrow")
    return _framed(map(table_of, found), 0.0 if everything else tau)


def _check(tau: float) -> None:
    if not 0 <= tau <= 1:
        raise ValueError(
            f"tau is {tau}, but it is a share of the largest spread. Give a number from 0 to 1."
        )


def _run(file: Place) -> str:
    """The folder that a file is in."""
    return file.url[: -len(file.name)].rstrip("/\\")


def _read(files: list[Place]) -> "Iterator[pyarrow.Table]":
    guest("pyarrow")
    import pyarrow
    import pyarrow.parquet

    for file, data in zip(files, fetched(files), strict=True):
        try:
            table = pyarrow.parquet.ParquetFile(BytesIO(data)).read()
            yield table.select(schema_of_terms().names).cast(schema_of_terms())
        except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"'{file.url}' is no table of terms ({reason}). It is truncated or foreign: "
                "delete it, and repeat the run."
            ) from None


def _framed(found: "Iterable[pyarrow.Table]", tau: float) -> "pandas.DataFrame":
    pandas = guest("pandas")
    import pyarrow

    kept = [_salient(table, tau) for table in found]
    table = pyarrow.concat_tables([schema_of_terms().empty_table(), *(one for one, _ in kept)])
    spread = np.concatenate([np.empty(0), *(one for _, one in kept)])
    columns = {
        "input": table["input"].to_numpy(),
        "step": table["step"].to_numpy(),
        "method": _repeated(table["method"]),
        "order": table["order"].to_numpy(),
        "members": pandas.Series(_members(table["members"]), dtype=object),
        "logic": _repeated(table["logic"]),
        "effect": table["effect"].to_numpy(),
        "spread": spread,
    }
    return pandas.DataFrame(columns)


def _salient(table: "pyarrow.Table", tau: float) -> "tuple[pyarrow.Table, np.ndarray]":
    """The rows that matter, and their spread."""
    if not len(table):
        return table, np.empty(0)
    firing = 0.5 ** table["order"].to_numpy().astype(float)  # of an AND; an OR differs by 1 - p
    spread = np.abs(table["effect"].to_numpy()) * np.sqrt(firing * (1 - firing))
    if tau == 0:
        return table, spread
    method = table["method"].combine_chunks().dictionary_encode().indices.to_numpy()
    keys = np.stack([table["input"].to_numpy(), table["step"].to_numpy(), method])
    fresh = np.concatenate([[True], (np.diff(keys, axis=1) != 0).any(0)])
    starts = np.flatnonzero(fresh)
    largest = np.maximum.reduceat(spread, starts)[np.cumsum(fresh) - 1]
    chosen = (spread >= tau * largest) & (spread > 0)
    return table.filter(chosen), spread[chosen]


def _members(lists: "pyarrow.ChunkedArray") -> list[tuple[str, ...]]:
    """Tuples of names. Each name is one text in memory, however often it occurs."""
    tuples: list[list[tuple[str, ...]]] = []
    for chunk in lists.chunks:
        coded = chunk.flatten().dictionary_encode()
        names = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
        flat = names[coded.indices.to_numpy()].tolist()
        ends = np.cumsum(chunk.value_lengths().to_numpy()).tolist()
        pairs = zip([0, *ends], ends, strict=False)
        tuples.append([tuple(flat[start:end]) for start, end in pairs])
    return [*chain.from_iterable(tuples)]


def _repeated(texts: "pyarrow.ChunkedArray") -> "pandas.Categorical":
    """A column of few different texts."""
    return texts.combine_chunks().dictionary_encode().to_pandas()
