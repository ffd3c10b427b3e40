"""Attention that lies as far as possible from what a model chose and hardly changes its answer."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_TINY = 1e-30


def total_variation(
    p: Float[Tensor, "*rows classes"], q: Float[Tensor, "*rows classes"]
) -> Float[Tensor, "*rows"]:
    """Half the sum of |p - q|: between 0 and 1."""
    return (p - q).abs().sum(-1) / 2


def jensen_shannon(
    p: Float[Tensor, "*rows tokens"], q: Float[Tensor, "*rows tokens"]
) -> Float[Tensor, "*rows"]:
    """How far two distributions lie apart, in nats: between 0 and log 2."""
    return (_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2).clamp(min=0)


def furthest_attention(
    answer: Callable[
        [Int[Tensor, " rows"], Float[Tensor, "rows tokens"]], Float[Tensor, "rows classes"]
    ],
    weights: Float[Tensor, "batch tokens"],
    expected: Float[Tensor, "batch classes"],
    mask: Bool[Tensor, "batch tokens"],
    *,
    change: float,
    candidates: int,
    steps: int,
    rows: int,
    generator: torch.Generator,
) -> Float[Tensor, " batch"]:
    r"""The largest Jensen-Shannon distance of an attention that keeps the answer.

    Candidates are sought together, by Adam on

    $$
    -\frac{1}{k} \sum_c \mathrm{JSD}(a, a_c) - \frac{1}{|\text{pairs}|} \sum_{c < d}
    \mathrm{JSD}(a_c, a_d) + 500 \cdot \frac{1}{k} \sum_c
    \mathrm{relu}\bigl(\lVert y_c - y \rVert_1 - \epsilon\bigr)
    $$

    from uniform attention with noise, which all inputs share. Whatever keeps the answer on the
    way is a witness, so the furthest of all steps counts; zero where there was none.

    Args:
        answer: the probabilities that the model decodes from attention, of the inputs named.
        weights: a.
        expected: y.
        mask: True where there is a word.
        change: epsilon, the total variation that still counts as the same answer.
        candidates: k.
        steps: of Adam.
        rows: attentions in one call of the model.
        generator: source of the noise.
    """
    batch, tokens = weights.shape
    noise = torch.randn(
        candidates, tokens, generator=generator, device=generator.device, dtype=weights.dtype
    ).to(weights.device)
    theta = (3 * noise).repeat(batch, 1, 1).requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=0.01, amsgrad=True)
    place = torch.arange(batch * candidates, device=weights.device)
    pairs = torch.triu_indices(candidates, candidates, 1, device=weights.device)
    best = weights.new_zeros(batch)
    for _ in range(steps):
        other = theta.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
        apart = jensen_shannon(other, weights[:, None].expand_as(other))
        loss = -apart.mean(1).sum()
        if candidates > 1:
            loss = loss - jensen_shannon(other[:, pairs[0]], other[:, pairs[1]]).mean(1).sum()
        slope = torch.zeros_like(other)  # of the penalty, a batch of decoding at a time
        moved = []
        for part in place.split(rows):
            tried = other.detach().view(-1, tokens)[part].requires_grad_()
            differs = (answer(part // candidates, tried) - expected[part // candidates]).abs()
            over = 500 / candidates * torch.relu(differs.sum(1) - change)
            if over.requires_grad:
                (found,) = torch.autograd.grad(over.sum(), tried, allow_unused=True)
                if found is not None:
                    slope.view(-1, tokens)[part] = found
            moved.append(differs.detach().sum(1) / 2)
        keeps = torch.cat(moved).view(batch, candidates) <= change
        best = torch.maximum(best, (apart.detach() * keeps).amax(1))
        (theta.grad,) = torch.autograd.grad([loss, other], theta, [torch.ones_like(loss), slope])
        optimiser.step()
    return best


def _entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p.clamp(min=_TINY)).sum(-1)
