"""Ways back through single operations: what the gradients of relevance propagation are made of."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Pull = Callable[[Tensor], Tensor]
"""What arrives at the output of an operation -> what goes on to its input."""


class _Pulled(torch.autograd.Function):
    """A value, and the way back from it to one tensor that it was made of."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, made: tuple[Tensor, Pull, bool]) -> Tensor:
        value, ctx.pull, ctx.affine = made
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return ctx.pull(gradients[0]), None


def pulled(source: Tensor, value: Tensor, pull: Pull, *, affine: bool = False) -> Tensor:
    """Let a value stand for what was made of a tensor, with a way back that is given.

    Args:
        source: the tensor.
        value: fresh, and without a graph.
        pull: the way back; its output is shaped like the source.
        affine: whether a layer behind it no longer reads the input.
    """
    found = _Pulled.apply(source, (value, pull, affine))
    assert isinstance(found, Tensor)
    return found


def proportional(source: Tensor, value: Tensor) -> Tensor:
    """Each number of a value has its relevance from the one number that it was made of.

    This is the identity rule of activations: relevance passes unchanged.
    """
    u, value = source.detach(), value.expand_as(source)
    ratio = (value / u).masked_fill_(u == 0, 0)
    return pulled(source, value, lambda g: g * ratio)


def weakened(source: Tensor, share: float) -> Tensor:
    """The same tensor, of whose relevance only a share goes on."""
    return pulled(source, source.detach(), lambda g: g * share)


def pushed(point: Tensor, read: Tensor, direction: Tensor) -> Tensor:
    """How a tensor made of x changes as x moves in a direction: the way back, taken back."""
    u = torch.zeros_like(read).requires_grad_()
    (back,) = torch.autograd.grad(read, point, u, create_graph=True)
    (found,) = torch.autograd.grad(back, u, direction)
    return found.detach()


def reads_input(u: Tensor) -> bool:
    """Whether a tensor was made of the input without any affine layer."""
    waiting, seen = [u.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if getattr(node, "affine", False):
            return False
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
    return True
