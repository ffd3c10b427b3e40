"""The trainings that the plates about interactions look at, each under several seeds."""

import os
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.bootstrap import interval, resampled
from unmask.interactions import Snapshot
from unmask.interactions.terms.orders import mean_order, order_shares
from unmask.interactions.terms.stacked import stacked
from unmask.zoo import courses
from unmask.zoo.courses import Course, watched

SEEDS = (0, 1, 2)
"""What holds for one training may be chance; a claim is checked on three."""

DRAWS = 1000


def small(quick: bool) -> bool:
    """Whether to do with the data that come with scikit-learn."""
    return quick or not os.environ.get("UNMASK_DATA")


def course(quick: bool) -> Course:
    """The training that is looked at most closely: of handwritten digits."""
    return courses.digits() if small(quick) else courses.mnist()


def all_courses(quick: bool) -> tuple[Course, ...]:
    """Trainings of several kinds of network and data."""
    if small(quick):
        return courses.digits(), courses.breast_cancer()
    return (
        courses.mnist(),
        courses.cifar10(),
        courses.adult(),
        courses.sst2(),
        courses.pointclouds(),
    )


def clean_history(taken: Course, seed: int) -> tuple[Snapshot, ...]:
    """A training as its rightly labelled samples show it; losses are of right labels too.

    Args:
        taken: the course.
        seed: of the training.
    """
    return _history(taken, seed, taken.watched_clean, ~taken.flipped)


def mistaught_history(taken: Course, seed: int) -> tuple[Snapshot, ...]:
    """The same training as its wrongly labelled samples show it.

    Args:
        taken: the course.
        seed: of the training.
    """
    return _history(taken, seed, taken.watched_mistaught, taken.flipped)


def _history(
    taken: Course, seed: int, samples: slice, labels: Bool[Tensor, " batch"]
) -> tuple[Snapshot, ...]:
    return tuple(
        replace(snapshot, terms=snapshot.terms[samples], train_losses=losses(snapshot)[labels])
        for snapshot in watched(taken, seed)
    )


def mean_orders(history: Sequence[Snapshot]) -> Float[Tensor, "checkpoints inputs"]:
    """The mean order of every sample's terms, at every checkpoint."""
    return torch.stack([mean_order(order_shares(stacked(one.terms))) for one in history])


def gaps(history: Sequence[Snapshot]) -> Float[Tensor, " checkpoints"]:
    """The mean loss on test data minus that on training data, at every checkpoint."""
    return torch.stack([losses(one, test=True).mean() - losses(one).mean() for one in history])


def losses(snapshot: Snapshot, *, test: bool = False) -> Float[Tensor, " inputs"]:
    """The losses of a checkpoint, which these trainings always take.

    Args:
        snapshot: the checkpoint.
        test: whether on test data.
    """
    found = snapshot.test_losses if test else snapshot.train_losses
    assert found is not None
    return found


def steps(history: Sequence[Snapshot]) -> Float[Tensor, " checkpoints"]:
    """The steps of the checkpoints."""
    return torch.tensor([float(one.step) for one in history])


def mean_with_bounds(values: Float[Tensor, " inputs"], seed: int = 0) -> tuple[float, float, float]:
    """A mean over inputs, and between what it lies in 19 of 20 resamplings of these.

    Args:
        values: of the inputs.
        seed: of the resamplings.
    """
    values = values.double()
    draws = resampled(len(values), DRAWS, torch.Generator().manual_seed(seed)) @ values
    low, high = interval(values.mean(), draws, 0.95)
    return float(values.mean()), float(low), float(high)


def setting(taken: Course) -> str:
    """What is trained on what, in two sentences."""
    network, data = _ABOUT[taken.name]
    players = len(taken.samples[0].players.names)
    told = taken.settings
    by = "Adam" if told.momentum is None else f"gradient descent with momentum {told.momentum:g}"
    return (
        f"{network} learns {len(taken.labels):,} {data}, {int(taken.flipped.sum())} of them under "
        f"wrong names, by {told.steps:,} steps of {by}. The log-odds of what is taught are "
        f"explained by sparsest AND-OR terms of {players} players."
    )


_ABOUT = {
    "digits": ("A small network of LeNet's kind", "handwritten digits of 8 x 8 pixels"),
    "breast_cancer": ("A perceptron with three hidden layers", "rows about tumours"),
    "mnist": ("LeNet", "handwritten digits of 28 x 28 pixels"),
    "cifar10": ("VGG-11 at a quarter of its width", "photos of 32 x 32 pixels"),
    "adult": ("A perceptron with four hidden layers", "rows of the US census"),
    "sst2": ("A transformer of two layers", "sentences from film reviews"),
    "pointclouds": ("DGCNN", "clouds of points from laser scans"),
}
