"""Small networks of graphs, called with features, edges and a weight per edge."""

import itertools

import torch
from torch import nn


def summed(x, edges, weights):
    return torch.zeros_like(x).index_add(0, edges[1], weights[:, None] * x[edges[0]])


class Sums(nn.Module):
    """Every node adds up what its neighbours send."""

    def __init__(self, sizes, kink=torch.tanh):
        super().__init__()
        pairs = list(itertools.pairwise(sizes))
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.other = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)
        self.kink = kink

    def forward(self, x, edges, weights):
        for own, other in zip(self.own, self.other, strict=True):
            x = own(self.kink(x)) + other(summed(self.kink(x), edges, weights))
        return x


class Means(nn.Module):
    """A graph convolutional network whose degrees do not depend on the weights."""

    def __init__(self, sizes):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes[:-1]))
        self.head = nn.Linear(sum(sizes[1:-1]), sizes[-1])

    def forward(self, x, edges, weights):
        degree = torch.ones(len(x)).to(x).index_add(0, edges[1], torch.ones_like(weights))
        scale = degree.rsqrt()
        states = []
        for layer in self.layers:
            sent = weights * scale[edges[0]] * scale[edges[1]]
            x = torch.relu(layer(x / degree[:, None] + summed(x, edges, sent)))
            states.append(x)
        return self.head(torch.cat(states, 1))


def seeded(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().double().eval()


def random_graph(nodes=12, edges=30, width=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randint(nodes, (2, edges), generator=generator)
    return torch.randn(nodes, width, generator=generator).double(), pairs
