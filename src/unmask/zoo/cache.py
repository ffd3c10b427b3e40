"""What took long to find, such as the weights of a network, kept on disk."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from unmask.zoo.training import Recipe, fresh, trained

VARIABLE = "UNMASK_CACHE"
"""The environment variable that says where weights are kept."""


def cache_folder() -> Path:
    """Where weights are kept: what UNMASK_CACHE names, or the user's cache."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "unmask"


def trained_once(
    name: str,
    make: Callable[[], nn.Module],
    inputs: Shaped[Tensor, "batch *input"],
    labels: Shaped[Tensor, " batch"],
    recipe: Recipe,
) -> nn.Module:
    """Train as `trained` does, or take the weights from the cache.

    A file of the cache is named after its whole recipe: the network's layers, the settings and
    the data. What is not whole, or not what the recipe says, is trained again. A cache that
    cannot be written costs time, not the result; so does a missing safetensors.

    Args:
        name: what the file's name begins with.
        make: makes the network.
        inputs: what it learns from.
        labels: the classes of the inputs.
        recipe: how it is trained.
    """
    if find_spec("safetensors") is None:
        return trained(make, inputs, labels, recipe)
    model = fresh(make, recipe.seed)
    key = {"inputs": inputs, "labels": labels, **model.state_dict()}
    shapes = _shapes(model.state_dict())
    found = kept(
        name,
        key,
        f"{recipe}{model}",
        lambda: trained(make, inputs, labels, recipe).state_dict(),
        lambda tensors: _shapes(tensors) == shapes,
    )
    model.load_state_dict(found)
    return model


def kept(
    name: str,
    key: Mapping[str, Tensor],
    text: str,
    make: Callable[[], Mapping[str, Tensor]],
    fits: Callable[[Mapping[str, Tensor]], bool] = bool,
) -> Mapping[str, Tensor]:
    """Tensors from the cache, or made and put there.

    Args:
        name: what the file's name begins with.
        key: tensors that decide on the outcome, by name.
        text: what else does.
        make: makes the tensors.
        fits: whether what lay in the cache will do.
    """
    if find_spec("safetensors") is None:
        return make()
    file = cache_folder() / f"{name}-{_digest(key, text)[:16]}.safetensors"
    found = _read(file)
    if found is not None and fits(found):
        return found
    made = make()
    with suppress(OSError):
        _write(file, made)
    return made


def _digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """A hash of tensors with their names, and of a text."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _read(file: Path) -> dict[str, Tensor] | None:
    """The tensors of a file, if it is whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as content:
            tensors = {name: content.get_tensor(name) for name in content.offset_keys()}
            written = (content.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return tensors if _digest(tensors) == written else None


def _write(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file whole or not at all."""
    from safetensors.torch import save

    content = save(dict(tensors), {"sha256": _digest(tensors)})
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=file.stem, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as part:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
        os.replace(draft, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
