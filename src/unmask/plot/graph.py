"""Values of edges on a graph: the larger, the wider and the stronger in colour."""

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor

from unmask.plot.labels import wrapped
from unmask.plot.style import FAINT, INK, MUTED, PAPER, SMALL, Colours, caption, diverging, stage
from unmask.views import GraphView

ASIDE = 0.009
"""How far an edge lies beside the line between its nodes, if the other direction is an edge too."""


def draw(
    values: Float[Tensor, " values"],
    over: GraphView,
    *,
    label: str,
    note: str,
    ax: Axes | None,
    colours: Colours,
) -> Figure:
    """Draw a graph with its edges as wide as their values are large.

    The first coordinate of a place goes to the right, the second upwards. An edge that has a
    counterpart lies to the right of it as one walks along; a head shows where it leads.

    Args:
        values: of the edges; more values than edges are of something else, and are left out.
        over: the graph.
        label: of the scale.
        note: said below.
        ax: where to draw.
        colours: of positive and negative values.
    """
    count = over.edges.shape[1]
    if len(values) < count or len(over.labels) != len(over.places):
        raise ValueError(
            f"There are {len(values)} values for {count} edges, and {len(over.labels)} labels for "
            f"{len(over.places)} nodes. Give a value per edge and a label per node."
        )
    of_edges = values[:count].nan_to_num(0.0, posinf=0.0, neginf=0.0).numpy()
    if len(values) > count:
        note = f"The {len(values) - count} values of the features are not drawn. {note}"
    own = ax is None
    figure, ax = stage(ax, 5.0, 5.6)
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.margins(0.06)
    limit = float(np.abs(of_edges).max()) if count else 0.0
    scale = ScalarMappable(Normalize(-(limit or 1.0), limit or 1.0), diverging(colours))
    places = over.places.cpu().double().numpy()
    _draw_edges(ax, places, over.edges.cpu(), of_edges / (limit or 1.0), scale.to_rgba(of_edges))
    _draw_nodes(ax, places, over.labels)
    if count:
        bar = figure.colorbar(scale, ax=ax, shrink=0.8, pad=0.03, aspect=24)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.ax.tick_params(length=0, labelsize=SMALL, labelcolor=MUTED)
        bar.set_label(label, size=SMALL, color=MUTED)
        if of_edges.min() >= 0:
            bar.ax.set_ylim(0, limit or 1.0)
    if own and note:
        caption(figure, ax, note, own)
    return figure


def _draw_edges(
    ax: Axes, places: np.ndarray, edges: Tensor, strength: np.ndarray, colours: np.ndarray
) -> None:
    """Weak edges first, so that strong ones lie on top."""
    order = np.abs(strength).argsort(kind="stable")
    source, target = edges[:, torch.from_numpy(order)].tolist()
    there = set(zip(source, target, strict=True))
    step = places[target] - places[source]
    length = np.linalg.norm(step, axis=1, keepdims=True)
    along = np.divide(step, length, out=np.zeros_like(step), where=length > 0)
    right = np.stack([along[:, 1], -along[:, 0]], 1)
    twin = np.array([(b, a) in there for a, b in zip(source, target, strict=True)], dtype=bool)
    aside = ASIDE * right * twin.reshape(-1, 1)
    start, end = places[source] + aside, places[target] + aside
    lines = np.stack([start, end], 1)
    strength, colours = np.abs(strength[order]), colours[order]
    ax.add_collection(LineCollection(list(lines), colors=FAINT, linewidths=0.5, zorder=1))
    seen = strength > 0.01
    ax.add_collection(
        LineCollection(
            list(lines[seen]), colors=colours[seen], linewidths=0.5 + 3.5 * strength[seen], zorder=2
        )
    )
    size = 0.008 + 0.014 * strength[:, None]
    middle = start + 0.62 * (end - start)
    heads = np.stack(
        [middle + size * along, middle - size * along + 0.7 * size * right,
         middle - size * along - 0.7 * size * right], 1,
    )  # fmt: skip
    seen = seen & (length[:, 0] > 0)
    ax.add_collection(
        PolyCollection(list(heads[seen]), facecolors=colours[seen], linewidths=0, zorder=3)
    )
    ax.autoscale_view()


def _draw_nodes(ax: Axes, places: np.ndarray, labels: tuple[str, ...]) -> None:
    few = len(labels) <= 60
    ax.scatter(
        places[:, 0], places[:, 1], s=150 if few else 14, color=PAPER, edgecolor=MUTED,
        linewidth=0.8, zorder=4,
    )  # fmt: skip
    for (x, y), label in zip(places.tolist(), labels, strict=True):
        if label:
            ax.text(
                x, y, wrapped(label, 14), ha="center", va="center", size=SMALL if few else 6,
                color=INK, zorder=5, parse_math=False,
                path_effects=[withStroke(linewidth=1.6, foreground=PAPER)],
            )  # fmt: skip
