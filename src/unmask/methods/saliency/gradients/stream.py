"""Many rows made from each input, a batch at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.masking import cached_rows
from unmask.score import Score


def rows_at_once(x: Float[Tensor, "batch *input"], batch_size: int | None) -> int:
    """What the user wants, or what a processor's cache holds of such inputs."""
    return batch_size or cached_rows(x[0])


def blocks(inputs: int, draws: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Which draws of which inputs go through the model together: (draws, inputs).

    The draws run on the outside, so that what is drawn is drawn once for all inputs.
    """
    several = max(1, size // inputs)
    for draw in range(0, draws, several):
        for first in range(0, inputs, size):
            yield slice(draw, min(draws, draw + several)), slice(first, min(inputs, first + size))


def rows_of(inputs: slice, draws: int, device: torch.device) -> Int[Tensor, " rows"]:
    """Which input each row of a block was made from; the draws run on the outside."""
    return torch.arange(inputs.start, inputs.stop, device=device).repeat(draws)


def of_rows(score: Score, rows: Int[Tensor, " rows"]) -> Score:
    """The score as one of as many inputs as there are rows, for a method that is told no rows."""

    def read(output: Tensor, further: Tensor | None) -> Tensor:
        return score.read(output, rows if further is None else rows[further])

    targets = None if score.targets is None else len(rows)
    return Score(score.model, read, score.name, targets)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums of such numbers are taken."""
    return torch.promote_types(dtype, torch.float32)


@dataclass
class Moments:
    """Means and spreads of draws, kept up as the draws come and go.

    Args:
        like: the inputs, of whose shape the draws are.
    """

    like: Float[Tensor, "batch *input"]
    count: Int[Tensor, " batch"] = field(init=False)
    mean: Float[Tensor, "batch *input"] = field(init=False)
    spread: Float[Tensor, "batch *input"] = field(init=False)
    """The sum of squared distances from the mean."""

    def __post_init__(self) -> None:
        self.count = torch.zeros(len(self.like), dtype=torch.long, device=self.like.device)
        self.mean = torch.zeros_like(self.like, dtype=wide(self.like.dtype))
        self.spread = torch.zeros_like(self.mean)

    def add(self, draws: Float[Tensor, "draws some *input"], inputs: Int[Tensor, " some"]) -> None:
        """Take in some draws of some inputs, by the update of Chan, Golub and LeVeque."""
        more, shape = len(draws), (-1, *[1] * (self.mean.ndim - 1))
        before = self.count[inputs].to(self.mean).view(shape)
        mean = draws.to(self.mean).mean(0)
        moved = mean - self.mean[inputs]
        self.mean[inputs] += moved * (more / (before + more))
        within = (draws.to(self.mean) - mean).square_().sum(0)
        self.spread[inputs] += within + moved.square() * (before * more / (before + more))
        self.count[inputs] += more

    @property
    def variance(self) -> Float[Tensor, "batch *input"]:
        """Of a single draw, without bias."""
        free = (self.count - 1).clamp_min(1).to(self.mean)
        return self.spread / free.view(-1, *[1] * (self.mean.ndim - 1))

    @property
    def errors(self) -> Float[Tensor, "batch *input"]:
        """The standard errors of the means."""
        count = self.count.to(self.mean).view(-1, *[1] * (self.mean.ndim - 1))
        return (self.variance / count).sqrt()
