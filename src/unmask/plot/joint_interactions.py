"""JointInteractions: the terms as rows, one mark for each network."""

from math import isfinite

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from unmask.plot import bars
from unmask.plot.dispatch import plot
from unmask.plot.labels import lines, term, wrapped
from unmask.plot.style import (
    COLOURS,
    FAINT,
    INK,
    MUTED,
    NORMAL,
    SMALL,
    Colours,
    caption,
    count,
    notice,
    quiet,
    share,
    stage,
)
from unmask.results import JointInteractions

SALIENT = 0.05
"""Of the strongest term of its network, what a term that counts must have."""
MARKS = "osD^vP*X<>pd"
"""One per network; beyond so many they begin anew."""


@plot.register
def _(
    result: JointInteractions, *, most: int = 12, ax: Axes | None = None, colours: Colours = COLOURS
) -> Figure:
    """The terms that the networks share most, one mark for the effect in each network.

    Terms are sorted by what all networks have of them: the least strength over networks, with one
    sign, in units of each network's strongest; then by their mean. A line joins the marks of a
    term, so that a short line far from zero is a term in common. Filled marks are ANDs, hollow ones
    ORs.

    Args:
        result: the terms.
        most: how many to draw.
        ax: where to draw.
        colours: of positive and negative effects.
    """
    effects = result.effects.detach().double().cpu().nan_to_num(0.0)
    shared, mean = _strengths(effects, result)
    ranking = sorted(range(effects.shape[1]), key=lambda j: (-float(shared[j]), -float(mean[j])))
    chosen = [j for j in ranking[: max(most, 0)] if float(mean[j]) > 0]
    own = ax is None
    if not chosen:
        figure, ax = stage(ax, 1.2)
        notice(ax, "No term has an effect in any network.")
        return figure
    members = [
        [name for name, inside in zip(result.names, row, strict=True) if inside]
        for row in result.members[chosen].tolist()
    ]
    is_or = result.is_or[chosen].tolist()
    labels = [term(names, any_) for names, any_ in zip(members, is_or, strict=True)]
    hollow = [any_ and len(names) > 1 for names, any_ in zip(members, is_or, strict=True)]
    legend = _legend(result, colours, hollow)
    figure, ax = stage(ax, bars.height(labels) + 0.9 + 0.2 * -(-len(legend) // 4))
    middles = _rows(ax, labels, own)
    for place, j, empty in zip(middles, chosen, hollow, strict=True):
        values = effects[:, j].tolist()
        ax.plot([min(values), max(values)], [place] * 2, color=MUTED, linewidth=1.0, zorder=2)
        for network, value in enumerate(values):
            colour = MUTED if value == 0 else colours[0] if value > 0 else colours[1]
            ax.plot(
                value, place, MARKS[network % len(MARKS)], zorder=3 + network, clip_on=False,
                markersize=_size(network, len(values)),
                markerfacecolor="white" if empty else colour,
                markeredgecolor=colour if empty else "white",
                markeredgewidth=1.2 if empty else 0.7,
            )  # fmt: skip
    ax.set_xlabel("effect on the score of each network", size=SMALL, color=MUTED)
    looks = {"frameon": False, "fontsize": SMALL, "labelcolor": MUTED, "ncols": 4 if own else 2}
    if own:
        key = figure.legend(handles=legend, loc="outside upper left", **looks)
    else:
        key = ax.legend(handles=legend, loc="lower left", bbox_to_anchor=(0, 1), **looks)
    for text in key.get_texts():
        text.set_parse_math(False)
    caption(figure, ax, _what_is_shown(result, effects, chosen, own), own)
    return figure


def _strengths(
    effects: Float[Tensor, "networks terms"], result: JointInteractions
) -> tuple[Float[Tensor, " terms"], Float[Tensor, " terms"]]:
    """What all networks have of each term, and what they have of it on average.

    As everywhere, terms are ranked by how much they move the value over all masks, not by |I|.
    """
    order = result.members.sum(1).cpu().double()
    firing = 2.0**-order
    spread = effects * (firing * (1 - firing)).sqrt()
    if spread.shape[1]:
        spread = spread / spread.abs().amax(1, keepdim=True).clamp_min(1e-300)
    alike = (spread > 0).all(0) | (spread < 0).all(0)
    return spread.abs().amin(0) * alike, spread.abs().mean(0)


def _rows(ax: Axes, labels: list[str], own: bool) -> list[float]:
    """Rows as high as their labels, the first on top; their middles."""
    bottom, middles = 0.0, []
    for label in labels:
        height = bars.height([label])
        middles.append(bottom + height / 2)
        bottom += height
    quiet(ax)
    ax.axvline(0, color=INK, linewidth=0.8, zorder=1)
    ax.grid(color=FAINT, linewidth=0.5)
    ax.set_yticks(
        middles, labels, parse_math=False, size=NORMAL if own else 0.8 * NORMAL, color=INK
    )
    ax.set_ylim(bottom, 0)
    ax.margins(x=0.06)
    return middles


def _size(network: int, networks: int) -> float:
    """Later marks are smaller, so that one that lies on another hides nothing."""
    return 8.5 - 2.5 * network / max(1, networks - 1)


def _legend(result: JointInteractions, colours: Colours, hollow: list[bool]) -> list[Line2D]:
    looks = {"linestyle": "none", "markersize": 6}
    networks = [
        Line2D([], [], marker=MARKS[i % len(MARKS)], color=MUTED, label=_plain(name), **looks)
        for i, name in enumerate(result.networks)
    ]
    if not any(hollow):
        return networks
    return [
        *networks,
        Line2D([], [], marker="o", color=INK, label="filled: AND", **looks),
        Line2D([], [], marker="o", color=INK, mfc="white", label="hollow: OR", **looks),
    ]


def _plain(name: str) -> str:
    """A name in lines; matplotlib leaves out labels that begin with an underscore."""
    shown = wrapped(name, 24)
    return f" {shown}" if shown.startswith("_") else shown


def _what_is_shown(
    result: JointInteractions,
    effects: Float[Tensor, "networks terms"],
    chosen: list[int],
    own: bool,
) -> str:
    every = int((effects != 0).any(0).sum())
    total, drawn = float(effects.abs().sum()), float(effects[:, chosen].abs().sum())
    said = "All terms" if len(chosen) == every else f"{len(chosen)} of {count(every)} terms"
    if isfinite(total):
        said += f", {share(drawn / total)} of the strength (L1)."
    salient = effects.abs() >= SALIENT * effects.abs().amax(1, keepdim=True)
    salient &= effects != 0
    own_terms = " and ".join(count(int(own)) for own in salient.sum(1))
    said += (
        f" Terms of {share(SALIENT)} of a network's strongest or more: {own_terms}, "
        f"{count(int(salient.all(0).sum()))} in common."
    )
    if result.gap is not None:
        said += f" Gap to the proven least price: {share(result.gap)}."
    return lines(said.split(" "), 118 if own else 56)
