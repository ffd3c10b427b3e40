"""Trainings that are repeated, what the networks get right, and how sure one is of the means."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor, nn

from unmask import admission
from unmask.bootstrap import CONFIDENCE
from unmask.internals import plain
from unmask.score import correct

Train = Callable[[Tensor, Tensor, torch.Generator], nn.Module]
"""Makes a trained network of data, their labels and a source of chance."""

_HELD_OUT = 0.3
"""The share of the rows that a network is tested on."""


def admit_training(
    data: Float[Tensor, "batch *input"], labels: Int[Tensor, " labels"], repeats: int
) -> None:
    """Refuse what cannot be learned from, and too few trainings to say how sure a mean is.

    Args:
        data: the inputs.
        labels: their classes.
        repeats: trainings.
    """
    admission.differentiable(data)
    admission.tensor("The labels", labels)
    if labels.is_floating_point() or labels.shape != data.shape[:1]:
        raise ValueError(
            f"There are {len(data)} inputs, but labels are {labels.dtype} of shape "
            f"{tuple(labels.shape)}. Give one class per input, as whole numbers from 0."
        )
    if int(labels.min()) < 0 or int(labels.max()) < 1 or len(data) < 4:
        raise ValueError(
            f"{len(data)} inputs with classes from {int(labels.min())} to {int(labels.max())} "
            "teach nothing. Give at least 4 inputs of 2 classes, counted from 0."
        )
    if repeats < 2:
        raise ValueError(
            f"{repeats} trainings do not tell how much chance there is in a gain. "
            "Give repeats of at least 2, better 3 or more."
        )


def parted(
    count: int, generator: torch.Generator
) -> tuple[Int[Tensor, " train"], Int[Tensor, " test"]]:
    """Which rows to learn from and which to test on, at random.

    Args:
        count: of the rows.
        generator: source of the order.
    """
    order = torch.randperm(count, generator=generator, device=generator.device).cpu()
    held_out = max(1, round(_HELD_OUT * count))
    return order[held_out:], order[:held_out]


def seed_from(generator: torch.Generator) -> int:
    """A seed, so that several trainings can begin alike."""
    return int(torch.randint(2**31, (1,), generator=generator, device=generator.device))


def retrained(
    train: Train, data: Float[Tensor, "batch *input"], labels: Int[Tensor, " batch"], seed: int
) -> nn.Module:
    """A network trained on copies of data, whatever mode the caller is in.

    What its layers and dropout draw from torch's global generator is seeded too, and put back.

    Args:
        train: makes it.
        data: what it learns from.
        labels: their classes.
        seed: of its chance.
    """
    own = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # layers draw their first weights from it
        model = train(plain(data).clone(), plain(labels).clone(), own)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"train returned a {type(model).__name__}. Give a function of data, labels and a "
            "generator that returns a trained nn.Module."
        )
    admission.settled(model)
    return model


@torch.no_grad()
def answered_right(
    model: nn.Module,
    x: Float[Tensor, "batch *input"],
    labels: Int[Tensor, " batch"],
    batch_size: int | None = None,
) -> Bool[Tensor, " batch"]:
    """Which inputs a network names as their labels do.

    Args:
        model: the network.
        x: the inputs.
        labels: their classes.
        batch_size: inputs in one call of the network.
    """
    score = correct(model, labels)
    rows = torch.arange(len(x), device=x.device).split(batch_size or len(x))
    return torch.cat([score(x[some], some) for some in rows]) > 0


def accuracy(model: nn.Module, x: Tensor, labels: Tensor, batch_size: int | None = None) -> float:
    """The share of inputs that a network names as their labels do."""
    return float(answered_right(model, x, labels, batch_size).double().mean())


def over_repeats(
    found: Sequence[Mapping[str, float]],
    confidence: float = CONFIDENCE,
    shares: Collection[str] = (),
) -> dict[str, float]:
    r"""The mean of each number over the trainings, and its interval after Student.

    $$
    \bar g \pm t_{n-1} \frac{s}{\sqrt n}
    $$

    With three trainings or five, resampling them would look far surer than one can be.

    Args:
        found: the same numbers of each training.
        confidence: how often such an interval holds the mean of all trainings.
        shares: names of numbers that lie between 0 and 1, and their intervals too.
    """
    together: dict[str, float] = {}
    for name in found[0]:
        values = torch.tensor([one[name] for one in found], dtype=torch.float64)
        half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std())
        mean, half = float(values.mean()), half / len(values) ** 0.5
        low, high = mean - half, mean + half
        if name in shares:
            low, high = max(low, 0.0), min(high, 1.0)
        together |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return together
