"""Plain columns as Parquet, for what is no single result: many of them, or a table to explain."""

import os
from collections.abc import Mapping, Sequence
from typing import Any


def write_columns(columns: Mapping[str, Sequence[Any]], file: str | os.PathLike[str]) -> None:
    """Write columns of the same length.

    Args:
        columns: by name; texts that are no valid Unicode are mended.
        file: where to.
    """
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({name: pyarrow.array(_valid(cells)) for name, cells in columns.items()})
    pyarrow.parquet.write_table(table, os.fspath(file), compression="zstd")


def read_columns(file: str | os.PathLike[str]) -> dict[str, list[Any]]:
    """Read all columns of a Parquet file.

    Args:
        file: the file.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ValueError(
            f"{file} needs the package pyarrow, which is not installed. "
            "Install it with: pip install 'unmask[app]'."
        ) from None
    try:
        table = pyarrow.parquet.ParquetFile(os.fspath(file)).read()
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{file} is no Parquet file that can be read ({reason}). It is truncated or foreign: "
            "write it anew."
        ) from None
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _valid(cells: Sequence[Any]) -> list[Any]:
    return [_mended(cell) for cell in cells]


def _mended(cell: Any) -> Any:
    if isinstance(cell, str):
        return cell.encode(errors="replace").decode()
    return [_mended(part) for part in cell] if isinstance(cell, list | tuple) else cell
