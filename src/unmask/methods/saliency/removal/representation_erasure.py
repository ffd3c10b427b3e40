"""Representation erasure."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from unmask.card import method
from unmask.internals import admit_any, edit, module_of, refuse_broken
from unmask.masking import cached_rows
from unmask.players import Players
from unmask.results import Attribution
from unmask.score import Score


@method("li2016understanding", axioms=("dummy", "symmetry", "linearity"))
def representation_erasure(
    score: Score,
    x: Shaped[Tensor, "batch *input"],
    *,
    layer: str | None = None,
    players: Players | None = None,
    relative: bool = False,
    batch_size: int | None = None,
) -> Attribution:
    r"""Erase each unit of a representation, of the input or of a layer, and see the score fall.

    $$
    A_d(x) = S(x) - S(x_{d \leftarrow 0})
    $$

    A row of values belongs to each input; how much a unit matters in a dataset is their mean,
    `values.mean(0)`. The published S is the log-likelihood of the true class, which is minus the
    score `loss`, and the published number is relative to it: (S(x) - S(without d)) / S(x). As S
    is negative so is that number where erasing hurts, and near certainty it grows without bound,
    for which reason the difference is given unless `relative` is asked for.

    Units are erased one at a time, so that of two which carry the same neither is missed. A unit
    that is 0 already loses nothing, and the model is not asked.

    Args:
        score: S.
        x: the inputs. Token ids cannot be erased: name the embedding as the layer.
        layer: whose output is erased; without one it is the input.
        players: what is erased together, as a labelling of one input or of what the layer puts
            out for it: `tokens(n, width)` for words. Without them the units are the columns of a
            row, the dimensions of vectors in a sequence, the channels of an image or a map.
        relative: to S(x), as published.
        batch_size: rows in one call of the model; by default what a processor's cache holds.

    >>> from unmask.score import logit
    >>> scorer = logit(lambda x: x @ torch.tensor([3.0, 1.0, -2.0]), 0)
    >>> representation_erasure(scorer, torch.ones(1, 3)).values
    tensor([[ 3.,  1., -2.]])
    """
    admit_any(score, x, batch_size)
    if layer is None and not x.is_floating_point():
        raise TypeError(
            f"Erasing sets numbers to 0, but x holds {x.dtype}, such as token ids. Name the layer "
            "that embeds them, such as layer='embedding'."
        )
    x = x.detach()
    size = batch_size or cached_rows(x[0])
    with torch.inference_mode(False), torch.no_grad():
        whole, owner, lives, names = _units(score, x, layer, players, size)
        source, unit = lives.nonzero().unbind(1)
        falls = whole.new_zeros(lives.shape)
        for start in range(0, len(source), size):
            some = slice(start, start + size)
            inputs, erased = source[some], owner == unit[some].view(-1, *[1] * owner.ndim)
            left = _without(score, x[inputs], inputs, layer, erased)
            refuse_broken(score, left)
            falls[inputs, unit[some]] = whole[inputs] - left
    if relative:
        if (whole == 0).any():
            raise ValueError(
                f"The {score.name} of input {int((whole == 0).nonzero()[0, 0])} is exactly 0, and "
                "nothing is relative to that. Leave relative out."
            )
        falls = falls / whole[:, None]
    kind = x.dtype if x.is_floating_point() else torch.float32
    return Attribution(falls.to(kind), names=names, evaluations=len(x) + len(source))


def _without(
    score: Score,
    x: Shaped[Tensor, "rows *input"],
    inputs: Int[Tensor, " rows"],
    layer: str | None,
    erased: Bool[Tensor, "rows *erased"],
) -> Float[Tensor, " rows"]:
    """The score of rows in each of which something is erased."""
    if layer is None:
        return score(x.masked_fill(erased, 0), inputs).double()
    module = module_of(score, "Erasing a layer")
    with edit(module, {layer: lambda output: output.masked_fill(erased, 0)}):
        return score(x, inputs).double()


def _units(
    score: Score,
    x: Shaped[Tensor, "batch *input"],
    layer: str | None,
    players: Players | None,
    size: int,
) -> tuple[
    Float[Tensor, " batch"], Int[Tensor, "*erased"], Bool[Tensor, "batch units"], tuple[str, ...]
]:
    """The score of each input, the unit of each position, and which units are not 0 already."""
    seen: list[Tensor] = []
    found: list[tuple[Tensor, tuple[str, ...]]] = []

    def look(output: Tensor) -> Tensor:
        if not found:
            found.append(_owner(output[0], players))
        owner, names = found[0]
        if output.shape[1:] != owner.shape or len(output) != rows:
            raise ValueError(
                f"The layer {layer!r} put out shape {tuple(output.shape)} for {rows} inputs, after "
                f"{tuple(owner.shape)} for one. Name a layer that puts out one row per input, "
                "always of one shape."
            )
        place = torch.where(owner < 0, len(names), owner).flatten()
        marks = (output != 0).flatten(1).to(torch.float32)
        counts = marks.new_zeros(len(output), len(names) + 1).index_add_(1, place, marks)
        seen.append(counts[:, :-1] > 0)
        return output

    values, lives = [], []
    for inputs in torch.arange(len(x), device=x.device).split(size):
        rows = len(inputs)
        values.append(_watched(score, x[inputs], inputs, layer, look).double())
        if not seen:
            raise ValueError(
                f"The layer {layer!r} takes no part in what the model does with x. "
                "Name a layer that is called."
            )
        lives.append(torch.stack(seen).any(0))  # a layer may be called more than once
        seen.clear()
    whole = torch.cat(values)
    refuse_broken(score, whole)
    return whole, found[0][0], torch.cat(lives), found[0][1]


def _watched(
    score: Score,
    x: Shaped[Tensor, "rows *input"],
    inputs: Int[Tensor, " rows"],
    layer: str | None,
    look: Callable[[Tensor], Tensor],
) -> Float[Tensor, " rows"]:
    if layer is None:
        look(x)
        return score(x, inputs)
    with edit(module_of(score, "Erasing a layer"), {layer: look}):
        return score(x, inputs)


def _owner(
    one: Shaped[Tensor, "*erased"], players: Players | None
) -> tuple[Int[Tensor, "*erased"], tuple[str, ...]]:
    """Who owns each position of what is erased."""
    if players is None:
        axis = -1 if one.ndim < 3 else 0  # columns and dimensions of vectors, or channels of maps
        count = one.shape[axis] if one.ndim else 1
        numbers = torch.arange(count, device=one.device)
        if one.ndim >= 3:
            numbers = numbers.view(-1, *[1] * (one.ndim - 1))
        return numbers.expand(one.shape) if one.ndim else numbers[0], tuple(
            f"unit {i + 1}" for i in range(count)
        )
    if players.owner.shape != one.shape:
        raise ValueError(
            f"The players label positions of shape {tuple(players.owner.shape)}, but what is "
            f"erased has shape {tuple(one.shape)}. Make players for that."
        )
    return players.owner.to(one.device), players.names
