"""An embedding that stands for no word, learned so that hiding words makes few interactions."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unmask import admission
from unmask.interactions.llm_interactions import embedded
from unmask.internals import frozen, plain
from unmask.masking import cached_rows
from unmask.players import Players
from unmask.results import Synthesis
from unmask.score import Score, log_odds, predicted, token_log_odds

_SIGNS = (1.0, -1.0, -1.0, 1.0)
"""Of a difference of differences."""


def learned_token_embedding(
    model: nn.Module,
    prompts: Sequence[Int[Tensor, "..."]],
    *,
    players: Sequence[Players],
    layer: str,
    start: Float[Tensor, " width"],
    steps: int = 100,
    samples: int = 10,
    rate: float = 1e-3,
    momentum: float = 0.9,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Synthesis:
    r"""Learn the embedding that stands for hidden words, one for all positions and prompts.

    $$
    \min_r \mathbb{E}\, \bigl| v(S_1 \cup S_2 \cup S_3) - v(S_1 \cup S_3)
                               - v(S_2 \cup S_3) + v(S_3) \bigr|
    $$

    over disjoint sets of words, drawn at random: what two sets do together beyond what each does
    alone. v is the log-odds of the token that the model puts next after the whole prompt. By
    stochastic gradient descent, one step per prompt, the model itself staying as it is. Every word
    falls into one of the three sets or none with equal chance, but one word at least into each of
    the first two; the paper does not say how it draws.

    `inputs` of the result is the embedding, with a batch axis; `score` the mean loss of the last
    pass over the prompts, and `trace` that of each. The loss is that of sets drawn anew each time;
    `second_order_effects` compares embeddings on the same sets, which should be of other prompts.

    Args:
        model: reads token ids; gives logits of [batch, tokens, vocabulary] or [batch, classes].
        prompts: token ids; the lengths may differ.
        players: the words of each prompt, two of them at least, as labels of its tokens.
        layer: the dotted name of the embedding layer.
        start: r at the beginning, such as the embedding of a special token.
        steps: passes over the prompts.
        samples: triples of sets for each prompt and pass.
        rate: of learning.
        momentum: share of the last step that is kept.
        generator: source of the sets.
        batch_size: prompts in one call of the model, four at least.
    """
    scenes = _scenes(model, prompts, players, layer, batch_size)
    if steps < 1 or samples < 1:
        raise ValueError(
            f"Nothing is learned in {steps} passes over {samples} triples of sets. Give at least 1 "
            "of both."
        )
    admission.finite("The start", start)
    generator = admission.drawing(generator)
    device, wide = scenes[0].x.device, torch.promote_types(start.dtype, torch.float32)
    trace: list[float] = []
    with torch.inference_mode(False), frozen(model):
        r = plain(start).to(device, wide).clone()
        speed = torch.zeros_like(r)
        for _ in range(steps):
            losses = []
            for scene in scenes:
                loss, gradient = _descent(scene, r, _drawn(scene.names, samples, generator))
                if not gradient.isfinite().all():
                    raise ValueError(
                        f"The gradient of the loss is not finite after {len(trace)} passes. "
                        "Learn at a smaller rate."
                    )
                speed = momentum * speed + gradient
                r = r - rate * speed
                losses.append(loss)
            trace.append(sum(losses) / len(losses))
    values = torch.tensor([trace], dtype=torch.float64, device=r.device)
    return Synthesis(r[None].to(start.dtype), values[:, -1], values)


def second_order_effects(
    model: nn.Module,
    prompts: Sequence[Int[Tensor, "..."]],
    *,
    players: Sequence[Players],
    layer: str,
    baseline: Float[Tensor, " width"],
    samples: int = 100,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Float[Tensor, " prompts"]:
    """What `learned_token_embedding` makes small, for one embedding: a mean for each prompt.

    Args:
        model: as there.
        prompts: token ids.
        players: the words of each prompt.
        layer: the embedding layer.
        baseline: the embedding that stands for a hidden word.
        samples: triples of sets for each prompt.
        generator: source of the sets; the same one gives the same sets for another embedding.
        batch_size: prompts in one call of the model, four at least.
    """
    scenes = _scenes(model, prompts, players, layer, batch_size)
    generator = admission.drawing(generator)
    found = []
    with torch.inference_mode(False), torch.no_grad():
        for scene in scenes:
            sets = _drawn(scene.names, samples, generator).split(scene.triples)
            found.append(torch.cat([scene.effects(baseline, some) for some in sets]).abs().mean())
    return torch.stack(found)


class _Scene:
    """One prompt, whose words play."""

    def __init__(
        self, model: nn.Module, ids: Tensor, players: Players, layer: str, batch_size: int | None
    ) -> None:
        players.refuse_other(ids.shape)
        if len(players.names) < 2:
            raise ValueError(
                f"Two words interact, but a prompt has the only player {''.join(players.names)!r}. "
                "Leave that prompt out."
            )
        self.players, self.names = players, len(players.names)
        self.x, of_x = embedded(model, ids, layer)
        with torch.no_grad():
            output = model(ids[None].clone())
        target = int(predicted(lambda _: output, ids[None]))
        self.score: Score = (token_log_odds if output.ndim == 3 else log_odds)(of_x, target)
        self.triples = max(1, (batch_size or cached_rows(self.x)) // 4)

    def effects(
        self, r: Float[Tensor, " width"], sets: Int[Tensor, "triples players"]
    ) -> Float[Tensor, " triples"]:
        """The difference of differences of each triple of sets."""
        there = self.players.cover(_masks(sets).to(self.x.device))
        x = torch.where(there[..., None], self.x, r.to(self.x))
        values = self.score(x)
        return values.unflatten(0, (-1, 4)) @ values.new_tensor(_SIGNS)


def _scenes(
    model: nn.Module,
    prompts: Sequence[Tensor],
    players: Sequence[Players],
    layer: str,
    batch_size: int | None,
) -> list[_Scene]:
    if not prompts or len(prompts) != len(players):
        raise ValueError(
            f"There are {len(prompts)} prompts and the players of {len(players)}. Give one prompt "
            "at least, and players for each."
        )
    admission.batched(batch_size)
    if batch_size is not None and batch_size < 4:
        raise ValueError(
            f"An effect is a difference of four outputs, but batch_size is {batch_size}. "
            "Give at least 4."
        )
    pairs: Iterator[tuple[Tensor, Players]] = zip(prompts, players, strict=True)
    return [_Scene(model, ids, own, layer, batch_size) for ids, own in pairs]


def _descent(
    scene: _Scene, r: Float[Tensor, " width"], sets: Int[Tensor, "triples players"]
) -> tuple[float, Float[Tensor, " width"]]:
    """The loss on these sets, and its gradient."""
    loss, gradient = 0.0, torch.zeros_like(r)
    with torch.enable_grad():
        for some in sets.split(scene.triples):
            point = r.clone().requires_grad_()
            part = scene.effects(point, some).abs().sum() / len(sets)
            gradient += torch.autograd.grad(part, point)[0]
            loss += float(part.detach())
    return loss, gradient


def _drawn(
    players: int, samples: int, generator: torch.Generator
) -> Int[Tensor, "samples players"]:
    """Which set each word falls into, 1 to 3, or 0 for none; the first two are never empty."""
    device = generator.device
    sets = torch.randint(4, (samples, players), generator=generator, device=device)
    order = torch.rand(samples, players, generator=generator, device=device).argsort(1)
    rows = torch.arange(samples, device=device)
    sets[rows, order[:, 0]] = 1
    sets[rows, order[:, 1]] = 2
    return sets


def _masks(sets: Int[Tensor, "triples players"]) -> Bool[Tensor, "rows players"]:
    """Who is there in the four outputs of each triple, one after another."""
    third = sets == 3
    parts = (sets > 0, third | (sets == 1), third | (sets == 2), third)
    return torch.stack(parts, 1).flatten(0, 1)
