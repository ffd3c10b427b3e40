"""The same inputs as each method sees them, for the eye."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmask.evaluation.trial import spread
from unmask.report.pictures import heat, picture
from unmask.results import Attribution
from unmask.run.compare import Comparison

Json = dict[str, Any]
_PICTURES = 6
_OTHERS = 12
"""Inputs that are shown, a page of more would not be read."""


def maps(comparison: Comparison, ids: Sequence[str]) -> Json:
    """The first inputs, and what each method says of them.

    Args:
        comparison: of methods on these inputs.
        ids: the methods, in their order.
    """
    x = comparison.subject.x
    pictured = x.ndim == 4 and x.shape[1] in (1, 3) and min(x.shape[2:]) > 3
    some = range(min(len(x), _PICTURES if pictured else _OTHERS))
    titles = [_title(comparison, i) for i in some]
    values: Json = {}
    for name in ids:
        if name not in comparison.attributions:
            continue
        attribution = comparison.attributions[name]
        if pictured:
            shown = [_heat(one) for one in of_pixels(comparison, attribution)[: len(some)]]
        else:
            rows = of_players(comparison, attribution)[: len(some)]
            shown = [None if row.isnan().any() else _numbers(row) for row in rows]
        values[name] = shown
    if pictured:
        low, high = float(x.min()), float(x.max())
        inputs = [
            {"title": title, "picture": picture(_pixels(x[i], low, high))}
            for i, title in zip(some, titles, strict=True)
        ]
        return {"kind": "picture", "inputs": inputs, "values": values}
    subject = comparison.subject
    names = [subject.pieces[i] if subject.pieces else subject.names for i in some]
    return {
        "kind": "text" if subject.kind == "text" else "table",
        "inputs": [
            {"title": title, "names": own} for title, own in zip(titles, names, strict=True)
        ],
        "values": values,
    }


def _title(comparison: Comparison, i: int) -> str:
    """What an input is called, and what the model says of it."""
    title, said = comparison.subject.titles[i], comparison.subject.said
    return f"{title}: {said[i]}" if said else title


def of_players(comparison: Comparison, attribution: Attribution) -> Float[Tensor, "inputs players"]:
    """What an explanation says of each player: the sum over its positions.

    Args:
        comparison: whose players.
        attribution: shaped like the inputs, or with a column per player.
    """
    subject = comparison.subject
    values, n = attribution.values.double(), len(subject.names)
    if values.shape == (len(subject.x), n):
        return values
    values = spread(values, subject.x.shape)
    owner = subject.owner.flatten().long() % (n + 1)  # -1 finds the last
    sums = values.new_zeros(len(values), n + 1).index_add_(1, owner, values.flatten(1))
    return sums[:, :n]


def of_pixels(
    comparison: Comparison, attribution: Attribution
) -> Float[Tensor, "inputs height width"]:
    """What an explanation says of each pixel, all of its channels together.

    Args:
        comparison: of pictures.
        attribution: shaped like the inputs, or with a column per player.
    """
    subject = comparison.subject
    values = spread(attribution.values.double(), subject.x.shape)
    if values.shape != subject.x.shape:
        padded = torch.cat([values, values.new_zeros(len(values), 1)], 1)
        values = padded[:, subject.owner.long()]
    return values.sum(1)


def _heat(values: Float[Tensor, "height width"]) -> str | None:
    return None if values.isnan().any() else heat(values.numpy())


def _pixels(image: Float[Tensor, "channels height width"], low: float, high: float) -> np.ndarray:
    """A picture as the eye may see it, whatever units the model takes."""
    share = (image.double() - low) / ((high - low) or 1.0)
    bright = (255 * share).round().to(torch.uint8).movedim(0, -1)
    return bright.expand(*bright.shape[:2], 3).numpy()


def _numbers(row: Float[Tensor, " players"]) -> list[float]:
    return [float(f"{value:.4g}") for value in row.tolist()]
