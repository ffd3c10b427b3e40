"""Ways back through single operations: what the gradients of relevance propagation are made of."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Pull = Callable[..., Tensor]
"""What arrives at the output of an operation, and what was kept -> what goes on to its input."""

Kept = tuple[Tensor, ...]
"""Of the forward pass, for the way back."""


class _Pulled(torch.autograd.Function):
    """A value, and the way back from it to one tensor that it was made of."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, made: tuple[Tensor, Pull, Kept, bool]) -> Tensor:
        value, ctx.pull, kept, ctx.affine = made
        ctx.save_for_backward(*kept)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return ctx.pull(gradients[0], *ctx.saved_tensors), None


def pulled(
    source: Tensor, value: Tensor, pull: Pull, *, kept: Kept = (), affine: bool = False
) -> Tensor:
    """Let a value stand for what was made of a tensor, with a way back that is given.

    Args:
        source: the tensor.
        value: fresh, and without a graph.
        pull: the way back; its output is shaped like the source.
        kept: tensors without a graph, which the way back is given too, and which are let go when it
            has been taken.
        affine: whether a layer behind it no longer reads the input.
    """
    found = _Pulled.apply(source, (value, pull, kept, affine))
    assert isinstance(found, Tensor)
    return found


def proportional(source: Tensor, value: Tensor) -> Tensor:
    """Each number of a value has its relevance from the one number that it was made of.

    This is the identity rule of activations: relevance passes unchanged.
    """
    value = value.expand_as(source)
    slope = ratio(value, source.detach())
    return pulled(source, value, torch.mul, kept=(slope,))


def ratio(r: Tensor, z: Tensor) -> Tensor:
    """Numbers over others; where these are zero there is nothing to hand anything on to."""
    return (r / z).masked_fill_(z == 0, 0)


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
    return not any(getattr(node, "affine", False) for node in _graph(u))


def made_of(u: Tensor, leaf: Tensor) -> bool:
    """Whether any way leads back from a tensor to a leaf."""
    return any(getattr(node, "variable", None) is leaf for node in _graph(u))


def _graph(u: Tensor) -> Iterator[Any]:
    """The steps that a tensor was made in."""
    waiting, seen = [u.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            yield node
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
