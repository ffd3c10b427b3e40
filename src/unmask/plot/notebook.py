"""In a notebook, a result at the end of a cell is its picture."""

import sys
from typing import get_args

from matplotlib.figure import Figure

from unmask.plot.dispatch import plot
from unmask.plot.style import png
from unmask.results import Result


def register() -> None:
    """Tell a running IPython how to show results; without one, do nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    formatter = getattr(shell, "display_formatter", None)
    if formatter is None:
        return
    pictures = formatter.formatters["image/png"]
    for kind in get_args(Result):
        pictures.for_type(kind, lambda result: png(plot(result)))
    if Figure not in pictures.type_printers:  # pyplot, which is not used here, would do this
        pictures.for_type(Figure, png)
