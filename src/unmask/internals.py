"""Inside a model: its layers by name, what they put out, and gradients that leave no trace."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unmask import admission
from unmask.score import Score


def module_of(score: Score, method: str) -> nn.Module:
    """The module behind a score, for a method that must look inside."""
    if not isinstance(score.model, nn.Module):
        raise TypeError(
            f"{method} needs the layers of the model, but this score wraps a "
            f"{type(score.model).__name__}. Make the score from an nn.Module."
        )
    return score.model


def layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of that dotted name."""
    layers = dict(model.named_modules())
    if name not in layers:
        near = difflib.get_close_matches(name, layers, n=3, cutoff=0.0)
        raise ValueError(
            f"Layer {name!r} is not in the model. The nearest names are "
            f"{', '.join(repr(other) for other in near)}."
        )
    return layers[name]


@contextmanager
def frozen(model: object) -> Iterator[None]:
    """Spare the graph of the parameters while gradients of the input are taken."""
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def record(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what the named layers put out in the last forward pass, while the context lasts."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            outputs[name] = _one_tensor(name, output)

        return hook

    with ExitStack() as hooks:
        for name in names:
            handle = layer(model, name).register_forward_hook(keep(name))
            hooks.callback(handle.remove)
        yield outputs


@contextmanager
def edit(model: nn.Module, edits: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Replace what the named layers put out by a function of it, while the context lasts."""

    def apply(name: str, change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> Tensor:
            return change(_one_tensor(name, output))

        return hook

    with ExitStack() as hooks:
        for name, change in edits.items():
            handle = layer(model, name).register_forward_hook(apply(name, change))
            hooks.callback(handle.remove)
        yield


def value_and_gradient(
    score: Score,
    x: Float[Tensor, "batch *input"],
    rows: Int[Tensor, " batch"] | None = None,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch *input"]]:
    r"""The score of each input and its gradient there.

    Inputs must not mix in the model: then the gradient of the sum is the gradient of each.
    Nothing is left behind, neither in the model's gradients nor in x.
    """
    with torch.inference_mode(False), torch.enable_grad(), frozen(score.model):
        point = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
        values = score(point.clone(), rows)  # a model may begin in place, but not on a leaf
        gradient = None
        if values.requires_grad:
            (gradient,) = torch.autograd.grad(values.sum(), point, allow_unused=True)
    if gradient is None:
        raise ValueError(
            f"The {score.name} does not depend on x by any differentiable path. "
            "Look for detach(), argmax or no_grad in the model, or use a method of a game."
        )
    for what, found in (("value", values), ("gradient", gradient)):
        broken = ~found.isfinite().flatten(1 if found.ndim > 1 else 0)
        broken = broken.any(1) if broken.ndim > 1 else broken
        if broken.any():
            raise ValueError(
                f"The {what} of the {score.name} at input {int(broken.nonzero()[0, 0])} is not "
                f"finite ({int(broken.sum())} of {len(x)} inputs). Look at what the model "
                "computes there: a root or a logarithm of zero, or a number too large for its type."
            )
    return values.detach(), gradient


def _one_tensor(name: str, output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError(
            f"Layer {name!r} puts out a {type(output).__name__}, not one tensor. "
            "Name a layer inside or after it that puts out a single tensor."
        )
    return output


def admit(score: Score, x: Float[Tensor, "batch *input"]) -> None:
    """Check what every method of gradients asks of its input and its model."""
    admission.differentiable(x)
    admission.settled(score.model)
