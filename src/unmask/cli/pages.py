"""Pages of what commands have found."""

from pathlib import Path

PAGE = "page.html"
"""What a page is called that nobody gave a name."""


def page_of(folder: Path, page: Path) -> Path | None:
    """The page of a run; None where its methods give no terms to show.

    Args:
        folder: of the run.
        page: where to write it.
    """
    from unmask.report import build
    from unmask.report.from_run import cases, has_terms
    from unmask.run import read_run

    found = read_run(folder)
    if found.explained and not any(map(has_terms, found.explained)):
        return None
    return build(
        cases(folder), page, title=f"What {found.plan.model} knows", notes=found.header.notes
    )


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
