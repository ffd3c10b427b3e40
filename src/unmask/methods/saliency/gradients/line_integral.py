"""The integral of a score's gradient along straight lines: by a fixed rule, or to a precision."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.internals import value_and_gradient
from unmask.methods.saliency.gradients.stream import blocks, rows_of, wide
from unmask.quadrature import gauss_legendre
from unmask.score import Score


@dataclass(frozen=True)
class Integral:
    """What each position adds to the change of the score along each line.

    Args:
        values: in float32 at least.
        change: F at the end less F at the start.
        points: on which the model was run.
        errors: standard errors of the values, where the rule knows them.
    """

    values: Float[Tensor, "batch *input"]
    change: Float[Tensor, " batch"]
    points: int
    errors: Float[Tensor, "batch *input"] | None = None


@dataclass(frozen=True)
class Lines:
    """A line per input, and the score on it.

    Args:
        score: F.
        start: where each line begins.
        end: where it ends.
        batch_size: points in one call of the model.
    """

    score: Score
    start: Float[Tensor, "batch *input"]
    end: Float[Tensor, "batch *input"]
    batch_size: int

    def densities(
        self, alpha: Float[Tensor, "some nodes"], inputs: Int[Tensor, " some"]
    ) -> tuple[Float[Tensor, "some nodes"], Float[Tensor, "some nodes positions"]]:
        """The score at nodes of some of the lines, and its gradient there times the step."""
        rows, place = inputs.repeat_interleave(alpha.shape[1]), alpha.flatten()
        values, densities = [], []
        for r, a in zip(rows.split(self.batch_size), place.split(self.batch_size), strict=True):
            start, end = self.start[r], self.end[r]
            value, gradient = value_and_gradient(self.score, between(start, end, a), r)
            values.append(value.double())
            gradient = gradient.to(wide(gradient.dtype))
            densities.append(gradient * (end.to(gradient) - start.to(gradient)))
        return (
            torch.cat(values).view(alpha.shape),
            torch.cat(densities).reshape(*alpha.shape, -1),
        )

    def change(self) -> Float[Tensor, " batch"]:
        """F at the ends of the lines less F at their starts."""
        rows = torch.arange(len(self.end), device=self.end.device)
        with torch.no_grad():
            ends = [
                self.score(points[r], r).double()
                for points in (self.end, self.start)
                for r in rows.split(self.batch_size)
            ]
        end, start = torch.cat(ends).chunk(2)
        return end - start


def between(
    start: Float[Tensor, "..."], end: Float[Tensor, "batch *input"], alpha: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Points of lines. The ends are met exactly; in between they are found in float32 at least.

    An alpha per line gives a point of each; with an axis more in front, of starts as of places,
    several.
    """
    alpha = alpha.to(wide(end.dtype))
    alpha = alpha.view(*alpha.shape, *[1] * (end.ndim - 1))
    return torch.lerp(start.to(alpha), end.to(alpha), alpha).to(end.dtype)


def by_gauss(lines: Lines, steps: int) -> Integral:
    """Integrate by Gauss-Legendre quadrature with that many nodes."""
    batch, device = len(lines.end), lines.end.device
    rule = torch.tensor(gauss_legendre(steps), dtype=wide(lines.end.dtype), device=device)
    values = torch.zeros_like(lines.end, dtype=rule.dtype)
    for nodes, inputs in blocks(batch, steps, lines.batch_size):
        alpha, weight = rule[nodes].unbind(1)
        points = between(lines.start[inputs], lines.end[inputs], alpha[:, None]).flatten(0, 1)
        rows = rows_of(inputs, len(alpha), device)
        _, gradient = value_and_gradient(lines.score, points, rows)
        gradient = gradient.unflatten(0, (len(alpha), -1)).to(rule)
        values[inputs] += torch.tensordot(weight, gradient, 1)
    values *= lines.end.to(rule) - lines.start.to(rule)
    return Integral(values, lines.change(), (steps + 2) * batch)
