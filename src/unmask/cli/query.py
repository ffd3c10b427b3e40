"""`unmask query`: ask many runs at once."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unmask.cli.errors import told

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 40
"""Rows that are shown unasked."""


def query(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, comparisons, single results, or folders that hold them; paths or "
            "addresses such as s3://bucket/runs."
        ),
    ],
    sql: Annotated[
        str,
        typer.Argument(
            help='One query over the tables terms (run, input, step, method, "order", members, '
            "logic, effect, spread), attributions (run, input, method, position, name, value) and "
            "ratings (run, method, metric, criterion, input, value)."
        ),
    ],
    csv: Annotated[
        bool, typer.Option("--csv", help="Write all rows as CSV, for other programs.")
    ] = False,
) -> None:
    """Ask many runs at once, in SQL.

    The query is run as it is, with your rights: do not pass on a stranger's.

    Example: [bold]unmask query runs "select run, sum(abs(effect)) from terms group by run"[/bold]
    """
    with told():
        import sys

        from unmask.cli import say
        from unmask.store import query as asked

        found = asked(runs, sql)
        if csv:
            found.to_csv(sys.stdout, index=False)
            return
        console = say.console()
        console.print(_table(found.head(SHOWN)))
        if len(found) > SHOWN:
            console.print(f"{SHOWN} of {len(found):,} rows. All of them: --csv")


def _table(found: Any) -> "Table":  # a data frame; its package is a guest of the store alone
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from unmask.cli.errors import printable

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name, kind in found.dtypes.items():
        table.add_column(
            Text(printable(str(name))),
            justify="right" if kind.kind in "iufb" else "left",
            overflow="fold",
        )
    for row in found.itertuples(index=False):
        table.add_row(*(Text(printable(_told(cell))) for cell in row))
    return table


def _told(cell: object) -> str:
    """A cell as it reads: numbers short, lists with commas, nothing for NULL."""
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ""
    if isinstance(cell, float):
        return f"{cell:.6g}"
    if isinstance(cell, str | bool | int):
        return str(cell)
    parts = getattr(cell, "tolist", lambda: cell)()  # of an array, which is a list in SQL
    return ", ".join(map(str, parts)) if isinstance(parts, list) else str(parts)
