"""Training inside a method: the same weights every time, and global randomness left alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def descend(
    network: nn.Module,
    cost: Callable[[Int[Tensor, " rows"]], Float[Tensor, ""]],
    *,
    inputs: int,
    steps: int,
    minibatch: int | None,
    rate: float,
    generator: torch.Generator,
) -> None:
    """Train a network in place, by Adam, until its steps are done.

    What a network draws while it learns, as dropout does, comes from torch's global generators.
    They are seeded here from the given one and put back as they were.

    Args:
        network: whose parameters learn, those that want a gradient.
        cost: of some rows of the data, with its graph.
        inputs: how many rows there are.
        steps: of Adam.
        minibatch: rows per step, drawn without repetition until all have had their turn; None
            for all at every step.
        rate: the learning rate.
        generator: source of the order of the rows and of what the network draws.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            f"The {type(network).__name__} has no parameter that wants a gradient, so nothing can "
            "learn. Call requires_grad_() on the layers that may."
        )
    if steps < 1 or (minibatch is not None and minibatch < 1) or not rate > 0:
        raise ValueError(
            f"A training of {steps} steps on {minibatch or 'all'} rows at a rate of {rate} leads "
            "nowhere. Give at least 1 step and 1 row, and a rate above 0."
        )
    device = parameters[0].device
    with torch.inference_mode(False), torch.enable_grad(), seeded(generator, device):
        # Nothing is fused and no step counter lives on a GPU, so that every step is the same sum.
        optimiser = torch.optim.Adam(parameters, lr=rate, foreach=True)
        order = _minibatches(inputs, minibatch or inputs, generator, device)
        for _ in range(steps):
            optimiser.zero_grad()
            loss = cost(next(order))
            if not loss.isfinite():
                raise ValueError(
                    f"The training cost became {float(loss.detach())}. Give a lower rate than "
                    f"{rate}, or inputs of a smaller scale."
                )
            loss.backward()
            optimiser.step()
    for parameter in network.parameters():
        parameter.grad = None


@contextmanager
def seeded(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators from this one while the context lasts, then put them back."""
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def _minibatches(
    inputs: int, size: int, generator: torch.Generator, device: torch.device
) -> Iterator[Int[Tensor, " rows"]]:
    """The rows of each step, without end."""
    while True:
        if size >= inputs:
            yield torch.arange(inputs, device=device)
            continue
        order = torch.randperm(inputs, generator=generator, device=generator.device).to(device)
        # What is left of a pass is too few rows for a step like the others.
        yield from order[: inputs // size * size].split(size)
