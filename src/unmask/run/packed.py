"""Work as bytes, on its way to another process."""

import io
import platform
from types import ModuleType
from typing import Any, TypeGuard

import torch
from torch import Tensor

from unmask.run.models.open_model import open_model
from unmask.run.models.opened import Opened
from unmask.run.unshippable import culprit


def packed(thing: object, cloudpickle: ModuleType) -> bytes:
    """A thing as bytes, from which only processes of this run make it again.

    Args:
        thing: that is to be sent.
        cloudpickle: the module that pickles also what is defined here.
    """
    try:
        return _pickled(thing, cloudpickle)
    except Exception as error:
        path, part = culprit(thing, lambda part: _pickled(part, cloudpickle))
        raise ValueError(
            f"The work cannot be sent to other processes: {path} is a {part}, which cannot leave "
            f"this one ({error}). Make it where it is first used, leave it out of what "
            "`__getstate__` returns, or run without a cluster."
        ) from error


def _pickled(thing: object, cloudpickle: ModuleType) -> bytes:

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            if _part_of_more(obj):
                # A row would take the whole table along, and every other row once more.
                alone = obj.detach().clone().requires_grad_(obj.requires_grad)
                return alone.__reduce_ex__(5)
            if isinstance(obj, Opened) and obj.source is not None:
                return _again, (obj.source, obj.digest)
            return super().reducer_override(obj)

    file = io.BytesIO()
    Pickler(file, protocol=5).dump(thing)
    return file.getvalue()


def _part_of_more(thing: object) -> TypeGuard[Tensor]:
    return (
        type(thing) is Tensor
        and thing.layout is torch.strided
        and not thing.is_quantized
        and thing.device.type != "meta"
        and thing.untyped_storage().nbytes() > thing.nbytes
    )


def _again(source: str, digest: str) -> Opened:
    """The model of a file that every machine sees, which must be the same everywhere."""
    opened = open_model(source)
    if opened.digest != digest:
        raise ValueError(
            f"The model '{source}' is another one on {platform.node()}: the hashes differ. Put it "
            "on a disk that all machines share."
        )
    return opened
