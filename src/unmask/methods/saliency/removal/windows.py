"""Boxes that slide over an input, and the mean over those that cover a place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """All boxes of one size at regular places of an input.

    Args:
        shape: of one input.
        sides: lengths of a box along the last axes of the input; it holds all of the first ones.
        steps: from one box to the next along each of these axes.
    """

    shape: tuple[int, ...]
    sides: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many boxes there are along each of the last axes."""
        sliding = zip(self.shape[self._fixed :], self.sides, self.steps, strict=True)
        return tuple((size - side) // step + 1 for size, side, step in sliding)

    def __len__(self) -> int:
        return prod(self.counts)

    def corners(self) -> Int[Tensor, "windows axes"]:
        """Where each box begins along the last axes; the last of them runs fastest."""
        along = [torch.arange(n) * step for n, step in zip(self.counts, self.steps, strict=True)]
        return torch.stack(torch.meshgrid(*along, indexing="ij"), -1).flatten(0, -2)

    def inside(self, corners: Int[Tensor, "some axes"]) -> Int[Tensor, "some positions"]:
        """The places of the flattened input that lie in boxes with these corners.

        The positions of a box run through its channels, then its rows, then its columns.
        """
        flat = torch.arange(prod(self.shape), device=corners.device).view(self.shape)
        strides = torch.tensor(flat.stride()[self._fixed :], device=corners.device)
        first = flat
        for axis, side in enumerate(self.sides, self._fixed):
            first = first.narrow(axis, 0, side)
        return (corners * strides).sum(1, keepdim=True) + first.reshape(1, -1)

    def any(self, there: Bool[Tensor, "batch *input"]) -> Bool[Tensor, "batch windows"]:
        """Whether a box holds any place that is marked."""
        found = there.flatten(1, self._fixed).any(1) if self._fixed else there
        for axis, (side, step) in enumerate(zip(self.sides, self.steps, strict=True), 1):
            found = found.unfold(axis, side, step).any(-1)
        return found.flatten(1)

    def mean(self, values: Float[Tensor, "batch windows"]) -> Float[Tensor, "batch *input"]:
        """The mean of the boxes over each place, and zero where there is none."""
        spread = values.unflatten(1, self.counts)
        count = values.new_ones(self.counts)
        for axis, (n, side, step) in enumerate(
            zip(self.counts, self.sides, self.steps, strict=True)
        ):
            size = self.shape[self._fixed + axis]
            place, first = torch.arange(size), torch.arange(n)[:, None] * step
            covers = ((place >= first) & (place < first + side)).to(values)
            spread = (spread.movedim(axis + 1, -1) @ covers).movedim(-1, axis + 1)
            count = (count.movedim(axis, -1) @ covers).movedim(-1, axis)
        spread = spread / count.clamp(min=1)
        channels = (1,) * self._fixed
        return spread.view(len(values), *channels, *spread.shape[1:]).expand(-1, *self.shape)

    @property
    def _fixed(self) -> int:
        """How many of the first axes no box slides over."""
        return len(self.shape) - len(self.sides)


def sliding(
    shape: Sequence[int], window: int | Sequence[int], stride: int | Sequence[int] | None
) -> Windows:
    """Windows of a size that a user gave, checked.

    Args:
        shape: of one input.
        window: lengths along the last axes; a single number is the length along all axes behind
            the channels, or along the one axis that there is.
        stride: from one window to the next, likewise; nothing is 1.
    """
    if len(shape) == 0:
        raise ValueError(
            "A window slides over an axis, but each input is a single number. "
            "Give inputs with at least one axis besides the batch."
        )
    sides = (window,) * max(1, len(shape) - 1) if isinstance(window, int) else tuple(window)
    stride = 1 if stride is None else stride
    steps = (stride,) * len(sides) if isinstance(stride, int) else tuple(stride)
    if not 1 <= len(sides) <= len(shape):
        raise ValueError(
            f"The window {sides} has {len(sides)} sides, but an input has shape {tuple(shape)}. "
            f"Give between 1 and {len(shape)} sides, for the last axes of the input."
        )
    if len(steps) != len(sides):
        raise ValueError(
            f"The window {sides} has {len(sides)} sides, but the stride {steps} has {len(steps)}. "
            "Give one number, or as many as the window has sides."
        )
    for size, side in zip(shape[-len(sides) :], sides, strict=True):
        if not 1 <= side <= size:
            raise ValueError(
                f"The window {sides} does not fit the last axes of an input, which are "
                f"{tuple(shape[-len(sides) :])}. Give sides of at least 1 and at most that."
            )
    if min(steps) < 1:
        raise ValueError(f"A stride of {steps} goes nowhere. Give at least 1.")
    return Windows(tuple(shape), sides, steps)


def written(
    x: Shaped[Tensor, "batch *input"],
    rows: Int[Tensor, " rows"],
    at_once: int,
) -> Iterator[tuple[slice, Shaped[Tensor, "some positions"]]]:
    """Rows that are copies of inputs, one block of them after the other in the same memory.

    Who is given a block, flattened, and its place among the rows writes on it and passes it on.

    Args:
        x: the inputs.
        rows: of which input each row is a copy.
        at_once: rows of a block.
    """
    flat = x.flatten(1)
    block = flat.new_empty(min(at_once, len(rows)), flat.shape[1])
    for start in range(0, len(rows), at_once):
        some = slice(start, min(start + at_once, len(rows)))
        lent = block[: some.stop - some.start]
        torch.index_select(flat, 0, rows[some], out=lent)
        yield some, lent
