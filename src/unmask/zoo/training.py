"""Training that gives the same weights every time and leaves global randomness alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: AdamW, with a rate that falls to zero along a half cosine.

    Args:
        epochs: passes over the data.
        batch_size: inputs per step.
        rate: the learning rate at the start.
        decay: weight decay.
        smoothing: of the labels.
        seed: of the weights, of the order of the data and of the changes made to it.
        words: how the words of texts are treated, if the inputs are texts.
        numbers: whether the labels are numbers to come near to, and not classes.
    """

    epochs: int
    batch_size: int = 64
    rate: float = 1e-3
    decay: float = 0.0
    smoothing: float = 0.0
    seed: int = 0
    words: "Words | None" = None
    numbers: bool = False


@dataclass(frozen=True)
class Words:
    """Texts of different lengths, some of whose words are hidden while a network learns.

    So the network has met texts with gaps before it is asked to explain one.

    Args:
        padding: the id that fills up short texts.
        mask: the id that stands for a hidden word.
        hidden: each text hides a share of its words between zero and this.
    """

    padding: int
    mask: int
    hidden: float

    def __call__(
        self, ids: Int[Tensor, "batch tokens"], generator: torch.Generator
    ) -> Int[Tensor, "batch shorter"]:
        ids = ids[:, : int(self.lengths(ids).max())]
        share = self.hidden * torch.rand(len(ids), 1, generator=generator)
        hidden = torch.rand(ids.shape, generator=generator) < share
        return torch.where(hidden & (ids != self.padding), self.mask, ids)

    def lengths(self, ids: Int[Tensor, "batch tokens"]) -> Int[Tensor, " batch"]:
        """How many words each text has."""
        return (ids != self.padding).sum(1)


def trained(
    make: Callable[[], nn.Module],
    inputs: Shaped[Tensor, "batch *input"],
    labels: Shaped[Tensor, " batch"],
    recipe: Recipe,
) -> nn.Module:
    """Make a network and train it to name the labels.

    Dropout draws from torch's global generator. It is seeded here and put back as it was, so
    that the outcome does not depend on it, nor later draws on this.

    Args:
        make: makes the network.
        inputs: what it learns from.
        labels: the classes of the inputs.
        recipe: how it is trained.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    lengths = recipe.words.lengths(inputs) if recipe.words else None
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        model = fresh(make, recipe.seed).train()
        torch.default_generator.manual_seed(recipe.seed)
        optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        steps = recipe.epochs * -(-len(inputs) // recipe.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(recipe.epochs):
            for rows in _order(len(inputs), recipe.batch_size, generator, lengths):
                batch = inputs[rows]
                if recipe.words:
                    batch = recipe.words(batch, generator)
                loss = _loss(model(batch), labels[rows], recipe)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    model.zero_grad()
    return model.eval()


def _loss(output: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    if recipe.numbers:
        return functional.mse_loss(output[:, 0], labels)
    return functional.cross_entropy(output, labels, label_smoothing=recipe.smoothing)


def fresh(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network before training, in evaluation mode.

    The layers of torch draw their weights from the global generator: seed it, and put it back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make().eval()


def _order(
    count: int, size: int, generator: torch.Generator, lengths: Tensor | None
) -> Iterator[Int[Tensor, " rows"]]:
    """The rows of each batch of one pass, at random; where lengths are given, like with like."""
    order = torch.randperm(count, generator=generator)
    if lengths is None:
        yield from order.split(size)
        return
    batches: list[Tensor] = []
    for part in order.split(50 * size):
        batches += part[lengths[part].argsort(stable=True)].split(size)
    for i in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[i]
