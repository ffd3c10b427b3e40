"""Explainers whose worth is known, and a network on which to compare them."""

import torch
from torch import nn

from unmask import features, logit
from unmask.planted import linear_network
from unmask.results import Attribution
from unmask.run.compare import compare

WEIGHTS = torch.tensor([4.0, -3.0, 2.0, 1.0, 0.5])
INPUTS = 14


def network():
    """A line whose weights can be drawn anew, and so can be forgotten."""
    model = linear_network(WEIGHTS)
    assert any(isinstance(module, nn.Linear) for module in model.modules())
    return model


def line(inputs=INPUTS):
    x = torch.randn(inputs, 5, generator=torch.Generator().manual_seed(2))
    return logit(network(), 0), x


def truth(score, x):
    """What every part adds to a linear score, whatever its weights."""
    point = x.clone().requires_grad_()
    with torch.enable_grad():
        return Attribution(torch.autograd.grad(score(point).sum(), point)[0] * x)


def backwards(score, x):
    return Attribution(-truth(score, x).values)


def blind(score, x):
    return Attribution(x.abs())


def shy(score, x):
    """Refuses a batch with an input whose first number is negative."""
    if (x[:, 0] < 0).any():
        raise RuntimeError("negative")
    return truth(score, x)


PLANTED = {"truth": truth, "backwards": backwards, "blind": blind}


def run(methods=PLANTED, inputs=INPUTS, **options):
    score, x = line(inputs)
    given = {"baseline": torch.zeros(5), "players": features(5), "methods": methods} | options
    return compare(score, x, **given)


def told(found, name):
    """What is said of a method, sentence by sentence."""
    return tuple(remark.text for remark in found.verdicts[name])
