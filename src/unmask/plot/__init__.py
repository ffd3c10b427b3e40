"""Pictures of results: `plot(result)` draws a result of any type and returns the figure.

Nothing is shown and no global setting of matplotlib is touched. In a notebook, importing this
package makes the picture the display of every result.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unmask.plot import (  # noqa: F401 (each teaches plot its type)
    and_or_graph,
    attribution,
    dependence,
    examples,
    hierarchy,
    interactions,
    joint_interactions,
    measurement,
    rating,
    surrogate,
    synthesis,
)
from unmask.plot.curves import plot_curve, plot_panel
from unmask.plot.dispatch import plot
from unmask.plot.interactions import plot_orders
from unmask.plot.notebook import register
from unmask.plot.orders import plot_course, plot_strengths
from unmask.plot.side_by_side import panels, plot_side_by_side
from unmask.plot.style import COLOURS, Colours, png, svg
from unmask.plot.synthesis import plot_traces

__all__ = [
    "COLOURS",
    "Axes",
    "Colours",
    "Figure",
    "panels",
    "plot",
    "plot_course",
    "plot_curve",
    "plot_orders",
    "plot_panel",
    "plot_side_by_side",
    "plot_strengths",
    "plot_traces",
    "png",
    "svg",
]

register()
