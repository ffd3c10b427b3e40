"""Data whose labels are a sum of concepts: products of some of the inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.game import LARGEST_TABLE
from unmask.lattice import coalitions


@dataclass(frozen=True)
class PlantedConcepts:
    r"""Inputs of plus and minus ones, with labels that are a sum of products.

    $$
    y = \sum_T c_T \prod_{i \in T} x_i + \mathrm{noise}
    $$

    Over all 2^n inputs the products have mean 0 and variance 1 and are uncorrelated, so none is
    easier than another for a model that is given them. With zeros in place of hidden inputs, each
    concept is one AND term of effect $c_T \prod_{i \in T} x_i$.

    Args:
        inputs: x.
        labels: y.
        members: T, one row per concept.
        effects: c.
    """

    inputs: Float[Tensor, "batch players"]
    labels: Float[Tensor, " batch"]
    members: Bool[Tensor, "concepts players"]
    effects: Float[Tensor, " concepts"]

    def products(self, x: Float[Tensor, "batch players"]) -> Float[Tensor, "batch concepts"]:
        """The concepts of each input."""
        return torch.where(self.members, x[:, None], 1).prod(-1)

    @torch.no_grad()
    def learned(
        self, model: Callable[[Tensor], Float[Tensor, "batch *outputs"]]
    ) -> Float[Tensor, " concepts"]:
        r"""Which share of each concept a model has learned: 0 for none of it, 1 for all.

        $$
        2^{-n} \sum_x f(x) \prod_{i \in T} x_i \; / \; c_T
        $$

        over all 2^n inputs, also those that it was not trained on.

        Args:
            model: f, one number per input.
        """
        corners = 2 * coalitions(self.members.shape[1]).to(self.inputs) - 1
        outputs = model(corners).view(len(corners))
        return outputs.to(self.effects) @ self.products(corners) / len(corners) / self.effects


def planted_concepts(
    players: int,
    concepts: Sequence[Sequence[int]],
    samples: int,
    generator: torch.Generator,
    *,
    effects: Sequence[float] | None = None,
    noise: float = 0.0,
) -> PlantedConcepts:
    """Data to learn from, of different inputs drawn at random from all of plus and minus ones.

    Args:
        players: inputs of the model.
        concepts: the inputs that each concept is the product of.
        samples: how many of the 2^n inputs.
        generator: source of randomness.
        effects: of each concept; without them, 1.
        noise: standard deviation of what is added to the labels.

    >>> data = planted_concepts(4, one_of_each(2), 5, torch.Generator().manual_seed(0))
    >>> data.members.int().tolist()
    [[1, 0, 0, 0], [0, 1, 1, 0]]
    >>> data.learned(lambda x: x[:, 0] + 0.5 * x[:, 1] * x[:, 2]).tolist()
    [1.0, 0.5]
    """
    members = torch.zeros(len(concepts), players, dtype=torch.bool)
    for row, concept in enumerate(concepts):
        outside = [i for i in concept if not 0 <= i < players]
        if outside or not concept or len(set(concept)) < len(concept):
            raise ValueError(
                f"The concept {tuple(concept)} is no set of inputs: there are {players}. "
                f"Name each input once, from 0 to {players - 1}."
            )
        members[row, list(concept)] = True
    if not 1 <= players <= LARGEST_TABLE or not 1 <= samples <= 2**players:
        raise ValueError(
            f"{samples} different inputs of {players} signs cannot be drawn. Give up to "
            f"{LARGEST_TABLE} players, and from 1 to 2^players samples."
        )
    given = [1.0] * len(concepts) if effects is None else [float(one) for one in effects]
    if len(given) != len(concepts) or 0 in given:
        raise ValueError(
            f"There are {len(concepts)} concepts, but their effects are {given}. "
            "Give one number per concept, none of them 0."
        )
    chosen = torch.randperm(2**players, generator=generator)[:samples]
    inputs = 2.0 * coalitions(players)[chosen] - 1
    whole = PlantedConcepts(inputs, inputs[:, 0], members, torch.tensor(given))
    labels = whole.products(inputs) @ whole.effects
    labels = labels + noise * torch.randn(samples, generator=generator)
    return PlantedConcepts(inputs, labels, members, whole.effects)


def one_of_each(largest: int) -> tuple[tuple[int, ...], ...]:
    """A concept of one input, one of the next two, and so on, none with an input in common.

    Args:
        largest: inputs of the last of them.

    >>> one_of_each(3)
    ((0,), (1, 2), (3, 4, 5))
    """
    ends = [order * (order + 1) // 2 for order in range(largest + 1)]
    return tuple(tuple(range(first, last)) for first, last in pairwise(ends))
