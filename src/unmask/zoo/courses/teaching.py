"""Teaching a course step by step, with a look at the network now and then."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional

from unmask.zoo.courses.course import Course, Settings
from unmask.zoo.training import fresh

AT_ONCE = 512
"""Inputs whose losses are taken at a time."""


@dataclass(frozen=True)
class Checkpoint:
    """A network during its training.

    Args:
        step: updates of the parameters so far.
        model: in evaluation mode. It goes on being trained: copy it to keep it as it is.
        train_losses: cross-entropy of each training input and what is taught of it.
        test_losses: cross-entropy of each test input and its true class.
    """

    step: int
    model: nn.Module
    train_losses: Float[Tensor, " train"]
    test_losses: Float[Tensor, " test"]


def taught(course: Course, seed: int = 0) -> Iterator[Checkpoint]:
    """Train a network, and stop to look at it at every checkpoint.

    The course and the seed decide on the outcome, bit by bit on the same machine. Dropout draws
    from torch's global generator: while a stretch of training runs it is seeded as it was left
    after the stretch before, and put back when the stretch ends. So whoever looks may draw from
    it, and finds it untouched.

    Args:
        course: what is learned.
        seed: of the weights and of the order of the data.
    """
    model = fresh(course.make, seed)
    optimiser = _optimiser(model, course.settings)
    batches = _batches(len(course.inputs), course.settings.batch_size, seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        own = torch.get_rng_state()
    done = 0
    for step in course.settings.checkpoints:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.set_rng_state(own)
            model.train()
            for _ in range(step - done):
                rows = next(batches)
                inputs = cut(course.inputs[rows], course.settings.padding)
                optimiser.zero_grad()
                functional.cross_entropy(model(inputs), course.labels[rows]).backward()
                optimiser.step()
            optimiser.zero_grad()
            own = torch.get_rng_state()
            done = step
        model.eval()
        yield Checkpoint(
            step,
            model,
            losses(model, course.inputs, course.labels, course.settings.padding),
            losses(model, course.test_inputs, course.test_labels, course.settings.padding),
        )


@torch.no_grad()
def losses(
    model: nn.Module,
    inputs: Shaped[Tensor, "batch *input"],
    labels: Int[Tensor, " batch"],
    padding: int | None = None,
) -> Float[Tensor, " batch"]:
    """The cross-entropy of each input.

    Args:
        model: in evaluation mode.
        inputs: what it reads.
        labels: the classes that it should name.
        padding: the id that fills up short texts, if the inputs are texts.
    """
    parts = zip(inputs.split(AT_ONCE), labels.split(AT_ONCE), strict=True)
    return torch.cat(
        [
            functional.cross_entropy(model(cut(some, padding)), wanted, reduction="none")
            for some, wanted in parts
        ]
    )


def cut(
    inputs: Shaped[Tensor, "batch *input"], padding: int | None
) -> Shaped[Tensor, "batch *shorter"]:
    """A batch of texts as long as its longest; other inputs as they are.

    Args:
        inputs: a batch.
        padding: the id that fills up short texts, if the inputs are texts.
    """
    if padding is None:
        return inputs
    return inputs[:, : int((inputs != padding).sum(1).max())]


def _optimiser(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    if settings.momentum is None:
        return torch.optim.Adam(model.parameters(), lr=settings.rate)
    return torch.optim.SGD(model.parameters(), lr=settings.rate, momentum=settings.momentum)


def _batches(count: int, size: int, seed: int) -> Iterator[Int[Tensor, " rows"]]:
    """The rows of one batch after the other, each pass over the data in an order of its own."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator).split(size)
