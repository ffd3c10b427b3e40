"""The weights of a network in training: where they are, and whether they are the same as before."""

import hashlib

import torch
from torch import nn
from torch.nn.parameter import is_lazy

_LOOKED_AT = 4096
"""Numbers of each tensor; weights that differ by one update differ in nearly all of them."""


def inside(model: nn.Module) -> nn.Module:
    """The network inside of what compiles it or keeps several processes in step.

    The first would be compiled anew for every look; the second waits for the other processes, which
    do not look.

    Args:
        model: as it is trained.
    """
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def refuse_valueless(model: nn.Module) -> None:
    """Refuse weights that have no values: a look would give them some, or find nothing.

    Args:
        model: as it is trained.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta or is_lazy(parameter):
            raise ValueError(
                f"The weights of the model, such as {name!r}, have no values yet: they are on the "
                "meta device, or their size waits for a first input. Initialise them, or run the "
                "model once, before its training is watched."
            )


def fingerprint(model: nn.Module) -> str:
    """A hash of some numbers of every parameter, cheap also of a large network.

    Args:
        model: with weights that can be read.
    """
    found = hashlib.sha256()
    for parameter in model.parameters():
        some = parameter.detach().reshape(-1)
        some = some[:: -(-some.numel() // _LOOKED_AT) or 1].cpu()
        found.update(f"{some.dtype} {tuple(parameter.shape)}".encode())
        found.update(some.contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
