"""Reference explanations: what any method must beat before it has shown anything."""

from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor

from unmask.evaluation import Explain, reference_attributions
from unmask.results import Attribution
from unmask.score import Score

RANDOM = "random"
WORDS: Mapping[str, str] = {
    RANDOM: "random numbers",
    "difference": "how far the input is from the baseline",
    "edges": "the edges of the picture",
}
"""What the references say, which is nothing of the model."""


def rivals(
    x: Shaped[Tensor, "batch *input"], baseline: Shaped[Tensor, "*background"]
) -> dict[str, Explain]:
    """The references that exist for such inputs, without the random one.

    Args:
        x: the inputs.
        baseline: what stands where a part is removed.
    """

    def named(name: str) -> Explain:
        return lambda score, x: reference_attributions(x, baseline)[name]

    return {name: named(name) for name in reference_attributions(x, baseline) if name != RANDOM}


def noise(seed: int, baseline: Shaped[Tensor, "*background"]) -> Explain:
    """Random numbers, drawn anew at each call, as one would who knows nothing.

    Args:
        seed: of the draws.
        baseline: what stands where a part is removed; it decides nothing here.
    """
    generator = torch.Generator().manual_seed(seed)

    def explain(score: Score, x: Tensor) -> Attribution:
        return reference_attributions(x, baseline, generator=generator)[RANDOM]

    return explain
