"""Interactions: the strongest terms as bars, and the strength of every order."""

from math import isfinite, isnan

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from unmask.plot import bars
from unmask.plot.dispatch import plot
from unmask.plot.labels import lines, term
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
from unmask.results import Interactions


@plot.register
def _(
    result: Interactions, *, most: int = 12, ax: Axes | None = None, colours: Colours = COLOURS
) -> Figure:
    """The terms that move the score most over all masks, each with its players by name.

    A bar to the right raises the score, one to the left lowers it. A filled bar is an AND, a lined
    one an OR, so the picture reads in black and white.

    Args:
        result: the terms.
        most: how many to draw.
        ax: where to draw.
        colours: of positive and negative effects.
    """
    sizes = result.effects.detach().double().abs().nan_to_num(0.0)
    ranking = result.spread.detach().double().nan_to_num(0.0)
    chosen = ranking.argsort(descending=True, stable=True)[: max(most, 0)]
    chosen = chosen[sizes[chosen] > 0].tolist()
    own = ax is None
    if not chosen:
        figure, ax = stage(ax, 1.2)
        notice(ax, f"No term has an effect: the value is {result.empty:.4g} whatever is shown.")
        return figure

    members = [
        [name for name, inside in zip(result.names, row, strict=True) if inside]
        for row in result.members[chosen].tolist()
    ]
    is_or = result.is_or[chosen].tolist()
    labels = [term(names, any_) for names, any_ in zip(members, is_or, strict=True)]
    joint = any(len(names) > 1 for names in members)
    figure, ax = stage(ax, bars.height(labels) + 0.8 + 0.3 * joint)
    lined = [any_ and len(names) > 1 for names, any_ in zip(members, is_or, strict=True)]
    bars.draw(ax, labels, result.effects.detach()[chosen].double().tolist(), lined, colours, own)
    ax.set_xlabel("effect on the score", size=SMALL, color=MUTED)
    if joint:
        _legend(figure, ax, own, _logic(INK))
    caption(figure, ax, _what_is_shown(result, len(chosen), float(sizes[chosen].sum()), own), own)
    return figure


def plot_orders(
    terms: Interactions, *, ax: Axes | None = None, colours: Colours = COLOURS
) -> Figure:
    """The strength of every order: effects added up, positive ones upwards, negative downwards.

    Filled parts are ANDs, lined parts ORs; terms of one player are both, and filled.

    Args:
        terms: the terms.
        ax: where to draw.
        colours: of positive and negative effects.
    """
    own = ax is None
    figure, ax = stage(ax, 3.0)
    players = max(1, len(terms.names))
    effects, order = terms.effects.detach().double().cpu(), terms.order.cpu()
    lined = terms.is_or.cpu() & (order > 1)
    for sign, colour in zip((1, -1), colours, strict=True):
        base = torch.zeros(players + 1, dtype=torch.double)
        for is_or in (False, True):
            some = (lined == is_or) & (effects * sign > 0)
            strength = torch.zeros(players + 1, dtype=torch.double)
            strength.index_add_(0, order[some], effects[some])
            there = strength.nonzero()[:, 0]
            ax.bar(
                there.tolist(), strength[there].tolist(), bottom=base[there].tolist(), width=0.7,
                edgecolor=colour, linewidth=0.9, color="white" if is_or else colour,
                hatch="/////" if is_or else None,
            )  # fmt: skip
            base += strength
    quiet(ax)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    ax.set_xlim(0.4, max(players, 6) + 0.6)  # one bar shall not fill the whole picture
    ax.set_xticks(range(1, players + 1, -(-players // 20)))
    ax.set_xlabel("order: players in a term", size=SMALL, color=MUTED)
    ax.set_ylabel("effects added up", size=SMALL, color=MUTED)
    if len(effects) == 0 or not effects.any():
        ax.set_yticks([0])
        ax.text(0.5, 0.6, "no terms", transform=ax.transAxes, ha="center", color=MUTED, size=NORMAL)
    signs = [
        Patch(facecolor=colours[0], label="positive (up)"),
        Patch(facecolor=colours[1], label="negative (down)"),
    ]
    _legend(figure, ax, own, signs + _logic(INK))
    return figure


def _logic(colour: str) -> list[Patch]:
    return [
        Patch(facecolor=colour, edgecolor=colour, label="AND: acts when all are present"),
        Patch(facecolor="white", edgecolor=colour, hatch="/////", label="OR: when any is"),
    ]


def _legend(figure: Figure, ax: Axes, own: bool, handles: list[Patch]) -> None:
    looks = {"frameon": False, "fontsize": SMALL, "labelcolor": MUTED, "handlelength": 1.6}
    if own:
        figure.legend(handles=handles, loc="outside upper left", ncols=4, **looks)
    else:
        ax.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=2,
            **looks,
        )  # fmt: skip


def _what_is_explained(result: Interactions) -> str:
    """How good the terms are where they were not found from, if that was measured."""
    measured = [
        f"{share(max(0.0, 1 - residual))} {where}"
        for residual, where in (
            (result.residual, "over all masks"),
            (result.residual_near_full, "where at most a fifth is hidden"),
        )
        if residual is not None and not isnan(residual)
    ]
    if not measured:
        return ""
    return (
        f" Of the variance of the score, all terms together explain {' and '.join(measured)}, on "
        "masks that they were not fitted to."
    )


def _what_is_shown(result: Interactions, shown: int, strength: float, own: bool) -> str:
    total = float(result.effects.detach().double().abs().nan_to_num(0.0).sum())
    count_all = int(result.effects.count_nonzero())
    said = (
        "All terms" if shown == count_all else f"The {shown} strongest of {count(count_all)} terms"
    )
    if shown == count_all == 1:
        said = "The only term"
    said += f": {share(strength / total)} of the strength (L1)." if isfinite(total) else "."
    if result.gap is not None:
        said += f" Gap to the proven least strength: {share(result.gap)}."
    said += _what_is_explained(result)
    return lines(said.split(" "), 118 if own else 56)
