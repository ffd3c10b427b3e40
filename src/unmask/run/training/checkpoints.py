"""Saved weights of one network at several steps of its training. Nothing is ever unpickled."""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.run.models.opened import Opened, digest_of_file

_WEIGHTS = "model.safetensors"
_WRAPPINGS = ("module.", "_orig_mod.")
"""What torch puts before the names of weights that were saved from a wrapped network."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights in a file.

    Args:
        step: of the training.
        file: in safetensors.
        digest: of the file, so that results of two versions never mix.
    """

    step: int
    file: Path
    digest: str


class UnfitCheckpoint(ValueError):
    """Weights that cannot be looked at: of another network, or not finite."""


def find_checkpoints(names: Sequence[str]) -> tuple[Checkpoint, ...]:
    """The checkpoints of a plan, in the order of their steps.

    The step is the last number in the name, as in `step_000500.safetensors` or `checkpoint-500`.

    Args:
        names: of files in safetensors, or of folders that hold `model.safetensors`.
    """
    found: dict[int, Checkpoint] = {}
    for name in names:
        path = Path(name)
        file = path / _WEIGHTS if path.is_dir() else path
        if not file.is_file():
            raise ValueError(
                f"There is no checkpoint at '{name}', seen from '{Path.cwd()}'. Give a file in "
                f"safetensors, or a folder with {_WEIGHTS}."
            )
        if file.suffix != ".safetensors":
            raise ValueError(
                f"The checkpoint '{name}' is no safetensors file, and others could run code when "
                "they are read. Save weights with safetensors.torch.save_model(model, file)."
            )
        numbers = re.findall(r"\d+", path.name.removesuffix(".safetensors"))
        if not numbers:
            raise ValueError(
                f"The name of the checkpoint '{name}' does not say its step. Let it end in a "
                "number, such as step_000500.safetensors."
            )
        step = int(numbers[-1])
        if step in found:
            raise ValueError(
                f"Two checkpoints are of step {step}: '{found[step].file}' and '{file}'. "
                "Leave one of them out."
            )
        found[step] = Checkpoint(step, file, digest_of_file(file))
    return tuple(found[step] for step in sorted(found))


def opened_at(opened: Opened, checkpoint: Checkpoint) -> Opened:
    """The model with the weights of a checkpoint. The opened one stays as it is.

    Args:
        opened: a model of the same architecture.
        checkpoint: the weights.
    """
    if not isinstance(opened.model, nn.Module):
        raise ValueError(
            "Weights of checkpoints can be loaded into an nn.Module only, but this model is a "
            f"{type(opened.model).__name__}. Give package.module:function that builds the network."
        )
    model = copy.deepcopy(opened.model)
    weights = _read(checkpoint.file)
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            bad = float(value[~value.isfinite()][0])
            raise UnfitCheckpoint(f"the network had diverged: {name!r} holds {bad}")
    children = [model, *model.children()]
    # Weights are often saved from inside a wrapper, or from within one.
    inner = next((one for one in children if set(one.state_dict()) >= set(weights)), model)
    _fill(inner, weights)
    return replace(opened, model=model.eval(), digest=checkpoint.digest)


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        raise UnfitCheckpoint(f"'{file}' does not hold whole tensors ({error})") from None
    for wrapping in _WRAPPINGS:
        if weights and all(name.startswith(wrapping) for name in weights):
            weights = {name.removeprefix(wrapping): value for name, value in weights.items()}
    return weights


def _fill(model: nn.Module, weights: dict[str, Tensor]) -> None:
    own = model.state_dict()
    other = "the checkpoint is of another architecture: "
    for name, value in weights.items():
        if name not in own:
            raise UnfitCheckpoint(f"{other}this network has no {name!r}")
        if own[name].shape != value.shape:
            shapes = f"{tuple(value.shape)}, not {tuple(own[name].shape)}"
            raise UnfitCheckpoint(f"{other}its {name!r} has shape {shapes}")
    # Weights that two layers share may be saved once.
    there = {own[name].data_ptr() for name in weights}
    lacking = [n for n in own if n not in weights and own[n].data_ptr() not in there]
    if lacking:
        raise UnfitCheckpoint(f"{other}it lacks {lacking[0]!r}")
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
