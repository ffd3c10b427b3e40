"""A model on the device and in the precision that a plan wants."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unmask.run.models.opened import Opened
from unmask.run.plan import PRECISIONS, Plan

Held = TypeVar("Held")


def placed(opened: Opened, plan: Plan) -> Opened:
    """The model where the plan wants it. What was opened stays as it is.

    In `bfloat16` or `float16` the layers that gain by it (products and convolutions) compute in it,
    as `torch.autocast` has it; parameters stay in their own type, and what is read from the output
    is a number in float32. A logit is then rounded to about 4e-3 of its size (5e-4 in float16), and
    terms no larger than that mean nothing.

    Args:
        opened: a model.
        plan: that says where and how.
    """
    if (opened.device, opened.precision) == (plan.device, plan.precision):
        return opened
    model = opened.model
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"The plan names a device or a precision, but the model '{plan.model}' is a "
            f"{type(model).__name__}, which cannot be moved. Leave `device` and `precision` out "
            "of the plan, or give package.module:function that builds an nn.Module."
        )
    if plan.device is not None:
        refuse_absent(plan.device)
        if opened.source is not None and torch.device(plan.device).type != "cpu":
            raise ValueError(
                f"The plan names the device {plan.device!r}, but the program '{plan.model}' was "
                "exported for the one that it lay on. Leave out `device`, or give "
                "package.module:function that builds the network."
            )
        model = _moved(model, torch.device(plan.device))
    if plan.precision is not None:
        if plan.precision not in PRECISIONS:
            raise ValueError(
                f"The precision is {plan.precision!r}. Give {' or '.join(map(repr, PRECISIONS))}, "
                "or leave it out for the model's own."
            )
        model = _mixed(model, getattr(torch, plan.precision))
    return replace(opened, model=model, device=plan.device, precision=plan.precision)


def refuse_absent(device: str) -> None:
    """Refuse a device that is not here.

    Args:
        device: as PyTorch calls it, such as cuda or cuda:1.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"The plan names the device {device!r}, and there is none here (PyTorch "
            f"{torch.__version__}: {reason}). Leave out `device`, or run the plan where one is."
        ) from None


def there(held: Held, opened: Opened) -> Held:
    """A result or an entry whose tensors are where the model is.

    Args:
        held: a frozen dataclass.
        opened: the model.
    """
    if opened.device is None:
        return held
    tensors: dict[str, Any] = {
        one.name: getattr(held, one.name).to(opened.device)
        for one in fields(held)  # pyright: ignore[reportArgumentType] - a dataclass, as is said
        if isinstance(getattr(held, one.name), Tensor)
    }
    return replace(held, **tensors)  # pyright: ignore[reportArgumentType]


def _moved(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy on a device. What layers share stays shared, and nothing is held here twice."""
    copies: dict[int, Any] = {}
    for one in model.parameters():
        copies[id(one)] = nn.Parameter(one.detach().to(device), one.requires_grad)
    for one in model.buffers():
        copies[id(one)] = one.to(device)
    return copy.deepcopy(model, copies)


def _mixed(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The same layers under the same names, run with lower precision where that is safe."""
    made = copy.copy(model)
    made.forward = _Autocast(MethodType(type(made).forward, made), dtype)
    return made


@dataclass
class _Autocast:
    """A forward pass in mixed precision; copied with its model, it is the copy's."""

    forward: Callable[[Tensor], Tensor]
    dtype: torch.dtype

    def __call__(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.dtype):
            return self.forward(x)
