"""Curves of removal, written out with plain loops, and the trials to try them on."""

import torch

from strategies import relu_network
from unmask import Players, features, logit
from unmask.evaluation import on_trial
from unmask.planted import linear_network
from unmask.results import Attribution

SAID = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]))
"""The true contributions of the four features of `sum_of_four`."""
REVERSED = Attribution(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
FLAT = Attribution(torch.ones(1, 4))
GROUPED = Players(torch.tensor([2, 0, -1, 1, 0, 3, 1]), ("a", "b", "c", "d"))
"""Seven columns, of which one is never hidden and two players own two."""


def sum_of_four(bias=0.0):
    """4 a + 3 b + 2 c + d at ones, removed to zero."""
    network = linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0]), bias)
    return on_trial(logit(network, 0), torch.ones(1, 4), features(4), torch.zeros(4))


def grouped_case(seed, inputs=3):
    """A network of seven columns with a class per input: score, inputs, attribution, baseline."""
    generator = torch.Generator().manual_seed(seed)
    x, said = torch.randn(2, inputs, 7, generator=generator, dtype=torch.float64)
    baseline = torch.randn(7, generator=generator, dtype=torch.float64)
    target = torch.randint(3, (inputs,), generator=generator)
    return logit(relu_network([7, 9, 3], seed), target), x, said, baseline


def slow_totals(said, players, mean=False):
    """What is said of each player of one input: the sum over its positions, or the mean."""
    parts = [[] for _ in players.names]
    for value, owner in zip(said.flatten().tolist(), players.owner.flatten().tolist(), strict=True):
        if owner >= 0:
            parts[owner].append(value)
    return [sum(part) / (len(part) if mean else 1) for part in parts]


def slow_scores(score, x, which, players, baseline, gone):
    """The score of one input with these players removed: one set after another."""
    found = []
    for players_gone in gone:
        row = x[which].clone().flatten()
        for place, owner in enumerate(players.owner.flatten().tolist()):
            if owner in players_gone:
                row[place] = baseline.flatten()[place]
        one = torch.tensor([which])
        with torch.no_grad():
            found.append(float(score(row.view(x[which].shape)[None], rows=one)))
    return found


def in_order(totals, ascending=False):
    """The players, the most relevant first; of equals the first one."""
    return sorted(range(len(totals)), key=lambda i: (totals[i] if ascending else -totals[i], i))
