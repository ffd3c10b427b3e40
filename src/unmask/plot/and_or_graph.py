"""AndOrGraph: players at the bottom, words above them, terms above these, and their sum on top."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch

from unmask.players import Players
from unmask.plot.dispatch import plot
from unmask.plot.labels import clean, wrapped
from unmask.plot.layers import Layers, arranged
from unmask.plot.sentence import written
from unmask.plot.style import (
    COLOURS,
    FAINT,
    INK,
    MUTED,
    NORMAL,
    PAPER,
    SMALL,
    WIDTH,
    Colours,
    caption,
    notice,
    share,
    stage,
)
from unmask.results import AndOrGraph
from unmask.views import ImageView, TableView, TextView, View

Numbers = Float[np.ndarray, " nodes"]

_WORDS, _TERMS, _ROOT = 1.0, 2.6, 3.75
"""Inches from the players up to each layer."""
_HIGH, _BROAD = 0.46, 0.17
"""Inches of a term, whose number is written upwards."""
_PICTURE = 0.62
_TINY = 6.5


@plot.register
def _(
    result: AndOrGraph,
    *,
    over: View | None = None,
    players: Players | None = None,
    most: int = 30,
    ax: Axes | None = None,
    colours: Colours = COLOURS,
) -> Figure:
    """Four layers, with a line from each part to what it is a part of.

    ANDs are filled and their lines whole, ORs are hollow and their lines broken, so the picture
    reads in black and white. Lines are as wide as the effect of their term is large. The players
    are put in an order in which few lines cross; those of a sentence stay in theirs. Players that
    are part of nothing that is drawn are left out.

    Args:
        result: the graph.
        over: what a person sees of the input: its words, its facts or its patches then stand for
            the players.
        players: who owns the positions of a picture, or of a text with pieces that are no players.
        most: terms to draw, those that move the value most over all masks.
        ax: where to draw.
        colours: of positive and negative effects.
    """
    own = ax is None
    effects = result.effects.detach().double().cpu().nan_to_num(0.0).numpy()
    ranking = result.terms.spread.detach().double().cpu().nan_to_num(0.0)
    chosen = ranking.argsort(descending=True, stable=True)[: max(most, 0)].sort().values
    if len(chosen) == 0:
        figure, ax = stage(ax, 1.2)
        notice(ax, f"There are no terms: the value is {result.empty:.4g} whatever is shown.")
        return figure
    labels, order = _leaves(result, over, players)
    uses = result.uses[chosen.to(result.uses.device)].cpu().numpy()
    told = uses.any(0)
    layers = arranged(
        result.members[chosen.to(result.members.device)].cpu().numpy(),
        result.words.cpu().numpy()[told],
        uses[:, told],
        order,
    )
    pictures = isinstance(over, ImageView) and players is not None
    below = _below(labels, layers) if not pictures else _PICTURE + 0.3
    figure, ax = stage(ax, _ROOT + below + 1.1)
    ax.set_xlim(-0.1, WIDTH - 0.2)
    ax.set_ylim(-below - 0.1, _ROOT + 0.2)
    ax.set_axis_off()
    is_or = result.is_or.cpu().numpy()[chosen.numpy()]
    several = result.members.sum(1).cpu().numpy()[chosen.numpy()] > 1
    broken = is_or & several
    word_or = result.words_are_or.cpu().numpy()[told]
    _draw_lines(ax, layers, effects[chosen.numpy()], broken, word_or, colours)
    _draw_nodes(ax, layers, effects[chosen.numpy()], broken, word_or, colours)
    _root(ax, result)
    if isinstance(over, ImageView) and players is not None:
        _draw_patches(ax, layers, over, players, labels)
    else:
        _draw_names(ax, layers, labels)
    _legend(figure, ax, own, colours)
    caption(figure, ax, _said(result, effects, len(chosen), effects[chosen.numpy()]), own)
    return figure


def _leaves(
    result: AndOrGraph, over: View | None, players: Players | None
) -> tuple[list[str], list[int] | None]:
    """What stands for each player, and the order that they must keep, if they must."""
    names = [clean(name) for name in result.names]
    if players is not None and len(players.names) != len(names):
        raise ValueError(
            f"The graph is of {len(names)} players, but players are {len(players.names)}. "
            "Give the players that the graph was made of."
        )
    if isinstance(over, TableView):
        if len(over.present) != len(names):
            raise ValueError(
                f"There are {len(names)} players for {len(over.present)} facts of the table. "
                "Give the view of the input that was explained."
            )
        facts = [clean(fact) for fact in over.present]
        return [
            fact if name.lower() in fact.lower() else f"{name}: {fact}"
            for name, fact in zip(names, facts, strict=True)
        ], None
    if not isinstance(over, TextView):
        return names, None
    if players is None and len(over.pieces) != len(names):
        raise ValueError(
            f"There are {len(names)} players for {len(over.pieces)} pieces of text. "
            "Give plot the players too, or the text in the pieces that are the players."
        )
    if players is None:
        return [clean(piece) for piece in over.pieces], list(range(len(names)))
    owner = players.owner.reshape(len(players.owner), -1)[:, 0].tolist()
    first = [owner.index(i) for i in range(len(names))]
    said = [
        clean("".join(piece for piece, who in zip(over.pieces, owner, strict=True) if who == i))
        for i in range(len(names))
    ]
    return said, sorted(range(len(names)), key=lambda i: first[i])


def _step(layers: Layers) -> float:
    """Inches from player to player."""
    return (WIDTH - 0.3) / max(1, int(layers.drawn.sum()))


def _across(place: Numbers) -> Numbers:
    return 0.05 + place * (WIDTH - 0.4)


def _upright(labels: list[str], layers: Layers) -> bool:
    """Whether all names are short enough to stand side by side."""
    return all(
        written(label, NORMAL) / 72 <= _step(layers) - 0.08
        for label, there in zip(labels, layers.drawn, strict=True)
        if there
    )


def _below(labels: list[str], layers: Layers) -> float:
    """Inches that the names need below the lowest layer."""
    if _upright(labels, layers):
        return 0.35
    lines = [line for label in labels for line in wrapped(label, 26).split("\n")]
    return 0.2 + max(written(line, NORMAL) for line in lines) / 72


def _draw_names(ax: Axes, layers: Layers, labels: list[str]) -> None:
    upright = _upright(labels, layers)
    for x, label, there in zip(_across(layers.players), labels, layers.drawn, strict=True):
        if there:
            ax.text(
                x, -0.12, label if upright else wrapped(label, 26), size=NORMAL, color=INK,
                ha="center", va="top", rotation=0 if upright else 90, parse_math=False,
                linespacing=0.95,
            )  # fmt: skip
            ax.plot([x], [0], "o", color=INK, markersize=3.5, zorder=5)


def _draw_patches(
    ax: Axes, layers: Layers, over: ImageView, players: Players, labels: list[str]
) -> None:
    """For each player the picture, faint where it is not the player's."""
    owner = players.owner.cpu()
    owner = (owner[0] if owner.ndim == 3 else owner).numpy()
    pixels = over.pixels.cpu().numpy().astype(float) / 255
    side = min(_PICTURE, _step(layers) - 0.06)
    for i, (x, there) in enumerate(zip(_across(layers.players), layers.drawn, strict=True)):
        if not there:
            continue
        faint = 0.25 * pixels + 0.75 * 0.86  # of a light grey, so that paper and ink both show
        shown = np.where((owner == i)[..., None], pixels, faint)
        ax.imshow(
            shown, extent=(x - side / 2, x + side / 2, -0.08 - side, -0.08), aspect="auto",
            zorder=3, interpolation="nearest",
        )  # fmt: skip
        ax.text(
            x, -0.14 - side, wrapped(labels[i], 11), size=_TINY, color=MUTED, ha="center",
            va="top", parse_math=False,
        )  # fmt: skip
        ax.plot([x], [0], "o", color=INK, markersize=3.5, zorder=5)


def _draw_lines(
    ax: Axes, layers: Layers, effects: Numbers, broken: np.ndarray, word_or: np.ndarray,
    colours: Colours,
) -> None:  # fmt: skip
    """Strong terms on top of weak ones; what leads to words belongs to several, and is grey."""
    limit = float(np.abs(effects).max()) or 1.0
    leaf, word, term = (_across(one) for one in (layers.players, layers.words, layers.terms))
    for i, j in zip(*layers.of_words.nonzero(), strict=True):
        ax.plot(
            [leaf[j], word[i]], [0, _WORDS - 0.08], color=MUTED, linewidth=1.2, zorder=1.5,
            linestyle=(0, (3, 2)) if word_or[i] else "-",
        )  # fmt: skip
    foot, head = _TERMS - _HIGH / 2, _TERMS + _HIGH / 2
    for i in np.abs(effects).argsort(kind="stable"):
        whole = ([float(term[i]), (WIDTH - 0.3) / 2], [head, _ROOT - 0.12])
        parts = [
            ([float(leaf[j]), float(term[i])], [0.0, foot]) for j in layers.loose[i].nonzero()[0]
        ]
        parts += [
            ([float(word[j]), float(term[i])], [_WORDS + 0.08, foot])
            for j in layers.uses[i].nonzero()[0]
        ]
        for x, y in [whole, *parts]:
            ax.plot(
                x, y, color=colours[0] if effects[i] >= 0 else colours[1], alpha=0.75, zorder=2,
                linewidth=0.5 + 3.0 * abs(effects[i]) / limit, solid_capstyle="butt",
                linestyle=(0, (3, 2)) if broken[i] and y is not whole[1] else "-",
            )  # fmt: skip


def _draw_nodes(
    ax: Axes, layers: Layers, effects: Numbers, broken: np.ndarray, word_or: np.ndarray,
    colours: Colours,
) -> None:  # fmt: skip
    for x, is_or in zip(_across(layers.words), word_or, strict=True):
        _box(ax, (x, _WORDS), (0.36, 0.17), MUTED, bool(is_or), "OR" if is_or else "AND", 0.0)
    for x, effect, hollow in zip(_across(layers.terms), effects, broken, strict=True):
        number = f"{effect:+.2g}".replace("-", "\N{MINUS SIGN}")
        colour = colours[0] if effect >= 0 else colours[1]
        _box(ax, (x, _TERMS), (_BROAD, _HIGH), colour, bool(hollow), number, 90.0)


def _box(
    ax: Axes, middle: tuple[float, float], size: tuple[float, float], colour: str, hollow: bool,
    text: str, rotation: float,
) -> None:  # fmt: skip
    corner = (middle[0] - size[0] / 2, middle[1] - size[1] / 2)
    ax.add_patch(
        FancyBboxPatch(
            corner, *size, boxstyle="round,pad=0,rounding_size=0.04", edgecolor=colour,
            facecolor=PAPER if hollow else colour, linewidth=1.1,
            linestyle=(0, (3, 1.2)) if hollow else "-", zorder=4,
        )
    )  # fmt: skip
    ax.text(
        *middle, text, size=_TINY, rotation=rotation, ha="center", va="center", zorder=5,
        color=INK if hollow else PAPER,
    )  # fmt: skip


def _root(ax: Axes, result: AndOrGraph) -> None:
    empty = f"{result.empty:.3g}".replace("-", "\N{MINUS SIGN}")
    ax.text(
        (WIDTH - 0.3) / 2, _ROOT, f"value  =  {empty} + sum of terms", size=NORMAL,
        color=INK, ha="center", va="center", zorder=5,
        bbox={"boxstyle": "round,pad=0.3", "facecolor": PAPER, "edgecolor": FAINT},
    )  # fmt: skip


def _legend(figure: Figure, ax: Axes, own: bool, colours: Colours) -> None:
    handles = [
        Patch(facecolor=MUTED, edgecolor=MUTED, label="AND: acts when all are present"),
        Patch(facecolor=PAPER, edgecolor=MUTED, linestyle=(0, (3, 1.2)), label="OR: when any is"),
        Patch(facecolor=colours[0], label="raises"),
        Patch(facecolor=colours[1], label="lowers"),
    ]
    looks = {"frameon": False, "fontsize": SMALL, "labelcolor": MUTED, "handlelength": 1.6}
    if own:
        figure.legend(handles=handles, loc="outside upper left", ncols=4, **looks)
    else:
        ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, **looks)


def _said(
    result: AndOrGraph, effects: Numbers, shown: int, drawn: Float[np.ndarray, " shown"]
) -> str:
    total = float(np.abs(effects).sum())
    said = "All terms"
    if shown < len(effects):
        part = share(float(np.abs(drawn).sum()) / total) if total else share(1.0)
        said = (
            f"The {shown} of {len(effects)} terms that move the value most, {part} of the L1 norm"
        )
    if result.unfaithfulness is None:
        return f"{said}."
    return f"{said}. Unfaithfulness of all terms on all masks: {share(result.unfaithfulness)}."
