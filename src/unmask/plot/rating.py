"""Rating: how good each explanation is, and the curves that this was read from."""

import torch
from matplotlib.figure import Figure

from unmask.plot.dispatch import plot
from unmask.plot.style import COLOURS, FAINT, MUTED, SMALL, Colours, notice, quiet, sheet, stage
from unmask.results import Rating

_FEW = 40
"""Curves up to which each is drawn."""


@plot.register
def _(result: Rating, *, colours: Colours = COLOURS) -> Figure:
    """A point per input over the mean and its interval; beside them the mean of the curves.

    Args:
        result: a rating.
        colours: the first is that of the mean.
    """
    known = result.values[~result.values.isnan()].double().cpu()
    if len(known) == 0:
        figure, ax = stage(None, 1.2)
        notice(ax, f"The metric has no meaning for any of the {len(result.values)} inputs.")
        return figure
    figure = sheet(2.4)
    curve = result.curve
    places = figure.subplots(1, 2 if curve is not None else 1, squeeze=False)[0]
    ax = places[0]
    quiet(ax)
    ax.scatter(torch.arange(len(known)), known.sort().values, s=9, color=MUTED, linewidths=0)
    low, high = result.interval()
    ax.axhspan(low, high, color=colours[0], alpha=0.18, linewidth=0)
    ax.axhline(result.mean, color=colours[0], linewidth=1.3)
    better = "higher" if result.higher_is_better else "lower"
    left = f", undefined for {result.undefined}" if result.undefined else ""
    ax.set_title(f"mean {result.mean:.4g}{left}", loc="left", size=SMALL, color=MUTED)
    ax.set_xlabel(f"inputs, in order ({better} is better)", size=SMALL, color=MUTED)
    if curve is not None:
        at = result.at if result.at is not None else torch.arange(curve.shape[1])
        drawn, at = curve.detach().double().cpu(), at.detach().double().cpu()
        ax = places[1]
        quiet(ax)
        for row in drawn[:_FEW]:
            ax.plot(at, row, color=FAINT, linewidth=0.8)
        ax.plot(at, drawn.nanmean(0), color=colours[0], linewidth=1.6)
        ax.set_title("what it was read from, and the mean", loc="left", size=SMALL, color=MUTED)
    return figure
