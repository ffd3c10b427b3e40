"""Rows of a table as inputs."""

import csv
import io
from collections.abc import Sequence
from math import nan
from pathlib import Path

import torch

from unmask.run.inputs.material import Material, in_dtype, named
from unmask.run.models.opened import Opened
from unmask.run.nearest import nearest
from unmask.store.parquet import read_columns

_MISSING = {"", "na", "n/a", "nan", "null", "none"}


def read_table(path: Path, opened: Opened, label: str | None, digest: str) -> Material:
    """Read `.csv`, `.tsv` or `.parquet`; every column but the label is an input.

    A missing cell is read as NaN, so that its row is refused by name when it is explained and the
    others are not.

    Args:
        path: the file.
        opened: the model, which may say how many columns it takes.
        label: the column that holds the truth.
        digest: of the file.
    """
    names, columns = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    truths: Sequence[str] | None = None
    if label is not None:
        if label not in names:
            raise ValueError(f"'{path}' has no column {label!r}. {nearest(label, names)}")
        truths = columns[names.index(label)]
        columns = [column for name, column in zip(names, columns, strict=True) if name != label]
        names = [name for name in names if name != label]
    if not names or not columns[0]:
        raise ValueError(
            f"The table '{path}' has {len(names)} columns of inputs and no rows to explain. "
            "Give a header and at least one row."
        )
    numbers = [_numbers(path, name, cells) for name, cells in zip(names, columns, strict=True)]
    wanted = opened.shape[0] if opened.shape is not None and len(opened.shape) == 1 else None
    if wanted is not None and wanted != len(names):
        raise ValueError(
            f"The model takes {wanted} columns, but '{path}' has {len(names)} "
            f"({', '.join(names[:3])}, ...). Name the column that holds the truth with --label, "
            "or give the table that the model was trained on."
        )
    rows = torch.tensor(numbers, dtype=torch.float64).T
    x = in_dtype(path, rows, opened.dtype).contiguous()
    return Material(
        kind="table",
        inputs=tuple(x),
        titles=[f"row {i}" for i in range(len(x))],
        truths=[
            None if truths is None else named(truths[i], opened.classes) for i in range(len(x))
        ],
        digest=digest,
        columns=tuple(names),
    )


def _csv(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not in UTF-8 ({error}). Save it as UTF-8.") from None
    first = text.partition("\n")[0]
    delimiter = max("\t;,", key=first.count) if first else ","
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise ValueError(f"'{path}' is no table of text ({error}). Save it as CSV.") from None
    if not rows:
        raise ValueError(f"The table '{path}' is empty. Give a header and at least one row.")
    names = [name.strip() or f"column {i + 1}" for i, name in enumerate(rows[0])]
    body = rows[1:]
    if all(_is_number(name) for name in names):  # a table without a header
        names, body = [f"column {i + 1}" for i in range(len(names))], rows
    doubled = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if doubled is not None:
        raise ValueError(
            f"'{path}' has two columns called {doubled!r}. Give every column its own name."
        )
    for number, row in enumerate(body):
        if len(row) != len(names):
            raise ValueError(
                f"Row {number} of '{path}' has {len(row)} cells, but the header has {len(names)}. "
                "Mend that row; a cell with a comma needs quotation marks."
            )
    return names, [list(column) for column in zip(*body, strict=True)] or [[] for _ in names]


def _parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    table = read_columns(path)
    return list(table), [
        ["" if cell is None else str(cell) for cell in table[name]] for name in table
    ]


def _numbers(path: Path, name: str, cells: Sequence[str]) -> list[float]:
    numbers = []
    for row, cell in enumerate(cells):
        text = cell.strip()
        if text.lower() in _MISSING:
            numbers.append(nan)
        elif text in ("True", "False"):
            numbers.append(float(text == "True"))
        elif _is_number(text):
            numbers.append(float(text))
        else:
            raise ValueError(
                f"The column {name!r} of '{path}' is not numeric: row {row} holds {cell!r}. Encode "
                "it as numbers as for training, or, if it holds the truth, name it with --label."
            )
    return numbers


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
