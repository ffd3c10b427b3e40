"""`unmask dynamics`: the page of a training."""

from pathlib import Path
from typing import Annotated

import typer

from unmask.cli.errors import told


def dynamics(
    run: Annotated[Path, typer.Argument(help="The run folder of a training.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; by default page.html in the folder.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it afterwards.")] = False,
) -> None:
    """Write the page of a training: what was learnt when, order by order.

    Example: [bold]unmask dynamics runs/lenet --open[/bold]
    """
    with told():
        from unmask.cli.run import PAGE

        page = page_of_training(run, out or run / PAGE, title)
        if open_:
            typer.launch(str(page.resolve()))


def page_of_training(folder: Path, page: Path, title: str | None = None) -> Path:
    """Write the page of a training, and say where it is.

    Args:
        folder: of the record.
        page: where to write it.
        title: of the page.
    """
    from unmask.cli import say
    from unmask.report import build_dynamics

    written = build_dynamics(folder, page, title=title)
    console = say.console()
    console.print(f"Results: {folder}")
    console.print(f"Page: {written.resolve()}")
    return written
