"""A training -> one HTML file."""

from pathlib import Path

from unmask.report.dynamics.story import told
from unmask.report.frame import framed
from unmask.run import Record
from unmask.store import written

_STYLES = ("page.css", "dynamics/dynamics.css")
_SCRIPTS = (
    *("words.js", "draw.js"),
    *(f"dynamics/{name}.js" for name in ("course", "profile", "terms", "verdict", "start")),
)


def build_dynamics(folder: str | Path, path: str | Path, *, title: str | None = None) -> Path:
    """Write a page about a training: what the network learnt when, order by order.

    The reader moves through the checkpoints and sees the orders of the interactions there, the
    losses beside them, the switch to the second phase if one was detected, and the terms that
    were gained and lost since another step. The file is written whole or not at all.

    Args:
        folder: that an `InteractionMonitor` or a plan with checkpoints wrote.
        path: of the file; its folder is made where it is missing.
        title: of the page.
    """
    record = Record.read(folder)
    data = {"title": title or f"Training: {Path(folder).resolve().name}", **told(record)}
    page = framed(data["title"], data, _STYLES, _SCRIPTS)
    with written(path) as draft:
        draft.write_text(page, "utf-8")
    return Path(path)
