"""A small network that is trained under the eyes of a monitor."""

import random

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from unmask import features
from unmask.run import InteractionMonitor
from unmask.zoo.training import fresh

GENERATOR = torch.Generator().manual_seed(0)
DATA = torch.randn(64, 4, generator=GENERATOR)
LABELS = (DATA[:, 0] * DATA[:, 1] > 0).long()
PLAYERS = features(4)


class Restless(nn.Module):
    """Batch normalisation and dropout; counts its calls, and draws in any mode."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3)),
            *(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)),
        )
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2))

    def forward(self, x):
        self.calls += 1
        torch.rand(3), np.random.rand(), random.random()
        output = self.body(x)
        self.last = output.detach().mean(0)
        return output


def make(seed=0):
    return fresh(Restless, seed).train()


def watch(model, *, say=lambda _: None, **options):
    options = {"schedule": (0, 2, 5, 9)} | options
    return InteractionMonitor(
        model, DATA[:5], LABELS[:5], PLAYERS, torch.zeros(4), say=say, **options
    )


def train(model, monitor=None, steps=12, finish=True):
    """Steps of a training that draws: dropout, and the order of the data."""
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    if monitor is not None:
        monitor.step(0)
    for step in range(1, steps + 1):
        rows = torch.randint(64, (16,))
        optimiser.zero_grad()
        functional.cross_entropy(model(DATA[rows]), LABELS[rows]).backward()
        optimiser.step()
        if monitor is not None:
            monitor.step(step)
    if monitor is not None and finish:
        monitor.finish()
    return model
