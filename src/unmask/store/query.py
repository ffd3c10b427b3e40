"""Ask many runs at once, with DuckDB over their Parquet."""

import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from unmask.store.columns import guest
from unmask.store.places import Place
from unmask.store.tables import ATTRIBUTIONS, RATINGS, TERMS, Tables, tables

if TYPE_CHECKING:
    import duckdb
    import pandas

_FOLDER = "parse_dirpath(filename)"
_RUN = {"parts": f"parse_dirpath({_FOLDER})", "whole": _FOLDER, "alone": _FOLDER}
"""The run that a file is of."""
_COLUMNS = {
    TERMS: 'input BIGINT, step BIGINT, method VARCHAR, "order" BIGINT, members VARCHAR[], '
    "logic VARCHAR, effect DOUBLE",
    ATTRIBUTIONS: "input BIGINT, method VARCHAR, position BIGINT, name VARCHAR, value DOUBLE",
    RATINGS: "method VARCHAR, metric VARCHAR, criterion VARCHAR, input BIGINT, value DOUBLE",
}
_SCHEMAS = {
    table: dict(column.rsplit(" ", 1) for column in columns.split(", "))
    for table, columns in _COLUMNS.items()
}
_SPREAD = 'abs(effect) * sqrt(0.5 ** "order" * (1 - 0.5 ** "order"))'
_UNKNOWN = ("input", "step", "method")
"""What the file of a single result does not say."""


def query(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], sql: str
) -> "pandas.DataFrame":
    """Answer a question in SQL about the tables of many runs.

    - `terms`: run, input, step, method, "order", members (a list of names), logic ("AND" or
      "OR"), effect, and spread, the standard deviation of what the term adds over all masks. Of a
      single result that `save` wrote, its folder is the run, and what it is of is NULL.
    - `attributions`: run, input, method, position, name, value.
    - `ratings` of comparisons: run, method, metric, criterion, input, value.

    Because ORDER is a word of SQL, the column is written in double quotes:

    ```python
    query("runs", 'SELECT run, "order", sum(abs(effect)) AS strength FROM terms GROUP BY ALL')
    ```

    Args:
        paths: runs, comparisons, single results, or folders that hold them at any depth; paths, or
            addresses that fsspec knows.
        sql: one query. It is run as you give it, with your rights: do not pass on a stranger's.
    """
    guest("pandas")
    duckdb = guest("duckdb")
    several = [paths] if isinstance(paths, str | os.PathLike) else [*paths]
    found = tables(several)
    if not found:
        named = ", ".join(f"'{os.fspath(path)}'" for path in several) or "no path"
        absent = [path for path in map(Place.of, several) if _absent(path)]
        if absent:
            raise ValueError(
                f"There is nothing at '{absent[0]}'. Give folders of runs, or of results that save "
                "has written."
            )
        raise ValueError(
            f"There are no tables below {named}. Give folders of runs, or of results that save "
            "has written. A run has tables as soon as its first inputs are explained; one whose "
            "plan names a store has them there."
        )
    settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    with duckdb.connect(config=settings) as connection:
        try:
            _open(connection, found)
            answer = connection.execute(sql)
            if answer is None or answer.description is None:
                raise ValueError(f"This is no question: {sql!r}. Ask one in SQL. {_columns()}")
            return answer.df()
        except (duckdb.InvalidInputException, duckdb.IOException, FileNotFoundError) as error:
            _refuse_unreadable(found)
            raise ValueError(_unanswered(error)) from None
        except duckdb.Error as error:
            raise ValueError(_unanswered(error)) from None


def _absent(path: Place) -> bool:
    if path.local is not None:
        return not path.local.exists()
    return not path.is_file() and path.listed() == ([], [])


def _unanswered(error: Exception) -> str:
    """What DuckDB says, with the names that it thinks of; the picture of the place says nothing."""
    said = str(error).split("LINE 1:")[0].rstrip(" \n.!")
    said = " ".join(said.split())
    return f"DuckDB cannot answer this: {said}{'' if said.endswith('?') else '.'} {_columns()}"


def _refuse_unreadable(found: Tables) -> None:
    """Name the file that is no table, if it is that which stands in the way."""
    import pyarrow
    import pyarrow.parquet

    files = [*found.alone]
    for table in _SCHEMAS:
        files += [*found.parts[table], *found.whole[table]]
    for file, data in zip(files, _each(files), strict=True):
        try:
            pyarrow.parquet.ParquetFile(BytesIO(data))
        except (pyarrow.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise ValueError(
                f"'{file.url}' is no table ({reason}). It is cut short or foreign: delete it, and "
                "repeat the run that it is of."
            ) from None


def _each(files: Sequence[Place]) -> Iterator[bytes]:
    for file in files:
        try:
            yield file.read_bytes()
        except OSError:
            raise ValueError(
                f"'{file.url}' was removed while it was read: its run goes on just now. Ask again."
            ) from None


def _open(connection: "duckdb.DuckDBPyConnection", found: Tables) -> None:
    """Make the views, also of tables that nothing was found of."""
    known = set()
    for table, schema in _SCHEMAS.items():
        several = {"parts": found.parts[table], "whole": found.whole[table]}
        if table == TERMS:
            several["alone"] = found.alone
        selects = [_nothing(schema)]
        for layout, files in several.items():
            for file in files:
                protocol = file.url.partition("://")[0]
                if file.local is None and protocol not in known:
                    connection.register_filesystem(file.system())
                    known.add(protocol)
            if files:
                selects.append(_select(layout, schema, files))
        spread = f", {_SPREAD} AS spread" if table == TERMS else ""
        union = " UNION ALL ".join(selects)
        connection.execute(f"CREATE VIEW {table} AS SELECT *{spread} FROM ({union})")


def _nothing(schema: dict[str, str]) -> str:
    typed = [f"CAST(NULL AS {kind}) AS {name}" for name, kind in schema.items()]
    return f"SELECT CAST(NULL AS VARCHAR) AS run, {', '.join(typed)} WHERE false"


def _select(layout: str, schema: dict[str, str], files: Sequence[Place]) -> str:
    columns = [
        f"CAST({'NULL' if layout == 'alone' and name in _UNKNOWN else name} AS {kind})"
        for name, kind in schema.items()
    ]
    listed = ", ".join(_quoted(file) for file in files)
    return (
        f"SELECT coalesce(nullif({_RUN[layout]}, ''), '.'), {', '.join(columns)} "
        f"FROM read_parquet([{listed}], filename = true, hive_partitioning = false)"
    )


def _columns() -> str:
    named = (f"{table} (run, {', '.join(schema)})" for table, schema in _SCHEMAS.items())
    return f"The tables are {', '.join(named)}; terms have a spread besides."


def _quoted(file: Place) -> str:
    """A path as DuckDB reads it: quotes doubled, and what stands for other letters bracketed."""
    path = file.url if file.local is None else str(file.local)
    plain = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
    return "'" + plain.replace("'", "''") + "'"
