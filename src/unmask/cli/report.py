"""`unmask report`: the page of a run."""

from pathlib import Path
from typing import Annotated

import typer

from unmask.cli.errors import told


def report(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; by default page.html in the folder.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it afterwards.")] = False,
) -> None:
    """Write the page of a run: one HTML file to play with and to send on.

    Example: [bold]unmask report runs/resnet --out resnet.html[/bold]
    """
    with told():
        from unmask.cli import say
        from unmask.cli.pages import PAGE, page_of

        page = page_of(run, out or run / PAGE)
        if page is None:
            raise ValueError(
                f"The run in '{run}' holds no terms to show. "
                "Add [methods.and_or] to its plan and run that in a new folder."
            )
        say.console().print(f"Page: {page.resolve()}")
        if open_:
            typer.launch(str(page.resolve()))
