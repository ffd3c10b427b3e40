"""Line integrals to a wanted precision: nodes where the gradient changes, and what they leave."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.methods.saliency.gradients.line_integral import Integral, Lines

_FIRST, KEPT = 5, 33
"""Nodes before any is placed where it is needed, and nodes whose gradients are kept."""
_MEAN_SIZE = math.sqrt(2 / math.pi)
"""The mean size of a normal number of standard deviation one."""


@dataclass(frozen=True)
class Wish:
    """When a line is done.

    Args:
        gap: what the values may miss of the change of the score, as a share of it.
        error: how far off the values may be expected to be, as a share of their L1 norm.
        steps: the most nodes per line.
        enough: nodes from which on the error is not asked for any more.
    """

    gap: float
    error: float
    steps: int
    enough: int


@dataclass
class _Rule:
    """Trapezoids on some lines, which are halved where the gradient changes most.

    Nodes stand in order of their place alpha. With every node goes what belongs to the interval
    that begins there.
    """

    inputs: Int[Tensor, " some"]
    alpha: Float[Tensor, "some nodes"]
    score: Float[Tensor, "some nodes"]
    slope: Float[Tensor, "some nodes"]
    kept: Int[Tensor, "some nodes"]
    """Where the density of each node is kept."""
    roughness: Float[Tensor, "some nodes"]
    """Width times the L1 norm of how much the density changes over the interval."""
    densities: Float[Tensor, "some kept positions"]
    values: Float[Tensor, "some positions"]
    variance: Float[Tensor, "some positions"]

    def width(self) -> Float[Tensor, "some intervals"]:
        return self.alpha.diff(dim=1)

    def change(self) -> Float[Tensor, " some"]:
        return self.score[:, -1] - self.score[:, 0]

    def misses(self) -> Float[Tensor, "some intervals"]:
        """What each trapezoid misses of the change of the score over its interval."""
        between = self.width() * (self.slope[:, :-1] + self.slope[:, 1:]) / 2
        return self.score.diff(dim=1) - between

    def shift(self) -> Float[Tensor, "some intervals"]:
        """The weight to move from the start of each interval to its end for a miss of one.

        The likeliest way to share it out, if the gradient wanders between the nodes: by width
        squared times change of slope.
        """
        share, bend = self.width().square() * self.slope.diff(dim=1), self.slope.diff(dim=1)
        total = (share * bend).sum(1, keepdim=True)
        return torch.where(total > 0, share / torch.where(total > 0, total, 1), 0)

    def shared(self) -> Float[Tensor, " some"]:
        """As much of the miss as can be shared out and leave no node with a negative weight."""
        room = (self.shift().abs() / self.width()).amax(1)
        most = torch.where(room > 0, 0.5 / torch.where(room > 0, room, 1), 0)
        miss = self.misses().sum(1)
        return torch.minimum(miss.abs(), most) * miss.sign()

    def noise(self) -> Float[Tensor, " some"]:
        """What rounding alone may make of a sum over the nodes."""
        eps = torch.finfo(self.densities.dtype).eps
        return self.alpha.shape[1] * eps * self.score.abs().amax(1)

    def done(self, wish: Wish) -> Bool[Tensor, " some"]:
        """Whether the gap and the expected error are small enough, or no more than rounding."""
        left = (self.misses().sum(1) - self.shared()).abs()
        off = _MEAN_SIZE * _norm(self.variance.clamp_min(0).sqrt())
        off = torch.maximum(off, self.misses().square().sum(1).sqrt())
        small = left <= torch.maximum(wish.gap * self.change().abs(), self.noise())
        precise = off <= torch.maximum(wish.error * _norm(self.values), self.noise())
        return small & (precise | (self.alpha.shape[1] >= wish.enough))

    def direction(self) -> Float[Tensor, "some positions"]:
        """What sharing out a miss of one adds to the values."""
        shift = self.shift()
        weight = torch.zeros_like(self.alpha)
        weight[:, :-1] -= shift
        weight[:, 1:] += shift
        weight = torch.zeros_like(weight).scatter(1, self.kept, weight)
        return torch.einsum("bn,bnp->bp", weight.to(self.densities), self.densities)

    def moved(self) -> Float[Tensor, "some positions"]:
        """What sharing out the miss adds to the values."""
        shared = self.shared().to(self.values)
        return self.direction() * shared[:, None]

    def some(self, chosen: Bool[Tensor, " some"]) -> "_Rule":
        """The same of some of the lines."""
        return _Rule(**{name: value[chosen] for name, value in vars(self).items()})


def to_precision(lines: Lines, inputs: Int[Tensor, " some"], wish: Wish) -> Integral:
    r"""Integrate by trapezoids, halved where the gradient changes most.

    Between nodes a and c the gradient is taken to wander from g(a) to g(c), which for a network
    of many kinks it does. Then a trapezoid misses of the integral a chance amount of variance

    $$
    \frac{(c - a)^2}{12} \bigl( g(c) - g(a) \bigr)^2
    $$

    and the sum of these over the intervals gives each value its standard error. What is missed of
    the score is known without any such guess, as its integral is f(c) - f(a). It is shared out so
    that the likeliest values, given it, are found; they sum to the change of the score.

    Nodes are added one by one until as many gradients are kept as shall be; from then on all
    intervals are halved at once, which needs running sums alone.

    Args:
        lines: where to integrate.
        inputs: along which of the lines.
        wish: when a line is done.
    """
    rule = _begin(lines, inputs, min(_FIRST, wish.steps))
    values = torch.zeros_like(rule.values)
    errors, change = torch.zeros_like(values), rule.change()
    place = torch.arange(len(inputs), device=inputs.device)
    points = rule.alpha.numel()
    kept = min(KEPT, wish.steps)
    while True:
        count = rule.alpha.shape[1]
        done = rule.done(wish) | (count == wish.steps)
        ended = rule.some(done)
        values[place[done]] = ended.values + ended.moved()
        errors[place[done]] = ended.variance.clamp_min(0).sqrt()
        rule, place = rule.some(~done), place[~done]
        if len(place) == 0 or count == kept:
            break
        goal = wish.enough if count < wish.enough < kept else kept
        more = min(max(1, count // 3), goal - count)
        rule = _add(lines, rule, more)
        points += len(place) * more
    if len(place) > 0:
        values[place], errors[place], further = _halved(lines, rule, wish)
        points += further
    shape = lines.end[inputs].shape
    return Integral(values.view(shape), change, points, errors.view(shape))


def _begin(lines: Lines, inputs: Int[Tensor, " some"], first: int) -> _Rule:
    alpha = torch.linspace(0, 1, first, dtype=torch.float64, device=inputs.device)
    alpha = alpha.repeat(len(inputs), 1)
    score, density = lines.densities(alpha, inputs)
    kept = torch.arange(first, device=inputs.device).repeat(len(inputs), 1)
    width = 1 / (first - 1)
    change = density.diff(dim=1) * width
    return _Rule(
        inputs=inputs,
        alpha=alpha,
        score=score,
        slope=density.sum(2, dtype=torch.float64),
        kept=kept,
        roughness=torch.nn.functional.pad(change.abs().sum(2).double(), (0, 1)),
        densities=density,
        values=width * (density.sum(1) - (density[:, 0] + density[:, -1]) / 2),
        variance=change.square().sum(1) / 12,
    )


def _add(lines: Lines, rule: _Rule, more: int) -> _Rule:
    """Halve the intervals of which the density is least known."""
    off = rule.roughness[:, :-1] / math.sqrt(12) + rule.misses().abs()
    a = off.topk(more, dim=1).indices
    start, width = rule.alpha.gather(1, a), rule.width().gather(1, a)
    middle = start + width / 2
    score, density = lines.densities(middle, rule.inputs)
    rows = torch.arange(len(a), device=a.device)
    values, variance = rule.values.clone(), rule.variance.clone()
    halves = []  # the roughness of both halves
    for j in range(more):
        here = density[:, j]
        left = rule.densities[rows, rule.kept[rows, a[:, j]]]
        right = rule.densities[rows, rule.kept[rows, a[:, j] + 1]]
        w = width[:, j, None].to(here)
        values += w / 2 * (here - (left + right) / 2)
        variance -= (w * (right - left)).square_() / 12
        for change in (here - left, right - here):
            change *= w / 2
            halves.append(change.abs().sum(1).double())
            variance += change.square_() / 12
    first, second = torch.stack(halves[::2], 1), torch.stack(halves[1::2], 1)
    alpha = torch.cat([rule.alpha, middle], 1)
    order = alpha.argsort(1)
    count = rule.densities.shape[1]
    kept = torch.arange(count, count + more, device=a.device).expand(len(a), -1)

    def placed(old: Tensor, new: Tensor) -> Tensor:
        return torch.cat([old, new], 1).gather(1, order)

    return _Rule(
        inputs=rule.inputs,
        alpha=alpha.gather(1, order),
        score=placed(rule.score, score),
        slope=placed(rule.slope, density.sum(2, dtype=torch.float64)),
        kept=placed(rule.kept, kept),
        roughness=placed(rule.roughness.scatter(1, a, first), second),
        densities=torch.cat([rule.densities, density], 1),
        values=values,
        variance=variance,
    )


def _halved(
    lines: Lines, rule: _Rule, wish: Wish
) -> tuple[Float[Tensor, "some positions"], Float[Tensor, "some positions"], int]:
    """Halve all intervals until the lines are done: values, standard errors, points."""
    values, errors = rule.values, rule.variance.clamp_min(0).sqrt()
    out, out_errors = values + rule.moved(), errors.clone()
    alpha, inputs, change = rule.alpha, rule.inputs, rule.change()
    towards, noise = rule.direction(), rule.noise()
    open_, points = torch.arange(len(inputs), device=inputs.device), 0
    del rule  # and with it the gradients that it keeps
    while len(open_) > 0 and 2 * alpha.shape[1] - 1 <= wish.steps:
        width = alpha.diff(dim=1)
        middle = alpha[:, :-1] + width / 2
        finer = torch.zeros_like(values)
        several = max(1, lines.batch_size // len(inputs))
        for place, w in zip(middle.split(several, 1), width.split(several, 1), strict=True):
            _, density = lines.densities(place, inputs)
            finer += torch.einsum("bn,bnp->bp", w.to(density), density)
        points += middle.numel()
        moved = (finer - values) / 2
        values = values + moved
        # Half as wide, intervals miss half as much: of what the two rules differ by, 1 / sqrt(3).
        off = _norm(moved) / math.sqrt(3)
        guessed = _MEAN_SIZE * _norm(errors)
        errors = errors * _over(off, guessed).to(errors)[:, None]
        miss = change - values.sum(1, dtype=torch.float64)
        most = _over(2 * _norm(moved), _norm(towards))  # a sign that the guess still holds
        shared = torch.minimum(miss.abs(), most) * miss.sign()
        done = (miss - shared).abs() <= torch.maximum(wish.gap * change.abs(), noise)
        precise = off <= torch.maximum(wish.error * _norm(values), noise)
        done &= precise | (2 * width.shape[1] + 1 >= wish.enough)
        out[open_] = values + towards * shared.to(towards)[:, None]
        out_errors[open_] = errors
        alpha = torch.cat([alpha, middle], 1).sort(1).values[~done]
        values, errors, towards = values[~done], errors[~done], towards[~done]
        change, noise, inputs, open_ = change[~done], noise[~done], inputs[~done], open_[~done]
    return out, out_errors, points


def _norm(x: Float[Tensor, "some positions"]) -> Float[Tensor, " some"]:
    return x.abs().sum(1, dtype=torch.float64)


def _over(x: Float[Tensor, " some"], y: Float[Tensor, " some"]) -> Float[Tensor, " some"]:
    return torch.where(y > 0, x / torch.where(y > 0, y, 1), 0)
