"""Cases -> one HTML file."""

from collections.abc import Sequence
from pathlib import Path

from unmask.report.case import Case
from unmask.report.encode import Json, encoded, encoded_terms
from unmask.report.frame import framed
from unmask.store import written

ROOM = 1_950_000
"""Bytes that a page tries not to pass: what mail and messengers still carry."""
_FEWEST, _MOST = 256, 8192
_TERM = 19
_STYLES = ("page.css",)
_SCRIPTS = ("words.js", "logic.js", "draw.js", "stage.js", "panels.js", "what_if.js", "page.js")


def build(
    cases: Sequence[Case], path: str | Path, *, title: str, notes: Sequence[str] = ()
) -> Path:
    """Write a page about one or many explained inputs.

    The reader hides and shows players and sees the network and its logic side by side. The file
    is written whole or not at all. Where a page would grow too large to be sent, the weakest terms
    stay out of it, and the page says what they could add up to at most.

    Args:
        cases: the explained inputs, in the order in which they are listed.
        path: of the file; its folder is made where it is missing.
        title: of the page.
        notes: sentences for its end, such as what model and what data it is about.
    """
    if not cases:
        raise ValueError("There are no cases, so the page would be empty. Give at least one case.")
    page = _page(cases, title, notes)
    with written(path) as draft:
        draft.write_text(page, "utf-8")
    return Path(path)


def _page(cases: Sequence[Case], title: str, notes: Sequence[str]) -> str:
    rows = [encoded(case) for case in cases]
    words = [-(-len(case.players.names) // 32) for case in cases]
    data: Json = {"title": title, "notes": list(notes), "cases": rows}
    room = ROOM - len(framed(title, data, _STYLES, _SCRIPTS))
    most = int(room / sum(_TERM + 6 * (w - 1) for w in words))
    for row, case in zip(rows, cases, strict=True):
        row |= encoded_terms(case, min(_MOST, max(_FEWEST, most)))
    return framed(title, data, _STYLES, _SCRIPTS)
