"""Synthesis: what was made, and how its score rose."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unmask.plot import inputs
from unmask.plot.dispatch import plot
from unmask.plot.style import (
    COLOURS,
    FAINT,
    MUTED,
    SMALL,
    Colours,
    notice,
    quiet,
    sheet,
    stage,
)
from unmask.results import Synthesis


@plot.register
def _(result: Synthesis, *, most: int = 12, colours: Colours = COLOURS) -> Figure:
    """The inputs with the scores they reached, above the scores on the way.

    Args:
        result: what was made.
        most: inputs to show.
        colours: the first is that of the traces.
    """
    shown, scores = result.inputs[:most], result.score[:most]
    titles = [f"{i}: score {score:.4g}" for i, score in enumerate(scores, 1)]
    if len(shown) == 0:
        figure, ax = stage(None, 1.2)
        notice(ax, "Nothing was made.")
        return figure
    if inputs.are_pictures(shown):
        high = inputs.rows(len(shown))
        figure = sheet(1.5 * high + 2.2)
        grid = figure.add_gridspec(2, 1, height_ratios=[1.5 * high, 2.2])
        above, below = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
        places = above.subplots(high, inputs.ACROSS, squeeze=False)
        inputs.pictures(figure, places.ravel().tolist(), shown, titles)
        ax = below.subplots()
    else:
        high = 0.28 * len(shown) + 0.8
        figure = sheet(high + 2.2)
        above, ax = figure.subplots(2, 1, height_ratios=[high, 2.2])
        inputs.matrix(figure, above, shown, titles)
    plot_traces(result, ax=ax, most=most, colours=colours)
    return figure


def plot_traces(
    result: Synthesis, *, most: int = 12, ax: Axes | None = None, colours: Colours = COLOURS
) -> Figure:
    """The scores on the way, one line per input.

    Args:
        result: what was made.
        most: inputs to show.
        ax: where to draw.
        colours: the first is that of the lines.
    """
    figure, ax = stage(ax, 2.4)
    quiet(ax)
    ax.grid(color=FAINT, linewidth=0.5)
    traces = result.trace[:most].detach().cpu().double().numpy()
    for i, trace in enumerate(traces, 1):
        ax.plot(trace, color=colours[0], linewidth=1.3, alpha=0.8 if len(traces) > 1 else 1)
        if len(traces) > 1 and len(trace):
            ax.annotate(
                str(i), (len(trace) - 1, trace[-1]), (4, 0), textcoords="offset points",
                va="center", size=SMALL, color=MUTED,
            )  # fmt: skip
    ax.set_xlabel("step", size=SMALL, color=MUTED)
    ax.set_ylabel("score", size=SMALL, color=MUTED)
    return figure
