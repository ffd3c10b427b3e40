"""Efficient parameter randomisation: are explanations of a random model less ordered?"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.randomization.cost import Counted
from unmask.evaluation.randomization.weights import Draw, as_new, layers, redrawn
from unmask.internals import admit_any, module_of
from unmask.results import Rating
from unmask.score import Score


@method("hedstrom2023sanity")
def efficient_mprt(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    bins: int = 100,
    draw: Draw = as_new,
    repeats: int = 5,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""See by how much the entropy of an explanation rises when the model forgets everything.

    $$
    \frac{\frac1R \sum_{r=1}^R H\bigl(A(F_r)\bigr) - H\bigl(A(F)\bigr)}{H\bigl(A(F)\bigr)}, \qquad
    H(a) = -\sum_{k=1}^K p_k \log p_k
    $$

    p is the histogram of the values of an explanation, in K bins of equal width from its least
    value to its largest, and F_r a model whose weights are all random. Higher is better. No two
    explanations are compared, so that no similarity must be chosen, and R + 1 explanations do.

    An explanation that says the same of everything has no entropy: of the model itself the
    rating is then NaN, of a random one H is 0.

    >>> from unmask.planted import linear_network
    >>> from unmask import logit
    >>> from unmask.results import Attribution
    >>> score = logit(linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0])), 0)
    >>> x = torch.tensor([[1.0, -2.0, 3.0, 5.0]])
    >>> efficient_mprt(score, x, explain=lambda _, x: Attribution(x.abs())).values.tolist()
    [0.0]

    Args:
        score: F, of a module.
        x: the inputs.
        explain: A.
        bins: K.
        draw: how layers become random: `as_new`, as torch does, or `like_moments`.
        repeats: R, random models.
        generator: source of randomness.
        batch_size: inputs that are explained at a time.
    """
    admit_any(score, x, batch_size)
    model = module_of(score, "parameter randomisation")
    generator = admission.drawing(generator)
    if repeats < 1 or bins < 2:
        raise ValueError(
            f"No rise is seen from {repeats} random models in {bins} bins. "
            "Give one model and two bins at least."
        )
    parts = layers(model, x)
    counted = Counted(explain)
    here = entropy(explained(score, x, counted, batch_size=batch_size).values, bins)
    there = torch.zeros_like(here)
    for _ in range(repeats):
        other = replace(score, model=redrawn(model, parts, draw, generator))
        there += entropy(explained(other, x, counted, batch_size=batch_size).values, bins) / repeats
    rise = torch.where(here > 0, (there - here) / here, torch.nan)
    return Rating(rise, True, torch.stack([here, there], 1), evaluations=counted.evaluations)


def entropy(values: Float[Tensor, "inputs ..."], bins: int) -> Float[Tensor, " inputs"]:
    """The entropy, in nats, of the histogram of each explanation; 0 of one that is constant.

    Args:
        values: explanations.
        bins: of equal width, from the least value to the largest.
    """
    flat = values.double().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    place = (
        ((flat - low) / torch.where(high > low, high - low, 1) * bins).long().clamp(max=bins - 1)
    )
    counts = flat.new_zeros(len(flat), bins).scatter_add_(1, place, torch.ones_like(flat))
    return torch.special.entr(counts / flat.shape[1]).sum(1)
