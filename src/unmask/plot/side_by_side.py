"""Several methods on the same pictures, side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from unmask.plot import heat
from unmask.plot.labels import wrapped
from unmask.plot.style import COLOURS, INK, MUTED, NORMAL, SMALL, WIDTH, Colours, sheet
from unmask.results import Attribution
from unmask.views import ImageView


def plot_side_by_side(
    columns: Mapping[str, Attribution],
    *,
    over: Sequence[ImageView],
    captions: Sequence[str] = (),
    percentile: float = 99.0,
    colours: Colours = COLOURS,
) -> Figure:
    """A row per picture and a column per method, each map in colours of its own range.

    Values of several channels are added up. A map without values below zero is drawn in a map of
    colours that rises; any other is symmetric about zero.

    Args:
        columns: by the name of the method, what it says of each picture.
        over: the pictures.
        captions: what is written beside each picture, such as its class.
        percentile: of the sizes, at which the colours of a map end.
        colours: of positive and negative values.
    """
    for name, found in columns.items():
        if found.values.ndim < 3 or len(found.values) != len(over):
            raise ValueError(
                f"{name!r} holds values of shape {tuple(found.values.shape)} for {len(over)} "
                "pictures. Give a map for each of them."
            )
    if not columns or not over:
        raise ValueError(
            f"There are {len(columns)} methods and {len(over)} pictures. Give one of each at least."
        )
    across = len(columns) + 1
    each = WIDTH / across
    tallest = max(view.pixels.shape[0] / view.pixels.shape[1] for view in over)
    figure = sheet(len(over) * each * tallest + 0.6)
    places = figure.subplots(len(over), across, squeeze=False)
    for row, view in enumerate(over):
        first = places[row][0]
        first.imshow(view.pixels.cpu().numpy(), interpolation="nearest")
        first.set_axis_off()
        if row < len(captions):
            first.set_title(
                wrapped(captions[row], 18), size=SMALL, color=MUTED, loc="left", parse_math=False
            )
        for place, (name, found) in zip(places[row][1:], columns.items(), strict=True):
            values = found.values[row].detach().cpu().double()
            values = values.flatten(0, -3).sum(0) if values.ndim > 2 else values
            sizes = values.abs().nan_to_num(0.0)
            limit = float(np.percentile(sizes.numpy(), percentile)) or float(sizes.max())
            heat.lay(
                place, values.numpy(), view.pixels, limit=limit, colours=colours,
                unsigned=bool((values >= 0).all()),
            )  # fmt: skip
            if row == 0:
                place.set_title(
                    wrapped(name, 16), size=NORMAL, color=INK, loc="left", parse_math=False
                )
    said = f"Each map in a range of its own; colours end at the {percentile:g}th percentile."
    line = figure.supxlabel(said, x=0.012, ha="left", size=SMALL, color=MUTED)
    line.set_parse_math(False)
    return figure


def panels(rows: int, columns: int, height: float) -> tuple[Figure, list]:
    """A figure with places for several pictures, to be given as `ax`.

    Args:
        rows: of places.
        columns: of places.
        height: of the figure, in inches.
    """
    figure = sheet(height)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)
