"""A comparison of explanations -> one HTML file."""

from pathlib import Path

from unmask.report.compare.story import told
from unmask.report.frame import framed
from unmask.run.compare import Comparison
from unmask.store import written

_STYLES = ("page.css", "compare/compare.css")
_SCRIPTS = (
    *("words.js", "draw.js"),
    *(
        f"compare/{name}.js"
        for name in ("scale", "finding", "matrix", "detail", "maps", "agreement", "start")
    ),
)


def build_comparison(
    comparison: Comparison, path: str | Path, *, title: str = "Which explanation to believe"
) -> Path:
    """Write a page about explanations that were compared.

    The reader sees which method is recommended and what speaks against each other, every method
    by every metric with what was measured behind each number, the same inputs as each method sees
    them, and how much methods agree. The file is written whole or not at all.

    Args:
        comparison: of methods on some inputs.
        path: of the file; its folder is made where it is missing.
        title: of the page.
    """
    page = framed(title, {"title": title, **told(comparison)}, _STYLES, _SCRIPTS)
    with written(path) as draft:
        draft.write_text(page, "utf-8")
    return Path(path)
