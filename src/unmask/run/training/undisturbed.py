"""A look at a model in the middle of its training, after which everything is as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import getstate, setstate
from typing import Any

import torch
from numpy.random import get_state, set_state
from torch import Tensor, nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode without gradients, and put everything back.

    Put back are the mode of each module by itself, buffers such as the statistics of batch
    normalisation, the global random states of torch (on all devices), of NumPy and of Python, and
    the modes of gradients and of mixed precision; also after an exception. Each module's flag is
    set by itself: what a model's own `train` and `eval` do beside that, such as keeping some layers
    frozen, does not happen here.

    Args:
        model: whose training goes on afterwards.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone(), buffer._version)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    state = _random_state()
    try:
        for module, _ in modes:
            module.training = False
        with torch.inference_mode(False), torch.no_grad(), _full_precision(model):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, name, buffer, copy, version in buffers:
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(copy)
            module._buffers[name] = buffer
        _put_back(state)


def place_of(model: nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """Where a model is now, and the type of its numbers.

    Args:
        model: any; without parameters it is taken to be on the processor.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter.device, parameter.dtype
    return torch.device("cpu"), None


@contextmanager
def _full_precision(model: nn.Module) -> Iterator[None]:
    """In mixed precision, differences of many outputs would drown in rounding."""
    with torch.autocast(place_of(model)[0].type, enabled=False):
        yield


def _random_state() -> dict[str, Any]:
    state: dict[str, Any] = {
        "python": getstate(),
        "numpy": get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _put_back(state: dict[str, Any]) -> None:
    setstate(state["python"])
    set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])


def moved(x: Tensor, model: nn.Module) -> Tensor:
    """An input where the model is, and in the type of its numbers if it holds real ones.

    Args:
        x: an input.
        model: that reads it.
    """
    device, dtype = place_of(model)
    return x.to(device, dtype) if x.is_floating_point() else x.to(device)
