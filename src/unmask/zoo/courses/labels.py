"""Labels that are flipped on purpose, and samples of all classes in turn."""

from collections.abc import Sequence
from itertools import zip_longest

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def flipped(
    labels: Int[Tensor, " batch"], share: float, classes: int, seed: int = 0
) -> tuple[Int[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """Give a share of the inputs, drawn at random, one of the other classes.

    Args:
        labels: the true classes.
        share: how many of them are flipped.
        classes: how many there are.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    taught = labels.clone()
    shift = torch.randint(1, classes, (len(chosen),), generator=generator)
    taught[chosen] = (labels[chosen] + shift) % classes
    return taught, taught != labels


def in_turn(
    places: Sequence[int] | Int[Tensor, " places"], labels: Int[Tensor, " batch"], count: int
) -> list[int]:
    """The first of these inputs such that the classes take turns, as long as they last.

    Args:
        places: of the inputs to choose from, in the order in which they are taken.
        labels: of all inputs.
        count: how many to choose.
    """
    groups: dict[int, list[int]] = {}
    for place in (int(place) for place in places):
        groups.setdefault(int(labels[place]), []).append(place)
    rounds = zip_longest(*(groups[label] for label in sorted(groups)))
    return [place for some in rounds for place in some if place is not None][:count]
