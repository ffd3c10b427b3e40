"""Copies of a model whose weights are drawn anew, layer by layer. It is not touched itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

Draw = Callable[[nn.Module, torch.Generator], None]
"""What draws the weights of one layer anew, in place: `as_new`, or `like_moments`."""

Order = Callable[[Sequence[str]], list[tuple[str, ...]]]
"""Names of layers, as they are first called -> those that are random, step by step; at last all."""

Parts = Mapping[str, tuple[str, ...]]
"""Layers in the order of their first call, and the modules whose weights each of them uses."""


def top_down(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The output layer, then also the one below it, and so on to the input.

    Args:
        names: of the layers.
    """
    return [tuple(names[i:]) for i in reversed(range(len(names)))]


def bottom_up(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The layer at the input, then also the one above it, and so on to the output.

    Args:
        names: of the layers.
    """
    return [tuple(names[: i + 1]) for i in range(len(names))]


def one_by_one(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Each layer alone, from the output to the input; at last, as in every order, all of them.

    Args:
        names: of the layers.
    """
    alone: list[tuple[str, ...]] = [(name,) for name in reversed(names)]
    return alone if len(names) == 1 else [*alone, tuple(names)]


def as_new(layer: nn.Module, generator: torch.Generator) -> None:
    """Draw a layer as torch does when it is made, statistics of batch normalisation included.

    Args:
        layer: with `reset_parameters`, as all of torch's have.
        generator: source of randomness.
    """
    again = _reset_of(layer)
    if again is None:
        raise ValueError(_unknown([type(layer).__name__]))
    # On the processor, whose generator can be seeded and put back; so every device draws alike.
    place = next((one.device for one in layer.parameters(recurse=False)), torch.device("cpu"))
    with seeded(generator):
        layer.to("cpu")
        again()
        layer.to(place)


def like_moments(layer: nn.Module, generator: torch.Generator) -> None:
    r"""Draw each weight of a layer from a normal law with the mean and the spread that they have.

    So the size of what the layers put out stays near that of the trained model. It works for any
    layer. Statistics of batch normalisation go back to mean 0 and variance 1, as with `as_new`.

    Args:
        layer: any.
        generator: source of randomness.
    """
    for weight in layer.parameters(recurse=False):
        if not weight.is_floating_point():
            continue
        wide = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
        drawn = torch.randn(
            wide.shape, dtype=wide.dtype, generator=generator, device=generator.device
        )
        weight.copy_(wide.mean() + wide.std(correction=0) * drawn.to(wide.device))
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.reset_running_stats()


def as_new_if_known(layer: nn.Module, generator: torch.Generator) -> None:
    """Draw a layer as torch does where it says how, and else like its moments.

    Args:
        layer: any.
        generator: source of randomness.
    """
    (like_moments if _reset_of(layer) is None else as_new)(layer, generator)


def layers(model: nn.Module, x: Shaped[Tensor, "batch *input"]) -> Parts:
    """The layers that have weights, in the order in which the model first calls them.

    Weights of a module that is never called (some are read by the module around them) belong to
    the nearest around it that is.

    Args:
        model: the model.
        x: the first of these inputs is run.
    """
    model = copied(model)
    modules = dict(model.named_modules())
    owners = [name for name, module in modules.items() if _can_be_drawn(module)]
    if not owners:
        raise ValueError(
            f"There are no weights to be drawn anew: the model, a {type(model).__name__}, holds no "
            "parameters. Give a model that has learnt something."
        )
    called: dict[str, list[str]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            called.setdefault(name, [])

        return hook

    for name, module in modules.items():
        module.register_forward_pre_hook(note(name))
    with torch.inference_mode(False), torch.no_grad():
        model(x[:1].clone())
    for owner in owners:
        around = owner
        while around not in called:
            around = around.rpartition(".")[0]
        called[around].append(owner)
    return {name: tuple(found) for name, found in called.items() if found}


@torch.inference_mode(False)
def copied(model: nn.Module) -> nn.Module:
    """A copy that shares no weights with the model.

    Args:
        model: the model.
    """
    try:
        return deepcopy(model)
    except (RuntimeError, TypeError) as wrong:
        raise ValueError(
            f"The model, a {type(model).__name__}, cannot be copied: {wrong}. Give one whose "
            "attributes are modules, parameters, buffers and plain values."
        ) from wrong


@torch.inference_mode(False)
def redrawn(model: nn.Module, parts: Parts, draw: Draw, generator: torch.Generator) -> nn.Module:
    """A copy of a model with all weights drawn anew. What layers share is drawn once.

    Args:
        model: the model.
        parts: its layers.
        draw: draws one layer.
        generator: source of randomness.
    """
    other = copied(model)
    modules = dict(other.named_modules())
    owners = [owner for found in parts.values() for owner in found]
    if draw is as_new:
        unknown = [owner for owner in owners if _reset_of(modules[owner]) is None]
        if unknown:
            raise ValueError(_unknown(unknown))
    done: set[int] = set()
    with torch.no_grad():
        for owner in owners:
            own = list(modules[owner].parameters(recurse=False))
            shared = [(weight, weight.clone()) for weight in own if id(weight) in done]
            draw(modules[owner], generator)
            for weight, first in shared:
                weight.copy_(first)
            done |= {id(weight) for weight in own}
    return other


def walk(
    model: nn.Module, other: nn.Module, parts: Parts, steps: Sequence[Sequence[str]]
) -> Iterator[nn.Module]:
    """The model with some layers of the other: of one step, then of the next. It is one copy.

    Args:
        model: the model.
        other: a copy of it with other weights.
        parts: its layers.
        steps: the layers that are the other's.
    """
    walker = copied(model)
    for step in steps:
        _put(model, walker, parts, parts)
        _put(other, walker, parts, step)
        yield walker


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Let torch's global generator give what this one says, and put it back afterwards.

    Args:
        generator: source of randomness.
    """
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@torch.inference_mode(False)
@torch.no_grad()
def _put(source: nn.Module, target: nn.Module, parts: Parts, chosen: Sequence[str] | Parts) -> None:
    theirs, ours = dict(source.named_modules()), dict(target.named_modules())
    for name in chosen:
        for owner in parts[name]:
            for of in (nn.Module.named_parameters, nn.Module.named_buffers):
                found = dict(of(theirs[owner], recurse=False))
                for key, value in of(ours[owner], recurse=False):
                    value.copy_(found[key])


def _can_be_drawn(module: nn.Module) -> bool:
    """Whether a module has weights of its own, or statistics of what it has seen."""
    learnt = any(True for _ in module.parameters(recurse=False))
    return learnt or getattr(module, "running_mean", None) is not None


def _reset_of(module: nn.Module) -> Callable[[], object] | None:
    for name in ("reset_parameters", "_reset_parameters"):  # attention spells it the second way
        found = getattr(module, name, None)
        if callable(found):
            return found
    return None


def _unknown(names: Sequence[str]) -> str:
    return (
        f"Nobody knows how these layers are drawn: {', '.join(map(repr, names))} have no "
        "reset_parameters. Give draw=like_moments, or a function that draws them."
    )
