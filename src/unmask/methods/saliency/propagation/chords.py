"""Chords: the mean derivative of an operation between two inputs, handed back by autograd.

Each is a function whose forward pass is the operation itself and whose backward pass looks up what
went into it at the reference, when it is run: so that one forward pass serves many references.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from unmask.methods.saliency.propagation.pieces import pieces
from unmask.operations import Affine, Operation
from unmask.quadrature import gauss_legendre

POOLS = {
    f"{kind}max_pool{d}d": getattr(functional, f"{kind}max_pool{d}d_with_indices")
    for d in (1, 2, 3)
    for kind in ("", "adaptive_")
}


@dataclass
class Met:
    """An operation that was met on the way, and what went into it at the references.

    Args:
        name: of the operation.
        inputs: its tensors there.
        output: what it put out there, of operations on single numbers.
    """

    name: str
    inputs: list[Tensor]
    output: Tensor | None


At = Callable[[int], Met]
"""What was met at the references as the operation of that number."""


class Rescale(torch.autograd.Function):
    """A function of each number: the slope of the chord."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, operation: Operation, at: At, number: int) -> Tensor:
        made = operation()
        ctx.save_for_backward(a, made)
        ctx.operation, ctx.at, ctx.number = operation, at, number
        return made

    @staticmethod
    def backward(ctx: Any, *upper: Tensor) -> tuple[Tensor | None, ...]:
        a, made = ctx.saved_tensors
        met = ctx.at(ctx.number)
        if ctx.operation.name == "relu":
            return _by_relu(upper[0], a, met.inputs[0]), None, None, None
        chord = _chord(ctx.operation, a, made, met.inputs[0], cast(Tensor, met.output))
        return upper[0] * chord, None, None, None


def _by_relu(upper: Tensor, a: Tensor, a0: Tensor) -> Tensor:
    """A ReLU's chord times what comes from above; where it has no length, the derivative."""
    given = torch.empty_like(a)
    for end, up, out, start in pieces(a, upper, given, a0):
        step = end - start
        # max(a, a0) / |a - a0|, cut to [0, 1], is the chord, and never wrong by cancellation.
        torch.maximum(end, start, out=out).div_(step.abs_()).clamp_(0, 1).nan_to_num_(0.0).mul_(up)
    return given


def _chord(operation: Operation, a: Tensor, made: Tensor, a0: Tensor, made0: Tensor) -> Tensor:
    """The slope between two points, and the derivative between them where they are close."""
    step = a - a0
    change = made - made0
    # What rounding may have done to the change: of functions that are steep near zero, such as
    # 1/sqrt, even a small step bends more than that.
    blurred = (made.abs() + made0.abs()).mul_(2 * torch.finfo(step.dtype).eps)
    middle = (a + a0) / 2
    with torch.enable_grad():
        point = middle.detach().requires_grad_()
        value = operation.run(point, *operation.args[1:], **operation.kwargs)
        (derivative,) = torch.autograd.grad(value.sum(), point)
    straight = (change - derivative * step).abs_() <= blurred
    return torch.where(straight, derivative, change.div_(step))


class Winners(torch.autograd.Function):
    """The largest of a window: the winner here and the winner at the reference share the change."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, operation: Operation, at: At, number: int) -> Tensor:
        made, winners = pooled(operation, a)
        ctx.save_for_backward(a, made, winners)
        ctx.operation, ctx.at, ctx.number = operation, at, number
        return made

    @staticmethod
    def backward(ctx: Any, *upper: Tensor) -> tuple[Tensor | None, ...]:
        a, made, here = ctx.saved_tensors
        a0 = ctx.at(ctx.number).inputs[0]
        made0, there = pooled(ctx.operation, a0)
        plane = -int(ctx.operation.name[-2])  # the axes that a window lies in: max_pool2d
        given = torch.zeros_like(a)
        flat = (one.flatten(plane) for one in (a, upper[0], made, here, given, a0, made0, there))
        for part in pieces(*flat):
            _share(*part)
        return given, None, None, None


def _share(
    a: Tensor, upper: Tensor, made: Tensor, here: Tensor, given: Tensor,
    a0: Tensor, made0: Tensor, there: Tensor,
) -> None:  # fmt: skip
    """The change of a maximum goes to both winners in proportion to how far they have moved."""
    there = there.expand_as(here)
    first = made - a0.expand_as(a).gather(-1, here)
    second = a.gather(-1, there).sub_(made0)
    # The share |step| / (|first| + |second|) of the change, over the step: only its sign is left.
    # Where one place has won twice, the two halves meet there, even if nothing has moved.
    each = (made - made0).div_(first.abs() + second.abs()).nan_to_num_(0.5).mul_(upper)
    one = torch.ones_like(first)
    given.scatter_add_(-1, here, torch.copysign(one, first).mul_(each))
    given.scatter_add_(-1, there, torch.copysign(one, second).mul_(each))


def pooled(operation: Operation, a: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each window, and where in its plane it stands."""
    kwargs = {name: value for name, value in operation.kwargs.items() if name != "input"}
    return POOLS[operation.name](a, *operation.args[1:], **kwargs)


class Between(torch.autograd.Function):
    """Any operation: its mean derivative along the line, by quadrature."""

    @staticmethod
    def forward(
        ctx: Any, again: Callable[..., Any], at: At, number: int, nodes: int, *a: Tensor
    ) -> Any:
        made = again(*a)
        ctx.save_for_backward(*a)
        ctx.again, ctx.at, ctx.number, ctx.nodes = again, at, number, nodes
        ctx.mark_non_differentiable(
            *(one for one in made if isinstance(one, Tensor) and not one.is_floating_point())
        )
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *upper: Tensor | None) -> tuple[Tensor | None, ...]:
        ends, starts = ctx.saved_tensors, ctx.at(ctx.number).inputs
        moving = [place for place, wanted in enumerate(ctx.needs_input_grad[4:]) if wanted]
        total: list[Tensor | None] = [None] * len(ends)
        for alpha, weight in gauss_legendre(ctx.nodes):
            with torch.enable_grad():
                points = list(ends)
                for place in moving:
                    points[place] = _on_line(starts[place], ends[place], alpha).requires_grad_()
                made = ctx.again(*points)
                ups = [
                    (one, up)
                    for one, up in zip(made, upper, strict=True)
                    if isinstance(one, Tensor) and one.requires_grad and up is not None
                ]
                found = torch.autograd.grad(
                    [one for one, _ in ups],
                    [points[place] for place in moving],
                    [up for _, up in ups],
                    allow_unused=True,
                )
            for place, one in zip(moving, found, strict=True):
                if one is not None:
                    sofar = total[place]
                    total[place] = weight * one if sofar is None else sofar + weight * one
        return None, None, None, None, *total


def _on_line(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    """Between two points; where both are the same infinity, as in masks, there too."""
    return torch.where(start == end, end, start + alpha * (end - start)).detach()


class Cancelling(torch.autograd.Function):
    """A dense layer and what bends it: contributions that raise and lower are kept apart."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, z: Tensor, operation: Operation, layer: Affine, at: At,
        number: int, layer_number: int,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(a, z)
        ctx.operation, ctx.weight, ctx.at = operation, layer.weight, at
        ctx.number, ctx.layer_number = number, layer_number
        return operation.run(z, *operation.args[1:], **operation.kwargs)

    @staticmethod
    def backward(ctx: Any, *upper: Tensor) -> tuple[Tensor | None, ...]:
        a, z = ctx.saved_tensors
        step = a - ctx.at(ctx.layer_number).inputs[0]
        z0 = ctx.at(ctx.number).inputs[0].expand_as(z)
        up, down = ctx.weight.clamp_min(0), ctx.weight.clamp_max(0)
        raised = functional.linear(step.clamp_min(0), up)
        raised = raised + functional.linear(step.clamp_max(0), down)
        lowered = functional.linear(step, ctx.weight) - raised

        def f(at: Tensor) -> Tensor:
            return ctx.operation.run(at, *ctx.operation.args[1:], **ctx.operation.kwargs)

        # Each is let in first and last, and credited with the mean of what that changes.
        by_raised = (f(z0 + raised) - f(z0) + f(z) - f(z0 + lowered)) / 2
        by_lowered = (f(z0 + lowered) - f(z0) + f(z) - f(z0 + raised)) / 2
        plus = upper[0] * torch.where(raised != 0, by_raised / raised, 0.0)
        minus = upper[0] * torch.where(lowered != 0, by_lowered / lowered, 0.0)
        where_more = plus @ up + minus @ down
        where_less = minus @ up + plus @ down
        given = torch.where(step > 0, where_more, where_less)
        given = torch.where(step == 0, (where_more + where_less) / 2, given)
        return given, None, None, None, None, None, None
