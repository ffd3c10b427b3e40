"""Data in which a loud column tells the class, and may lie."""

import torch
from torch import nn

from unmask.zoo.training import fresh


def decoys(rows, seed, sign=1):
    """Two of four columns tell the class; the first says it three times as loud, and may lie."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (rows,), generator=generator)
    x = 0.5 * torch.randn(rows, 4, generator=generator)
    x[:, 0] = 3 * (x[:, 0] + sign * (2 * labels - 1))
    x[:, 1] += 2 * labels - 1
    return x, labels


def perceptron(columns=4, hidden=32, classes=2):
    return fresh(
        lambda: nn.Sequential(nn.Linear(columns, hidden), nn.ReLU(), nn.Linear(hidden, classes)), 0
    )


def accuracy(model, x, labels):
    with torch.no_grad():
        return float((model(x).argmax(1) == labels).double().mean())
