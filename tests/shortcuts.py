"""Small networks to be led to a shortcut, and what explains them, for tests."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from unmask.methods.saliency import integrated_gradients
from unmask.planted import linear_network
from unmask.results import Attribution
from unmask.zoo.lenet import SmallLeNet
from unmask.zoo.training import Recipe, trained

CORNER = torch.zeros(1, 8, 8, dtype=torch.bool)
CORNER[:, 5:, 5:] = True
COLUMN = torch.tensor([True, False, False, False])


def digits():
    table = load_digits()
    return (torch.tensor(table.images)[:, None] / 16).float(), torch.tensor(table.target)


def convolutional(data, labels, generator):
    """A small LeNet."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    recipe = Recipe(epochs=6, batch_size=64, rate=4e-3, decay=0.01, seed=seed)
    return trained(SmallLeNet, data, labels, recipe)


def linear(data, labels, generator):
    """The regression of two classes on the columns: no chance, and one answer."""
    wide = torch.cat([data, torch.ones(len(data), 1)], 1).double()
    weights = torch.linalg.lstsq(wide, 2.0 * labels.double() - 1).solution
    return linear_network(weights[:-1].to(data.dtype), float(weights[-1]))


def rows(count=90):
    """Four columns of which the second tells the class."""
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 1] + 0.1 * x[:, 3] > 0).long()


def by_weights(score, x):
    return Attribution(x * score.model[0].weight[0])


def by_integral(score, x):
    return integrated_gradients(score, x, baseline=torch.zeros_like(x[0]), steps=8)


def leave_one_out(score, x):
    left = [score(x * (1 - one)) for one in torch.eye(x.shape[1])]
    return Attribution(score(x)[:, None] - torch.stack(left, 1))


def of_inputs(score, x):
    """Looks at no network."""
    return Attribution(x.abs())


class Largest(nn.Module):
    """A network that remembers how many inputs it was given at once."""

    def __init__(self, model):
        super().__init__()
        self.model, self.seen = model, []

    def forward(self, x):
        self.seen.append(len(x))
        return self.model(x)
