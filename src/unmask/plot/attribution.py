"""Attribution: over a picture, in a sentence, or as bars."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from unmask.players import Players
from unmask.plot import bars, graph, heat, sentence
from unmask.plot.dispatch import plot
from unmask.plot.labels import lines, wrapped
from unmask.plot.style import (
    COLOURS,
    MUTED,
    SMALL,
    WIDTH,
    Colours,
    caption,
    notice,
    sheet,
    signed,
    stage,
)
from unmask.results import Attribution
from unmask.views import GraphView, ImageView, TableView, TextView, View

_LABEL = "contribution to the score"


@plot.register
def _(
    result: Attribution,
    *,
    over: View | GraphView | None = None,
    players: Players | None = None,
    row: int = 0,
    label: str | None = None,
    most: int = 20,
    percentile: float = 99.0,
    ax: Axes | None = None,
    colours: Colours = COLOURS,
) -> Figure:
    """What each part contributes: a heat map, a coloured sentence or bars.

    A sentence on given axes is set into the room that they have then: draw it last.

    A picture gets values per pixel (channels added up) or, with `players`, per player. A sentence
    gets them per piece (an embedding added up) or per player, a graph per edge. Everything else of
    one axis, and players that share pixels such as channels, are drawn as bars, the largest
    first, with their standard errors where they were sampled; with more axes as a heat map without
    a picture. Channels that all say the same and are no parts of a sum are drawn once, not added
    up. Pixels and pieces of text none of which is negative are taken to have no sign.

    Args:
        result: one or more inputs' values.
        over: what a person sees of the input.
        players: who owns the positions, if the values are the players'.
        row: which input.
        label: what the values are, such as "bits"; a contribution to the score unless told.
        most: bars to draw.
        percentile: of the sizes of pixels' values, at which their colours end.
        ax: where to draw.
        colours: of positive and negative values.
    """
    if not -len(result.values) <= row < len(result.values):
        raise ValueError(
            f"There is no row {row}: the attribution is of {len(result.values)} inputs. "
            f"Give a row from 0 to {len(result.values) - 1}."
        )
    values = result.values[row].detach().cpu().double()
    gap = None if result.gap is None else float(result.gap[row])
    if isinstance(over, GraphView):
        return _on_graph(values, gap, over, label, ax, colours)
    if isinstance(over, ImageView) and not _share_pixels(values, players):
        return _over_picture(values, gap, over, players, label, percentile, ax, colours)
    if isinstance(over, TextView):
        return _in_sentence(values, gap, over, players, label, ax, colours)
    if players is not None and values.shape == players.owner.shape != (len(players.names),):
        values = _per_player(values, players)
    if values.ndim > 1:
        return _over_picture(values, gap, None, None, label, percentile, ax, colours)
    names = players.names if players is not None else result.names
    table = over if isinstance(over, TableView) else None
    errors = None if result.errors is None else result.errors[row].detach().cpu().double()
    if errors is not None and errors.shape != values.shape:
        errors = None  # those of columns do not tell how sure their sum is
    return _as_bars(values.reshape(-1), errors, gap, table, names, label, most, ax, colours)


def _as_bars(
    values: Tensor, errors: Tensor | None, gap: float | None, over: TableView | None,
    names: tuple[str, ...] | None, label: str | None, most: int, ax: Axes | None, colours: Colours,
) -> Figure:  # fmt: skip
    given = tuple(f"feature {i + 1}" for i in range(len(values))) if names is None else names
    for what, found in (("names", given), ("texts of the table", over and over.present)):
        if found is not None and len(found) != len(values):
            raise ValueError(
                f"There are {len(found)} {what} for {len(values)} values. "
                "Give one for each value, or players that own the columns."
            )
    if over is not None:
        given = tuple(
            f"{name} = {said}" if said else name
            for name, said in zip(given, over.present, strict=True)
        )
    own = ax is None
    chosen = values.abs().nan_to_num(0).argsort(descending=True, stable=True)[: max(0, most)]
    if len(chosen) == 0:
        figure, ax = stage(ax, 1.2)
        notice(ax, "There are no values to draw.")
        return figure
    labels = [wrapped(given[place]) for place in chosen.tolist()]
    figure, ax = stage(ax, bars.height(labels) + 0.8)
    sure = None if errors is None else errors.reshape(-1)[chosen].tolist()
    bars.draw(ax, labels, values[chosen].tolist(), [False] * len(labels), colours, own, sure)
    ax.set_xlabel(label or _LABEL, size=SMALL, color=MUTED, parse_math=False)
    said = _sum(values, gap)
    if len(chosen) < len(values):
        left = float(values.sum() - values[chosen].sum())
        rest = f"the others add up to {signed(left)}"
        said = f"The {len(chosen)} largest of {len(values)}; {rest}. {said}"
    if sure is not None:
        said += " Lines at the ends: one standard error to either side."
    caption(figure, ax, lines(said.split(" "), 118 if own else 56), own)
    return figure


def _over_picture(
    values: Tensor, gap: float | None, over: ImageView | None, players: Players | None,
    label: str | None, percentile: float, ax: Axes | None, colours: Colours,
) -> Figure:  # fmt: skip
    of_players = values.tolist() if _is_per_player(values, players) else None
    owner = None
    note, total = "", values
    if of_players is not None and players is not None:
        owner = players.owner.cpu()
        painted = players.paint(values)
        if owner.ndim == 3:
            painted, owner = painted[0], owner[0]  # a patch holds all channels: count it once
    else:
        painted = values
    if painted.ndim > 2:
        layers = painted.flatten(0, -3)
        if gap is None and len(layers) > 0 and bool((layers == layers[:1]).all()):
            painted = total = layers[0]  # each channel holds the value of the pixel, no share of it
        else:
            note = f", {len(layers)} channels added up" if len(layers) > 1 else ""
            painted = layers.sum(0)
    if painted.ndim != 2:
        raise ValueError(
            f"Values of shape {tuple(values.shape)} cannot be laid over a picture. "
            "Give values shaped like the image, or players that own its pixels."
        )
    sizes = painted.abs().nan_to_num(0.0, posinf=0.0)
    limit = float(sizes.max()) if sizes.numel() else 0.0
    said = f"{label or _LABEL}{note}"
    if of_players is None and sizes.numel():
        limit = float(np.percentile(sizes.numpy(), percentile)) or limit
        said += f"\ncolours end at {limit:.3g}, the {percentile:g}th percentile of the sizes"
    unsigned = of_players is None and limit > 0 and float(painted.nan_to_num(0.0).min()) >= 0
    if unsigned:
        said = said.replace("contribution", "contribution without sign", 1) if not label else said
    high, wide = painted.shape if over is None else over.pixels.shape[:2]
    width = 5.6
    own = ax is None
    figure, ax = stage(ax, max(2.2, min(5.0, (width - 1.3) * high / wide + 0.5)), width)
    heat.draw(
        figure, ax, painted.float().numpy(), over.pixels if over else None, limit=limit,
        label=said, colours=colours, unsigned=unsigned,
    )  # fmt: skip
    if of_players is not None and owner is not None and owner.ndim == 2:
        heat.mark_players(ax, owner.numpy(), of_players, (high, wide))
    if own and not (unsigned and gap is None):
        caption(figure, ax, _sum(total, gap), own)
    return figure


def _on_graph(
    values: Tensor, gap: float | None, over: GraphView, label: str | None, ax: Axes | None,
    colours: Colours,
) -> Figure:  # fmt: skip
    flat = values.reshape(-1)
    label = label or ("value of the edge" if gap is None else _LABEL)
    note = "" if gap is None else _sum(values, gap)  # masks do not add up to anything
    return graph.draw(flat, over, label=label, note=note, ax=ax, colours=colours)


def _in_sentence(
    values: Tensor, gap: float | None, over: TextView, players: Players | None, label: str | None,
    ax: Axes | None, colours: Colours,
) -> Figure:  # fmt: skip
    pieces, each = list(over.pieces), values
    if _is_per_player(values, players) and players is not None:
        owner = players.owner.cpu()
        owner = owner if owner.ndim == 1 else owner[:, 0]
        if len(owner) == len(pieces):
            pieces, each = _together(pieces, owner.tolist(), values)
    elif values.ndim > 1:
        each = values.flatten(1).sum(1)  # an embedding: its numbers together are the token's
    if len(each) != len(pieces):
        raise ValueError(
            f"There are {len(each)} values for {len(over.pieces)} pieces of text. "
            "Give a value per piece, or players that own the pieces."
        )
    unsigned = bool((each >= 0).all() and (each > 0).any())
    if unsigned:
        said = f"The darker a piece, the larger its {label or 'value'}."
    elif label or colours != COLOURS:
        said = f"The number below a piece is its {label or 'contribution'}."
    else:
        said = "Blue raises the score, orange lowers it."
    if not (unsigned and gap is None):
        said += f" {_sum(values, gap)}"
    if ax is None:
        width = 72 * WIDTH
        room = sentence.height(pieces, each.tolist(), width, unsigned)
        figure = sheet(room / 72 + 0.3)
        figure.set_layout_engine("none")
        share = room / (room + 72 * 0.3)
        ax = figure.add_axes((0, 1 - share, 1, share))
        line = figure.text(0.012, 0.08 / (room / 72 + 0.3), said, size=SMALL, color=MUTED)
        line.set_parse_math(False)
    else:
        figure, ax = stage(ax, 1.0)
        figure.draw_without_rendering()  # settles where the axes are, if others share the figure
        place = ax.get_position()
        width, room = (
            72 * figure.get_figwidth() * place.width,
            72 * figure.get_figheight() * place.height,
        )
    sentence.draw(
        ax, pieces, each.tolist(), width=width, room=room, colours=colours, unsigned=unsigned
    )
    return figure


def _is_per_player(values: Tensor, players: Players | None) -> bool:
    return players is not None and values.shape == (len(players.names),)


def _share_pixels(values: Tensor, players: Players | None) -> bool:
    """Whether the values are of players such as channels, which lie on top of each other."""
    if players is None or not _is_per_player(values, players) or players.owner.ndim != 3:
        return False
    return not bool((players.owner == players.owner[:1]).all())


def _per_player(values: Tensor, players: Players) -> Tensor:
    """What each player's positions contribute together."""
    owner, flat = players.owner.cpu().flatten(), values.flatten()
    kept = owner >= 0
    return torch.zeros(len(players.names)).double().index_add(0, owner[kept], flat[kept])


def _together(pieces: list[str], owner: list[int], values: Tensor) -> tuple[list[str], Tensor]:
    """Neighbouring pieces of one player as one piece; what has no player counts nothing."""
    texts: list[str] = []
    each: list[float] = []
    before = None
    for piece, player in zip(pieces, owner, strict=True):
        if player == before and player >= 0 and not texts[-1].endswith("\n"):
            texts[-1] += piece
        else:
            texts.append(piece)
            each.append(0.0 if player < 0 else float(values[player]))
        before = player
    return texts, torch.tensor(each).double()


def _sum(values: Tensor, gap: float | None) -> str:
    said = f"Sum of all: {signed(float(values.sum()))}"
    return f"{said}." if gap is None else f"{said}; completeness gap {signed(gap)}."
