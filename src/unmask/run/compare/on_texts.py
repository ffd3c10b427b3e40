"""Texts, made fit to be compared on: of one length, and as embeddings, which have gradients."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from unmask.internals import Embedded, record
from unmask.players import Players, tokens
from unmask.run.inputs.material import Material
from unmask.views import TextView


def of_one_length(material: Material, numbers: Sequence[int]) -> tuple[list[int], list[str]]:
    """As many texts as were asked for, or as there are, of the length that most of them have.

    Args:
        material: all inputs.
        numbers: those that were asked for.
    """
    if material.inputs[numbers[0]].is_floating_point() or material.inputs[numbers[0]].ndim != 1:
        return [*numbers], []
    lengths = Counter(len(x) for x in material.inputs)
    if len(lengths) == 1:
        return [*numbers], []
    length, count = lengths.most_common(1)[0]
    alike = [i for i, x in enumerate(material.inputs) if len(x) == length][: len(numbers)]
    return alike, [
        f"Inputs: {len(alike)} texts of {length} tokens, the most frequent length, which {count} "
        f"of {len(material.inputs)} have. Methods are compared on the same parts of every input."
    ]


def embedding_layer(model: object, ids: Int[Tensor, "batch tokens"]) -> str | None:
    """The layer that turns these ids into vectors; None where no such layer is seen.

    Args:
        model: reads token ids.
        ids: of some texts.
    """
    if not isinstance(model, nn.Module):
        return None
    found: list[str] = []

    def watched(name: str, module: nn.Module, hooks: ExitStack) -> None:
        def look(_: nn.Module, given: tuple[object, ...]) -> None:
            first = given[0] if given else None
            if isinstance(first, Tensor) and first.shape == ids.shape and torch.equal(first, ids):
                found.append(name)

        hooks.callback(module.register_forward_pre_hook(look).remove)

    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding):
                watched(name, module, hooks)
        model(ids.clone())
    return found[0] if found else None


def embedded(model: nn.Module, layer: str, ids: Int[Tensor, "batch tokens"]) -> Embedded:
    """The model as one of the embeddings of texts of this length.

    Args:
        model: reads token ids.
        layer: that embeds them.
        ids: of the texts; without padding, what else a model reads off the ids is the same of all.
    """
    return Embedded(model, ids[0], layer)


@torch.no_grad()
def vectors(
    model: nn.Module, layer: str, ids: Int[Tensor, "batch tokens"]
) -> Float[Tensor, "batch tokens width"]:
    """What the embedding layer puts out.

    Args:
        model: reads token ids.
        layer: that embeds them.
        ids: of the texts.
    """
    with record(model, [layer]) as outputs:
        model(ids.clone())
    return outputs[layer].clone()


def token_players(x: Shaped[Tensor, "batch tokens *width"], ids: Tensor) -> Players:
    """One player per token, but for places where all texts have the same one, as at the start.

    Args:
        x: the texts, as ids or as embeddings.
        ids: their tokens.
    """
    differ = (ids != ids[:1]).any(0) if len(ids) > 1 else torch.ones_like(ids[0]).bool()
    places = differ.nonzero()[:, 0]
    if len(places) < 2:
        return tokens(ids.shape[1], None if x.ndim == 2 else x.shape[-1])
    owner = torch.full((ids.shape[1],), -1)
    owner[places] = torch.arange(len(places))
    if x.ndim > 2:
        owner = owner[:, None].expand(-1, x.shape[-1]).clone()
    return Players(owner, tuple(f"token {i + 1}" for i in places.tolist()))


def words_of(view: object, players: Players) -> tuple[str, ...]:
    """The tokens of one text that play, as they read.

    Args:
        view: what a person sees of the text.
        players: that own its places.
    """
    if not isinstance(view, TextView):
        return players.names
    owner = players.owner if players.owner.ndim == 1 else players.owner[:, 0]
    return tuple(
        piece.strip() or "space"
        for piece, own in zip(view.pieces, owner.tolist(), strict=True)
        if own >= 0
    )
