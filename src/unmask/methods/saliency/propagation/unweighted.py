"""Operations without weights: how relevance passes through products, curves and normalisations."""

from typing import Any

import torch
from torch import Tensor

from unmask.methods.saliency.propagation.backward import proportional, pulled, weakened
from unmask.operations import Operation

_ROOTS = ("sqrt", "rsqrt", "norm", "std", "var", "linalg_vector_norm", "linalg_norm")
"""Measures of a size, which are only ever divided by."""


def product(operation: Operation) -> Any:
    """Factors share alike."""
    summand = operation.name in ("addcmul", "baddbmm", "addbmm")
    first, factors = operation.args[:summand], operation.args[summand:]
    moving = sum(one.requires_grad for one in Operation("", "", product, factors).tensors())
    return operation.run(*first, *(_faded(one, moving) for one in factors), **operation.kwargs)


def quotient(operation: Operation) -> Any:
    """To the numerator; of a number over a tensor, to that tensor as through a curve."""
    args, kwargs = list(operation.args), dict(operation.kwargs)
    under = "tensor2" if operation.name == "addcdiv" else "other"
    below = 0 if operation.name in ("__rdiv__", "__rtruediv__") else len(args) - 1
    u = kwargs[under] if under in kwargs else args[below]
    if not isinstance(u, Tensor) or not u.requires_grad:
        return operation()
    if sum(one.requires_grad for one in operation.tensors()) == 1:
        return proportional(u, operation().detach())
    if under in kwargs:
        kwargs[under] = u.detach()
    else:
        args[below] = u.detach()
    return operation.run(*args, **kwargs)


def curve(operation: Operation) -> Any:
    """Unchanged through an activation; a root, which measures a size, is taken as constant."""
    moving = [one for one in operation.tensors() if one.requires_grad]
    value = operation()
    power = operation.argument(1, "exponent") if operation.name in ("pow", "__pow__") else None
    if operation.name in _ROOTS or (isinstance(power, int | float) and power < 1):
        return value.detach()
    if len(moving) != 1 or moving[0].shape != value.shape:
        return value
    return proportional(moving[0], value.detach())


def attention(operation: Operation) -> Any:
    """As if written out: two products, whose factors share alike, and between them a softmax."""
    q, k, v = (operation.argument(i, name) for i, name in enumerate(("query", "key", "value")))
    rest = {n: one for n, one in operation.kwargs.items() if n not in ("query", "key", "value")}
    outer = (q.requires_grad or k.requires_grad) + v.requires_grad
    inner = outer * (q.requires_grad + k.requires_grad)
    q, k, v = _faded(q, inner), _faded(k, inner), _faded(v, outer)
    return operation.run(q, k, v, *operation.args[3:], **rest)


def normalisation(operation: Operation) -> Any:
    """The size that is divided by is taken as constant; the mean that is taken off is not."""
    u = operation.argument(0, "input")
    if not isinstance(u, Tensor) or not u.requires_grad:
        return operation()
    value = operation().detach()
    if operation.name in _ROOTS:
        return value
    if operation.name not in ("layer_norm", "group_norm", "instance_norm"):
        return proportional(u, value)
    centred = _centred(operation, u)
    return operation() if centred is None else pulled(centred, value, lambda g: g)


def size(operation: Operation) -> Any:
    """A measure of a size is taken as constant; the mean that comes with it is not."""
    found = operation()
    return found.detach() if isinstance(found, Tensor) else (found[0].detach(), found[1])


SIZES = frozenset((*_ROOTS, "std_mean", "var_mean"))
"""Names of the operations that `size` is for."""


def _centred(operation: Operation, u: Tensor) -> Tensor | None:
    """A normalisation with the size as a constant; None where it uses numbers that it remembers."""
    name, channels = operation.name, [-1, *[1] * (u.ndim - 2)]
    if name == "layer_norm":
        shape = operation.argument(1, "normalized_shape")
        flat, channels = u.flatten(u.ndim - len(tuple(shape))), list(shape)
        places = (2, 3, 4)
    elif name == "group_norm":
        flat = u.reshape(len(u), operation.argument(1, "num_groups"), -1)
        places = (2, 3, 4)
    elif not operation.argument(5, "use_input_stats", True):
        return None
    else:
        flat, places = u.flatten(2), (3, 4, 7)
    weight, bias = operation.argument(places[0], "weight"), operation.argument(places[1], "bias")
    added = operation.argument(places[2], "eps", 1e-5)
    wide = flat.detach().to(torch.promote_types(u.dtype, torch.float32))
    scale = (wide.var(-1, keepdim=True, unbiased=False) + added).rsqrt().to(u.dtype)
    found = ((flat - flat.mean(-1, keepdim=True)) * scale).reshape(u.shape)
    found = found if weight is None else found * weight.detach().view(channels)
    return found if bias is None else found + bias.detach().view(channels)


def _faded(one: Any, parts: int) -> Any:
    """One of so many that share: what moves keeps its part, lists are looked into."""
    if isinstance(one, list | tuple):
        return type(one)(_faded(inner, parts) for inner in one)
    if isinstance(one, Tensor) and one.requires_grad and parts > 1:
        return weakened(one, 1 / parts)
    return one
