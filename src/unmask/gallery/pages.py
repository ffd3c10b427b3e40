"""Plates as pages: a file per picture, and one that shows them all."""

import html
from collections.abc import Iterable
from pathlib import Path

from unmask.gallery.plate import Plate
from unmask.plot import png, svg
from unmask.store import written

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; margin: 0 auto;
  max-width: 56rem; padding: 2rem 1.2rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin: 3rem 0 0.2rem; }
.source, .setting { color: #5f6b77; margin: 0.2rem 0; }
svg { width: 100%; height: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top;
  padding: 0.35rem 0.8rem 0.35rem 0; border-top: 1px solid #d4dae0; }
th { font-weight: 600; } td:last-child, th:last-child { white-space: nowrap; padding-right: 0; }
.differs { color: #a33d00; font-weight: 600; }
"""


def hang(plates: Iterable[Plate], folder: Path) -> Path:
    """Write each plate's picture as SVG and PNG as it comes, and in the end a page of all.

    Args:
        plates: made one after the other.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    for plate in plates:
        drawing = svg(plate.picture)
        with written(folder / f"{plate.name}.svg") as draft:
            draft.write_text(drawing, "utf-8")
        with written(folder / f"{plate.name}.png") as draft:
            draft.write_bytes(png(plate.picture))
        shown.append(_section(plate, drawing))
    page = folder / "index.html"
    with written(page) as draft:
        draft.write_text(_page(shown), "utf-8")
    return page


def _section(plate: Plate, drawing: str) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(found.claim)}</td><td>{html.escape(found.measured)}</td>"
        f"<td{'' if found.holds else ' class=differs'}>{'agrees' if found.holds else 'differs'}"
        "</td></tr>"
        for found in plate.findings
    )
    return (
        f"<section id={plate.name}><h2>{html.escape(plate.title)}</h2>"
        f"<p class=source>{html.escape(plate.source)}</p>"
        f"{drawing}<p class=setting>{html.escape(plate.setting)}</p>"
        f"<table><tr><th>What it shows</th><th>Measured here</th><th></th></tr>{rows}</table>"
        "</section>"
    )


def _page(sections: list[str]) -> str:
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>unmask: gallery</title><style>{_STYLE}</style>"
        "<h1>Gallery</h1><p>Figures of the survey and of the papers behind it, made anew: what "
        f"each claims, and what was measured here.</p>{''.join(sections)}</html>\n"
    )
