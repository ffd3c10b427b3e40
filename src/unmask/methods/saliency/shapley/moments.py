"""Mean and variance of every activation, pushed through a model whose first layer is random."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unmask.operations import (
    KINDS,
    Affine,
    Operation,
    Replaced,
    UnsupportedLayer,
    affine,
    place,
)

_NODES = 20
"""Of the quadrature for bends that have no closed form."""
_FLOOR = 1e-12
_SAME = frozenset(
    (
        *("cat", "concat", "concatenate", "stack", "reshape", "view", "view_as", "flatten"),
        *("unflatten", "permute", "transpose", "t", "squeeze", "unsqueeze", "expand", "expand_as"),
        *("repeat", "chunk", "split", "unbind", "narrow", "select", "index_select", "__getitem__"),
        *("pad", "constant_pad_nd", "roll", "flip", "clone", "contiguous", "to", "type", "float"),
        *("double", "dropout", "dropout1d", "dropout2d", "dropout3d", "T", "mT"),
    )
)
"""Linear operations that only move numbers about, which they do with variances too."""

Start = Callable[[Affine], tuple[Tensor, Tensor]]
"""Makes mean and variance of what the first layer puts out."""


@torch.no_grad()
def expected_output(
    model: Callable[[Tensor], Tensor], x: Float[Tensor, "rows *input"], start: Start
) -> Float[Tensor, "random ..."]:
    """The mean of the model's output when its first affine layer is replaced by random numbers.

    Each number is taken to be normal and independent of the others.

    Args:
        model: a network.
        x: what the first layer is applied to.
        start: from the first affine operation, mean and variance of what it puts out, in as many
            rows as wanted.
    """
    moments = _Moments(model, start)
    moments.raw[id(x)] = x
    try:
        with Replaced(dict.fromkeys(set(KINDS.values()) | {"unknown"}, moments.go)):
            output = model(x)
    except RuntimeError as error:
        if moments.first is not None:
            raise
        # From the first layer on there are other rows than the model was given.
        raise UnsupportedLayer(
            f"The model does not go on with more rows than it was given ({error}). DASP follows "
            "networks that treat each row by itself; for others use kernel_shap or "
            "permutation_shapley, which ask for nothing."
        ) from error
    if moments.first is not None:
        raise UnsupportedLayer(
            "DASP begins at a linear or convolutional layer, but the model has none. "
            "Use kernel_shap or permutation_shapley, which ask for nothing."
        )
    return output


@dataclass
class _Moments:
    model: object
    first: Start | None
    known: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    raw: dict[int, Tensor] = field(default_factory=dict)
    """What comes before the first layer: none of it is random."""

    def variance(self, tensor: Any) -> Tensor | None:
        found = self.known.get(id(tensor))
        return None if found is None else found[1]

    def go(self, operation: Operation) -> Any:
        """Run an operation on means, and find the variances of what it puts out."""
        first = operation.target if operation.target is not None else operation.argument(0, "input")
        raw = any(id(tensor) in self.raw for tensor in operation.tensors())
        if self.first is not None and operation.kind == "affine" and raw:
            made, variance = self.first(affine(operation))
            self.first = None
        elif self.first is not None and raw:
            made = operation()
            self.raw[id(made)] = made
            return made
        elif raw:
            raise UnsupportedLayer(
                f"In {place(self.model)!r} the input takes another way than through the first "
                "affine layer, and DASP follows only that. Use kernel_shap or "
                "permutation_shapley, which ask for nothing."
            )
        elif all(self.variance(tensor) is None for tensor in self._tensors(operation)):
            return operation()
        elif operation.name in _SAME:
            return self._moved(operation)
        else:
            made, variance = self._of(operation, first)
        self.known[id(made)] = made, variance
        if operation.target is not None:
            self.known[id(operation.target)] = operation.target, variance
        return made

    def _tensors(self, operation: Operation) -> list[Tensor]:
        found = operation.tensors()
        return found if operation.target is None else [operation.target, *found[1:]]

    def _moved(self, operation: Operation) -> Any:
        made = operation()
        variances = operation.run(
            *self._variances(operation.args), **self._variances(dict(operation.kwargs))
        )
        several = isinstance(made, tuple | list)
        for one, variance in zip(made, variances, strict=True) if several else [(made, variances)]:
            self.known[id(one)] = one, variance
        return made

    def _variances(self, value: Any) -> Any:
        """The same arguments, with variances in place of means; what is not random has none."""
        if isinstance(value, Tensor) and value.is_floating_point():
            found = self.variance(value)
            return torch.zeros_like(value) if found is None else found
        if isinstance(value, dict):
            return {name: self._variances(one) for name, one in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self._variances(one) for one in value)
        return value

    def _of(self, operation: Operation, first: Any) -> tuple[Tensor, Tensor]:
        kind, name = operation.kind, operation.name
        mean, variance = operation.argument(0, "input"), self.variance(first)
        if kind == "affine" and variance is not None:
            layer = affine(operation)
            return operation(), layer.apply(variance, layer.weight.square(), None)
        if kind == "batch_norm" and variance is not None:
            made = operation()
            scale = operation.run(torch.ones_like(mean), *operation.args[1:], **operation.kwargs)
            shift = operation.run(torch.zeros_like(mean), *operation.args[1:], **operation.kwargs)
            return made, variance * (scale - shift).square()
        if name == "relu" and variance is not None:
            return _relu(mean, variance)
        if kind in ("relu", "clamp", "curve") and variance is not None:
            rest, kwargs = operation.args[1:], operation.kwargs
            return _bend(lambda at: operation.run(at, *rest, **kwargs), mean, variance)
        if name in ("max_pool1d", "max_pool2d") and variance is not None:
            return _largest(operation, mean, variance)
        if name in ("add", "__add__", "__radd__", "sub", "__sub__", "rsub", "__rsub__"):
            return operation(), self._summed(operation)
        if name in ("mul", "__mul__", "__rmul__", "div", "__truediv__") and variance is not None:
            other = operation.argument(1, "other")
            if self.variance(other) is None:
                unit = operation.run(torch.ones_like(mean), other)
                return operation(), variance * unit.square()
        if variance is not None and (name in ("sum", "mean") or "avg_pool" in name):
            return self._averaged(operation, mean, variance)
        raise UnsupportedLayer(
            f"DASP has no rule for {name!r}, which the model runs in {place(self.model)!r}. It "
            "knows affine layers, batch normalisation, elementwise activations, pooling, sums and "
            "reshapes; for others use kernel_shap or permutation_shapley."
        )

    def _summed(self, operation: Operation) -> Tensor:
        made: Any = 0.0
        for term in (operation.args[0], operation.argument(1, "other")):
            variance = self.variance(term)
            if variance is None and term is operation.args[0] and operation.target is not None:
                variance = self.variance(operation.target)
            if variance is not None:
                made = made + variance
        return made

    def _averaged(
        self, operation: Operation, mean: Tensor, variance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A mean of k numbers has a k-th of their mean variance."""
        made = operation()
        same = operation.run(variance, *operation.args[1:], **operation.kwargs)
        if operation.name == "sum":
            return made, same
        if operation.name == "mean":
            return made, same / (mean[:1].numel() // made[:1].numel())
        return made, same / self._window(operation, mean)

    def _divided(self, operation: Operation) -> bool:
        return operation.argument(6, "divisor_override") is not None

    def _window(self, operation: Operation, mean: Tensor) -> int:
        """How many numbers one number of an average pool is made of."""
        axes = int(operation.name[-2])
        adaptive = "adaptive" in operation.name
        size = operation.argument(1, "output_size" if adaptive else "kernel_size")
        sizes = (size,) * axes if isinstance(size, int) else tuple(size)
        if not adaptive:
            padded = operation.argument(3, "padding", 0)
            uneven = padded and not operation.argument(5, "count_include_pad", True)
            if uneven or operation.argument(4, "ceil_mode", False) or self._divided(operation):
                raise UnsupportedLayer(
                    f"The average pool in {place(self.model)!r} divides by other numbers than the "
                    "size of its window. Count the padding in, without ceil mode and divisor, or "
                    "use kernel_shap."
                )
            return int(np.prod(sizes))
        plane = mean.shape[-axes:]
        sizes = [have if out is None else out for out, have in zip(sizes, plane, strict=True)]
        if any(have % out for out, have in zip(sizes, plane, strict=True)):
            raise UnsupportedLayer(
                f"The average pool in {place(self.model)!r} makes {tuple(sizes)} of a plane of "
                f"{tuple(plane)}, by windows of unequal size. Use sizes that divide the plane, or "
                "kernel_shap."
            )
        return int(np.prod(plane) // np.prod(sizes))


def _relu(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the positive part of a normal number."""
    spread = variance.clamp_min(_FLOOR).sqrt()
    ratio = mean / spread
    above = 0.5 * torch.erfc(-ratio / sqrt(2))
    density = torch.exp(-0.5 * ratio.square()) / sqrt(2 * torch.pi)
    made = mean * above + spread * density
    second = (mean.square() + spread.square()) * above + mean * spread * density
    certain = variance <= _FLOOR
    made = torch.where(certain, mean.clamp_min(0), made)
    return made, torch.where(certain, 0.0, (second - made.square()).clamp_min(0))


def _bend(f: Callable[[Tensor], Tensor], mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of a function of a normal number, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite.hermgauss(_NODES)
    spread = variance.clamp_min(0).sqrt()
    made, second = torch.zeros_like(mean), torch.zeros_like(mean)
    for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        value = f(mean + sqrt(2) * node * spread)
        made += weight / sqrt(torch.pi) * value
        second += weight / sqrt(torch.pi) * value.square()
    return made, (second - made.square()).clamp_min(0)


def _largest(operation: Operation, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the largest of a window, one after the other by Clark's formulas."""
    axes = int(operation.name[-2])
    size, stride = operation.argument(1, "kernel_size"), operation.argument(2, "stride")
    padding = operation.argument(3, "padding", 0)
    dilation = operation.argument(4, "dilation", 1)
    if operation.argument(5, "ceil_mode", False):
        raise UnsupportedLayer(
            "DASP has no rule for a maximum pool in ceil mode. Pad the plane to whole windows, or "
            "use kernel_shap."
        )

    def both(value: Any, missing: int) -> tuple[int, int]:
        """Of a pool along one axis, the plane has one row."""
        each = [value] * axes if isinstance(value, int) else [*value]
        return (missing if axes == 1 else each[0]), each[-1]

    down, across = both(padding, 0)
    windows: Mapping[str, Any] = {
        "kernel_size": both(size, 1),
        "stride": both(stride if stride else size, 1),
        "dilation": both(dilation, 1),
    }
    planes = mean.unsqueeze(-2) if axes == 1 else mean
    spreads = variance.unsqueeze(-2) if axes == 1 else variance
    frame = (across, across, down, down)
    low = torch.finfo(mean.dtype).min / 1e8
    each_mean = functional.unfold(functional.pad(planes, frame, value=low), **windows)
    each_variance = functional.unfold(functional.pad(spreads, frame), **windows)
    count = int(np.prod(windows["kernel_size"]))
    each_mean = each_mean.unflatten(1, (mean.shape[1], count))
    each_variance = each_variance.unflatten(1, (mean.shape[1], count))
    m, v = each_mean[:, :, 0], each_variance[:, :, 0]
    for k in range(1, count):
        m, v = _larger(m, v, each_mean[:, :, k], each_variance[:, :, k])
    shape = operation().shape
    return m.reshape(shape), v.reshape(shape)


def _larger(m1: Tensor, v1: Tensor, m2: Tensor, v2: Tensor) -> tuple[Tensor, Tensor]:
    """The larger of two independent normal numbers."""
    theta = (v1 + v2).clamp_min(_FLOOR).sqrt()
    ratio = (m1 - m2) / theta
    first = 0.5 * torch.erfc(-ratio / sqrt(2))
    density = torch.exp(-0.5 * ratio.square()) / sqrt(2 * torch.pi)
    m = m1 * first + m2 * (1 - first) + theta * density
    # Around the larger mean, so that the large numbers of a frame do not cancel.
    base = torch.maximum(m1, m2)
    d1, d2 = m1 - base, m2 - base
    second = (d1.square() + v1) * first + (d2.square() + v2) * (1 - first)
    second = second + (d1 + d2) * theta * density
    second = second.nan_to_num(posinf=0.0)
    return m, (second - (m - base).square()).clamp_min(0)
