"""Games and terms for the tests of AND-OR logic, and what terms mean, by plain loops."""

import itertools

import torch
from torch import Tensor, nn

from unmask import Interactions


def subsets(n: int) -> list[frozenset[int]]:
    return [frozenset(i for i in range(n) if place >> i & 1) for place in range(2**n)]


def network_table(n: int, seed: int = 0) -> Tensor:
    """A small untrained network on masked ones: dense in interactions of every order."""
    generator = torch.Generator().manual_seed(seed)
    layers = [torch.randn(a, b, generator=generator).double() for a, b in ((n, 24), (24, 24))]
    last = torch.randn(24, generator=generator).double()
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n))).double().flip(1)
    hidden = masks
    for layer in layers:
        hidden = nn.functional.relu(hidden @ layer - 0.5)
    return hidden @ last


def read(terms: Interactions) -> dict[tuple[frozenset[int], bool], float]:
    return {
        (frozenset(i for i, there in enumerate(members) if there), is_or): effect
        for members, is_or, effect in zip(
            terms.members.tolist(), terms.is_or.tolist(), terms.effects.tolist(), strict=True
        )
    }


def rebuilt(terms: Interactions) -> Tensor:
    """The values of the terms on all coalitions, term by term."""
    own = read(terms)
    return torch.tensor(
        [
            terms.empty + sum(e for (s, is_or), e in own.items() if (s & t if is_or else s <= t))
            for t in subsets(len(terms.names))
        ],
        dtype=torch.float64,
    )


def l1(terms: Interactions) -> float:
    return float(terms.effects.abs().sum())


def terms_table(terms: Interactions) -> Tensor:
    n = len(terms.names)
    masks = torch.tensor(list(itertools.product([False, True], repeat=n))).flip(1)
    return terms(masks)
