"""Inputs as they were read: tensors, and what a person calls them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmask.run.models.sentence import Sentence

Kind = Literal["table", "image", "text", "given"]
_AT_ONCE = 256
"""Inputs that are in memory together where all are gone through."""


@dataclass(frozen=True)
class Material:
    """Inputs to explain.

    Args:
        kind: rows of a table, pictures, texts, or the examples that a model brought along.
        inputs: each without a batch axis.
        titles: how each is called.
        truths: the true class or number of each, as it reads, where it is known.
        columns: of a table.
        sentences: of texts.
        digest: of the files and texts that they were read from.
        unreadable: why, of inputs that could not be read; others stand in their places.
    """

    kind: Kind
    inputs: Sequence[Shaped[Tensor, "..."]]
    titles: Sequence[str]
    truths: Sequence[str | None]
    digest: str
    columns: tuple[str, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    unreadable: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)

    @cached_property
    def mean(self) -> Float[Tensor, "*input"]:
        """The mean of all inputs, position by position; broken numbers do not count."""
        first = self.inputs[0]
        total = torch.zeros(first.shape, dtype=torch.float64)
        counts = torch.zeros(first.shape, dtype=torch.long)
        read = [i for i in range(len(self)) if i not in self.unreadable]
        for start in range(0, len(read), _AT_ONCE):
            some = [self.inputs[i] for i in read[start : start + _AT_ONCE]]
            shapes = {tuple(x.shape) for x in (first, *some)}
            if len(shapes) > 1 or not first.is_floating_point():
                raise ValueError(
                    "These inputs have no mean: their shapes are "
                    f"{', '.join(map(str, sorted(shapes)))} and they hold {first.dtype}. Use "
                    "another baseline, such as constant or token."
                )
            stacked = torch.stack(some).double()
            sound = stacked.isfinite()
            total += torch.where(sound, stacked, 0.0).sum(0)
            counts += sound.sum(0)
        return (total / counts.clamp(min=1)).to(first.dtype)

    def shuffled(self, generator: torch.Generator) -> Iterator[Shaped[Tensor, "..."]]:
        """The inputs that were read and hold no broken number, in random order.

        Args:
            generator: source of randomness.
        """
        read = [i for i in range(len(self)) if i not in self.unreadable]
        for i in torch.randperm(len(read), generator=generator).tolist():
            x = self.inputs[read[i]]
            if not x.is_floating_point() or x.isfinite().all():
                yield x


def chosen(material: Material, rows: Sequence[int] | None) -> tuple[int, ...]:
    """The numbers of the inputs that a plan asks for.

    Args:
        material: the inputs.
        rows: as the plan says; None for all.
    """
    if rows is None:
        return tuple(range(len(material)))
    for row in rows:
        if not 0 <= row < len(material):
            raise ValueError(
                f"There is no input {row}: {len(material)} were read. "
                f"Count from 0 to {len(material) - 1}."
            )
    return tuple(dict.fromkeys(rows))


def in_dtype(path: object, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers of the type that a model takes. What would be cut off is refused.

    Args:
        path: where they were read from.
        x: the numbers.
        dtype: the type.
    """
    broken = x[x != x.round()] if x.is_floating_point() else x[:0]
    if not dtype.is_floating_point and broken.numel():
        raise ValueError(
            f"The model takes whole numbers, such as the ids of tokens, but '{path}' holds "
            f"{float(broken[0]):g}. Give whole numbers, or a text with --text."
        )
    return x.to(dtype)


def named(truth: str, classes: Mapping[int, str] | Sequence[str]) -> str:
    """A label as it reads: a class number is given its name."""
    try:
        number = int(float(truth))
        return classes[number] if number == float(truth) and number >= 0 else truth
    except (ValueError, IndexError, KeyError, OverflowError):
        return truth
