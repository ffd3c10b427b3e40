"""Saved weights of one network at several steps of its training. Nothing is ever unpickled."""

import copy
import glob
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.run.models.opened import Opened, digest_of_file

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PART = re.compile(r"-\d+-of-\d+\.safetensors$")
_STEP = re.compile(r"(?:steps?|checkpoint|iter(?:ation)?|updates?)[-_=. ]*(\d+)", re.IGNORECASE)
_WRAPPINGS = ("module.", "_orig_mod.")
"""What torch puts before the names of weights that were saved from a wrapped network."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights in a file.

    Args:
        step: of the training.
        file: in safetensors, or the index of several.
        digest: of the file, so that results of two versions never mix.
    """

    step: int
    file: Path
    digest: str


class UnfitCheckpoint(ValueError):
    """Weights that cannot be looked at: of another network, or not finite."""


def find_checkpoints(names: Sequence[str]) -> tuple[Checkpoint, ...]:
    """The checkpoints of a plan, in the order of their steps.

    The step is the number that follows `step` or `checkpoint` in the name, or else the last number
    in it, as in `step_000500.safetensors`, `checkpoint-500` or `epoch=3-step=500-v1.safetensors`.
    Where the name of a file has none, a folder counts that is called so: `checkpoint-500/`.

    Args:
        names: of files in safetensors, of folders that hold `model.safetensors`, whole or in parts,
            or patterns of such names, as `out/checkpoint-*`.
    """
    found: dict[int, Checkpoint] = {}
    for name, file in _files(names):
        step = _step_of(name)
        if step in found and found[step].file != file:
            raise ValueError(
                f"Two checkpoints are of step {step}: '{found[step].file}' and '{file}'. "
                "Leave one of them out."
            )
        found[step] = Checkpoint(step, file, _digest(file))
    return tuple(found[step] for step in sorted(found))


def _files(names: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """Each name that is meant, and the file of its weights, or the index of their parts."""
    for name in names:
        pattern = glob.has_magic(name) and not Path(name).exists()
        meant = sorted(glob.glob(name)) if pattern else [name]
        for path in map(Path, meant):
            inside = [path / one for one in (_WEIGHTS, _INDEX) if (path / one).is_file()]
            file = inside[0] if inside else path
            if not file.is_file() and pattern:
                continue  # another folder of that name
            if not file.is_file():
                raise ValueError(_nothing_at(name))
            if not file.name.endswith((".safetensors", _INDEX)):
                raise ValueError(
                    f"The checkpoint '{path}' is no safetensors file, and others could run code "
                    "when they are read. Save weights with safetensors.torch.save_model(model, "
                    "file)."
                )
            if _PART.search(file.name):
                raise ValueError(
                    f"'{path}' holds a part of the weights only. Give the folder that it lies in."
                )
            yield path, file
        if not any(Path(one).exists() for one in meant):
            raise ValueError(_nothing_at(name))


def _nothing_at(name: str) -> str:
    return (
        f"There is no checkpoint at '{name}', seen from '{Path.cwd()}'. Give a file in "
        f"safetensors, or a folder with {_WEIGHTS}."
    )


def _step_of(path: Path) -> int:
    name = path.name.removesuffix(".safetensors")
    # The number of a folder may be anything, unless it is called a step.
    numbers = (
        _STEP.findall(name)
        or re.findall(r"\d+", name)
        or _STEP.findall(path.absolute().parent.name)
    )
    if numbers:
        return int(numbers[-1])
    raise ValueError(
        f"The name of the checkpoint '{path}' does not say its step. Let it end in a number, such "
        "as step_000500.safetensors."
    )


def _parts(file: Path) -> list[Path]:
    """The files that weights lie in: themselves, or those that their index names."""
    if file.name != _INDEX:
        return [file]
    try:
        names = sorted(set(json.loads(file.read_text("utf-8"))["weight_map"].values()))
        return [file.parent / Path(name).name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnfitCheckpoint(f"'{file}' is no index of weights ({error})") from None


def _digest(file: Path) -> str:
    try:
        digests = [digest_of_file(part) for part in _parts(file)]
    except (OSError, UnfitCheckpoint):  # told when it is to be read
        return digest_of_file(file)
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()


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
    return replace(opened, model=model.eval(), digest=checkpoint.digest, source=None)


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = {name: value for part in _parts(file) for name, value in load_file(part).items()}
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
