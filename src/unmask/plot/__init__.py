"""Pictures of results: `plot(result)` draws any of the six types and returns the figure.

Nothing is shown and no global setting of matplotlib is touched. In a notebook, importing this
package makes the picture the display of every result.
"""

from unmask.plot import (  # noqa: F401 (each teaches plot its type)
    attribution,
    examples,
    interactions,
    measurement,
    surrogate,
    synthesis,
)
from unmask.plot.dispatch import plot
from unmask.plot.interactions import plot_orders
from unmask.plot.measurement import plot_curve
from unmask.plot.notebook import register
from unmask.plot.style import COLOURS, Colours, png, svg
from unmask.plot.synthesis import plot_traces

__all__ = [
    "COLOURS",
    "Colours",
    "plot",
    "plot_curve",
    "plot_orders",
    "plot_traces",
    "png",
    "svg",
]

register()
