"""`unmask report`: the page of a run."""

from typing import Annotated

import typer

from unmask.cli.errors import told


def report(
    run: Annotated[
        str, typer.Argument(help="A run folder: a path, or an address such as s3://bucket/run.")
    ],
    out: Annotated[
        str | None, typer.Option(help="The page; by default page.html in the folder.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it afterwards.")] = False,
) -> None:
    """Write the page of a run: one HTML file to play with and to send on.

    Example: [bold]unmask report runs/resnet --out resnet.html[/bold]
    """
    with told():
        from unmask.cli import say
        from unmask.cli.pages import PAGE, page_of
        from unmask.report.from_run import without_terms
        from unmask.run import read_run
        from unmask.store.places import Place

        page = page_of(run, out or Place(run) / PAGE)
        if page is None:
            raise without_terms(read_run(run), run)
        say.console().print(f"Page: {page}")
        if open_:
            typer.launch(str(page))
