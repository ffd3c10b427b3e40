"""The mean gradient of a score along straight lines, by a fixed rule or to a wanted precision."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.internals import value_and_gradient
from unmask.quadrature import gauss_legendre
from unmask.score import Score

_FIRST = 5
"""Nodes before any is placed where it is needed; fewer may miss a bump that is symmetrical."""


@dataclass(frozen=True)
class Mean:
    """The mean gradient along each line.

    Args:
        gradient: in float32 at least.
        change: F at the end less F at the start.
        points: on which the model was run.
    """

    gradient: Float[Tensor, "batch *input"]
    change: Float[Tensor, " batch"]
    points: int


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

    def points(
        self, alpha: Float[Tensor, " points"], rows: Int[Tensor, " points"]
    ) -> Float[Tensor, "points *input"]:
        """The ends are met exactly; positions between are found in float32 at least."""
        wide = torch.promote_types(self.end.dtype, torch.float32)
        alpha = alpha.to(wide).view(-1, *[1] * (self.end.ndim - 1))
        return torch.lerp(self.start[rows].to(wide), self.end[rows].to(wide), alpha).to(self.end)

    def values(
        self, alpha: Float[Tensor, " points"], rows: Int[Tensor, " points"]
    ) -> Float[Tensor, " points"]:
        """The score at points of the lines."""
        chunks = zip(alpha.split(self.batch_size), rows.split(self.batch_size), strict=True)
        with torch.no_grad():
            return torch.cat([self.score(self.points(a, r), r).double() for a, r in chunks])

    def gradients(
        self, alpha: Float[Tensor, " points"], rows: Int[Tensor, " points"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points *input"]]:
        """The score at points of the lines, and its gradient there, in float32 at least."""
        values, gradients = [], []
        for a, r in zip(alpha.split(self.batch_size), rows.split(self.batch_size), strict=True):
            value, gradient = value_and_gradient(self.score, self.points(a, r), r)
            values.append(value.double())
            gradients.append(gradient.to(torch.promote_types(gradient.dtype, torch.float32)))
        return torch.cat(values), torch.cat(gradients)


def by_gauss(lines: Lines, steps: int) -> Mean:
    """Integrate by Gauss-Legendre quadrature with that many nodes."""
    batch = len(lines.end)
    rule = torch.tensor(gauss_legendre(steps), dtype=torch.float64, device=lines.end.device)
    inputs = torch.arange(batch, device=lines.end.device)
    mean = lines.end.new_zeros(
        lines.end.shape, dtype=torch.promote_types(lines.end.dtype, torch.float32)
    )
    for some in rule.split(max(1, lines.batch_size // batch)):
        alpha, weight = some.unbind(1)
        _, gradient = lines.gradients(alpha.repeat_interleave(batch), inputs.repeat(len(some)))
        mean += torch.einsum("n,nb...->b...", weight.to(mean), gradient.unflatten(0, (-1, batch)))
    ends = lines.values(rule.new_ones(batch), inputs) - lines.values(rule.new_zeros(batch), inputs)
    return Mean(mean, ends, (steps + 2) * batch)


def to_gap(lines: Lines, inputs: Int[Tensor, " some"], gap: float, steps: int) -> Mean:
    r"""Integrate by trapezoids, halved where they miss most.

    On an interval from a to c the integral of the slope is known without quadrature: it is
    f(c) - f(a). So each trapezoid knows what it misses,

    $$
    e = f(c) - f(a) - \tfrac{c - a}{2} \bigl( f'(a) + f'(c) \bigr)
    $$

    and a line is done when both $|\sum e|$ and $\sqrt{\sum e^2}$, which is what misses that do
    not know each other sum to, are at most $\mathrm{gap} \cdot |f(1) - f(0)|$: a few that happen
    to cancel do not end the work. No point is wasted: every one stays a node of the final rule.

    Args:
        lines: where to integrate.
        inputs: along which of the lines.
        gap: what the trapezoids may miss, relative to the change of the score.
        steps: the most nodes per line.
    """
    batch, first = len(inputs), min(_FIRST, steps)
    step = (lines.end[inputs].double() - lines.start[inputs].double()).reshape(batch, -1)
    alpha = torch.linspace(0, 1, first, dtype=torch.float64, device=step.device).repeat(batch, 1)
    open_ = torch.arange(batch, device=step.device)  # the lines that are not done
    change = alpha.new_zeros(batch)
    weights = alpha.new_zeros(batch, steps)
    value, slope, new, blocks = alpha[:, :0], alpha[:, :0], alpha, []
    while True:
        values, gradients = lines.gradients(
            new.flatten(), inputs[open_].repeat_interleave(new.shape[1])
        )
        block = gradients.unflatten(0, new.shape)
        blocks.append((open_, block))
        value = torch.cat([value, values.view(new.shape)], 1)
        along = torch.einsum("bnp,bp->bn", block.reshape(*new.shape, -1).double(), step[open_])
        slope = torch.cat([slope, along], 1)

        place = alpha.argsort(1)
        a, f, d = (kept.gather(1, place) for kept in (alpha, value, slope))
        width = a.diff(dim=1)
        miss = f.diff(dim=1) - width * (d[:, :-1] + d[:, 1:]) / 2
        count = alpha.shape[1]
        noise = count * torch.finfo(lines.end.dtype).eps * f.abs().amax(1)
        left = torch.maximum(miss.sum(1).abs(), miss.square().sum(1).sqrt())
        done = left <= torch.maximum(gap * (f[:, -1] - f[:, 0]).abs(), noise)
        if count == steps:
            done[:] = True
        zero = width.new_zeros(len(width), 1)
        rule = (torch.cat([zero, width], 1) + torch.cat([width, zero], 1)) / 2
        ordered = torch.zeros_like(rule).scatter(1, place, rule)
        weights[open_[done], :count] = ordered[done]
        change[open_[done]] = (f[:, -1] - f[:, 0])[done]
        if done.all():
            break
        more = min(max(1, count // 8), steps - count)
        worst = miss[~done].abs().topk(more, dim=1).indices
        new = (a[~done].gather(1, worst) + a[~done].gather(1, worst + 1)) / 2
        open_, value, slope = open_[~done], value[~done], slope[~done]
        alpha = torch.cat([alpha[~done], new], 1)

    mean = blocks[0][1].new_zeros(batch, *lines.end.shape[1:])
    used = 0
    for rows, block in blocks:
        nodes = block.shape[1]
        mean[rows] += torch.einsum(
            "bn,bn...->b...", weights[rows, used : used + nodes].to(block), block
        )
        used += nodes
    return Mean(mean, change, sum(block.shape[0] * block.shape[1] for _, block in blocks))
