"""What opening a model gives: the model, and all that is known of it besides."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.run.models.sentence import Sentence
from unmask.zoo import Exhibit


@dataclass(frozen=True)
class Opened:
    """A model, ready to be explained.

    Args:
        model: a module in evaluation mode, or a function that cannot be looked into.
        digest: of the weights, so that results of two models never mix.
        classes: names of the outputs, where they are known.
        shape: of one input, without the batch; None where the model takes any size.
        dtype: of the input.
        exhibit: inputs, players and more that the model brought along.
        read_text: turns a text into what the model takes, if it takes texts.
        blank: the token that stands for a hidden one, and how it is called.
        causal: whether the model predicts the next token.
        notes: what the user should know.
        source: the file to open it from again, where it cannot be sent to another process itself.
        device: where the model was put; None where it was opened.
        precision: that it computes in; None for its own.
    """

    model: Callable[[Tensor], Tensor]
    digest: str
    classes: tuple[str, ...] = ()
    shape: tuple[int | None, ...] | None = None
    dtype: torch.dtype = torch.float32
    exhibit: Exhibit | None = None
    read_text: Callable[[str], Sentence] | None = None
    blank: tuple[int, str] | None = None
    causal: bool = False
    notes: tuple[str, ...] = ()
    source: str | None = None
    device: str | None = None
    precision: str | None = None

    @property
    def differentiable(self) -> bool:
        """Whether a gradient with respect to the input exists and can be had."""
        return isinstance(self.model, nn.Module) and self.dtype.is_floating_point

    def class_name(self, target: int) -> str:
        """How an output is called."""
        return self.classes[target] if target < len(self.classes) else f"class {target}"


def digest_of_module(model: nn.Module) -> str:
    """A hash of the names and values of all parameters and buffers."""
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().flatten()
            found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def digest_of_file(path: Path) -> str:
    """A hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dtype_of(model: nn.Module) -> torch.dtype:
    """The type of number that a module computes in."""
    kinds = [p.dtype for p in model.parameters() if p.dtype.is_floating_point]
    return kinds[0] if kinds else torch.float32
