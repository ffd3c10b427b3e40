"""Histories of training whose mean orders are known, and noise as it is there."""

import math

import torch

from unmask.interactions import Snapshot
from unmask.results import Interactions

PLAYERS = 10
MEMBERS = torch.ones(2, PLAYERS, dtype=torch.bool).index_put_(
    (torch.tensor([0]),), torch.arange(PLAYERS) == 0
)


def log_steps(count, last=5000, first=2):
    """Steps from 0 on that are evenly spaced in their logarithm."""
    between = torch.linspace(math.log1p(first), math.log1p(last), count - 1).expm1().round()
    return [0, *map(int, between.tolist())]


def history(steps, orders, train=None, test=None, scale=1.0):
    """Snapshots whose inputs have given mean orders: an AND of one player, and one of all.

    `orders` has a row per input and a column per step.
    """
    names = tuple(f"player {i}" for i in range(PLAYERS))
    found = []
    for k, step in enumerate(steps):
        high = (orders[:, k] - 1) / (PLAYERS - 1)
        terms = tuple(
            Interactions(
                MEMBERS,
                torch.zeros(2, dtype=torch.bool),
                scale * torch.stack([1 - share, -share]).double(),
                0.5,
                names,
            )
            for share in high
        )
        losses = [None if side is None else side[:, k] for side in (train, test)]
        found.append(Snapshot(step, terms, *losses))
    return found


def sample_noise(inputs, count, memory, size, generator):
    """What each input is off by: it keeps its own level, and remembers a share of what it was."""
    fresh = torch.randn(inputs, count, generator=generator, dtype=torch.float64)
    noise = fresh.clone()
    for t in range(1, count):
        noise[:, t] = memory * noise[:, t - 1] + math.sqrt(1 - memory**2) * fresh[:, t]
    level = torch.randn(inputs, 1, generator=generator, dtype=torch.float64)
    return 0.5 * level + size * noise


def common_noise(inputs, count, size, generator):
    """What all inputs are off by, with a little noise of their own."""
    shared = size * torch.randn(1, count, generator=generator, dtype=torch.float64)
    return shared + sample_noise(inputs, count, 0.95, 0.2, generator)
