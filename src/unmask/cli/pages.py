"""Pages of what commands have found."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unmask.store.places import Place

PAGE = "page.html"
"""What a page is called that nobody gave a name."""


def page_of(folder: str | os.PathLike[str], page: str | os.PathLike[str]) -> "Place | None":
    """The page of a run; None where its methods give no terms to show.

    Args:
        folder: of the run, here or in a store.
        page: where to write it, likewise.
    """
    from unmask.report import build
    from unmask.report.from_run import cases, has_terms
    from unmask.run import read_run
    from unmask.store.addresses import address
    from unmask.store.places import Place

    found = read_run(folder)
    if found.explained and not any(map(has_terms, found.explained)):
        return None
    place = Place.of(address(page) or page)
    shown, title = cases(folder), f"What {found.plan.model} knows"
    if place.local is not None:
        build(shown, place.local, title=title, notes=found.header.notes)
        return Place(str(place.local.resolve()))
    with place.written() as draft:
        build(shown, draft, title=title, notes=found.header.notes)
    return place


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
