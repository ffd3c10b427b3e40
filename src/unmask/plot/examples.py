"""Examples: the cases as pictures, or their weights as bars."""

from jaxtyping import Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from unmask.plot import bars, inputs
from unmask.plot.dispatch import plot
from unmask.plot.style import COLOURS, MUTED, SMALL, Colours, notice, sheet, signed, stage
from unmask.results import Examples


@plot.register
def _(
    result: Examples,
    *,
    data: Shaped[Tensor, "dataset *input"] | None = None,
    row: int = 0,
    most: int = 12,
    ax: Axes | None = None,
    colours: Colours = COLOURS,
) -> Figure:
    """The cases that explain an input.

    Made inputs, and cases of `data`, are shown themselves: as pictures where they look like some.
    Without data the weights are drawn as bars. Pictures need several axes, and make no use of `ax`.

    Args:
        result: the cases.
        data: the dataset into which `index` points.
        row: which explained input, where the cases stand in a dataset.
        most: cases to show.
        ax: where to draw bars or rows of colour.
        colours: of positive and negative weights.
    """
    titles: list[str] = []
    if result.index is not None:
        index = result.index[row].cpu()
        weight = None if result.weight is None else result.weight[row].double().cpu()
        titles = [f"case {case}" for case in index.tolist()]
        if data is None and weight is not None:
            chosen = weight.abs().argsort(descending=True, stable=True)[:most].tolist()
            return _weights(
                [titles[i] for i in chosen], [float(weight[i]) for i in chosen], ax, colours
            )
        if weight is not None:
            titles = [
                f"{title}: {signed(share)}"
                for title, share in zip(titles, weight.tolist(), strict=True)
            ]
        shown = None if data is None else data[index.to(data.device)]
    else:
        shown = result.inputs
        titles = [f"made {i + 1}" for i in range(0 if shown is None else len(shown))]
    if shown is None or len(shown) == 0:
        figure, ax = stage(ax, 1.2)
        notice(ax, ", ".join(titles) or "There are no cases.")
        return figure
    shown, titles = shown[:most], titles[:most]
    if not inputs.are_pictures(shown):
        figure, ax = stage(ax, 0.28 * len(shown) + 1.0)
        inputs.matrix(figure, ax, shown, titles)
        return figure
    high = inputs.rows(len(shown))
    figure = sheet(1.5 * high)
    places = figure.subplots(high, inputs.ACROSS, squeeze=False)
    inputs.pictures(figure, places.ravel().tolist(), shown, titles)
    return figure


def _weights(labels: list[str], values: list[float], ax: Axes | None, colours: Colours) -> Figure:
    own = ax is None
    figure, ax = stage(ax, bars.height(labels) + 0.7)
    if not labels:
        notice(ax, "There are no cases.")
        return figure
    bars.draw(ax, labels, values, [False] * len(labels), colours, own)
    ax.set_xlabel("weight", size=SMALL, color=MUTED)
    return figure
