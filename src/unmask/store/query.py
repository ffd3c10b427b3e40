"""Ask many runs at once, with DuckDB over their Parquet."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


def query(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], sql: str
) -> "pandas.DataFrame":
    """Answer a question in SQL about the terms of all interactions that were saved.

    The table `terms` has the columns `result` (the folder that `save` wrote), `order`, `members`
    (a list of names), `logic` ("AND" or "OR") and `effect`. Because ORDER is a word of SQL, the
    column is written in double quotes:

    ```python
    query("runs", 'SELECT "order", sum(abs(effect)) AS strength FROM terms GROUP BY ALL')
    ```

    Args:
        paths: results, or folders that hold results at any depth.
        sql: one query. It is run as you give it, with your rights: do not pass on a stranger's.
    """
    try:
        import duckdb
    except ModuleNotFoundError:
        raise ValueError(
            "query needs the package duckdb, which is not installed. "
            "Install it with: pip install 'unmask[app]'."
        ) from None

    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    files = [file for path in several for file in _terms(Path(path))]
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        listed = ", ".join(_quoted(file) for file in files)
        connection.execute(
            'CREATE VIEW terms AS SELECT parse_dirpath(filename) AS result, "order", members, '
            f"logic, effect FROM read_parquet([{listed}], filename = true)"
        )
        try:
            return connection.execute(sql).df()
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            raise ValueError(
                f"DuckDB cannot answer this: {str(error).splitlines()[0]}. The table is terms, "
                'with the columns result, "order", members, logic and effect.'
            ) from None


def _terms(path: Path) -> list[Path]:
    """The files of terms below a path; what is hidden is a draft or a leftover."""
    found = [
        file
        for file in sorted(path.rglob("terms.parquet"))
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if path.name == "terms.parquet" and path.is_file():
        found = [path]
    if not found:
        raise ValueError(
            f"There are no terms below {path}. Give folders in which save has put Interactions."
        )
    return found


def _quoted(file: Path) -> str:
    """A path as DuckDB reads it: quotes doubled, and what stands for other letters bracketed."""
    plain = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(file))
    return "'" + plain.replace("'", "''") + "'"
