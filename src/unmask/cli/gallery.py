"""`unmask gallery`: figures of the papers, made anew."""

from pathlib import Path
from typing import Annotated

import typer

from unmask.cli.errors import told


def gallery(
    names: Annotated[
        list[str] | None, typer.Argument(help="Plates by name; all of them if none is given.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where pictures and page are written.")] = Path(
        "runs/gallery"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Use only data that come with scikit-learn.")
    ] = False,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page afterwards.")
    ] = False,
) -> None:
    """Make figures of the survey anew, and say where they agree.

    Example: [bold]unmask gallery survey_figure_6 --quick[/bold]
    """
    with told():
        import difflib

        from unmask.cli import say
        from unmask.gallery import PLATES, hang

        chosen = names or list(PLATES)
        for name in chosen:
            if name not in PLATES:
                near = difflib.get_close_matches(name, PLATES, n=3, cutoff=0.0)
                raise ValueError(
                    f"There is no plate {name!r}. The nearest names are "
                    f"{', '.join(map(repr, near))}."
                )
        console = say.console()

        def made():
            for name in chosen:
                with console.status(f"{name} ..."):
                    plate = PLATES[name](quick=quick)
                holds = sum(found.holds for found in plate.findings)
                console.print(f"{name}: {holds} of {len(plate.findings)} findings agree")
                yield plate

        page = hang(made(), out)
        console.print(f"Page: {page.resolve()}")
        if open_:
            typer.launch(str(page.resolve()))
