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
        from unmask.cli.pages import PAGE, page_of_training
        from unmask.store.addresses import refuse_address

        refuse_address(run)
        page = page_of_training(run, out or run / PAGE, title)
        if open_:
            typer.launch(str(page.resolve()))
