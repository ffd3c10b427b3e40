"""Small networks, known weights and known explanations for tests of randomisation."""

from dataclasses import replace
from itertools import pairwise

import torch
from torch import nn

from unmask import logit
from unmask.methods.saliency import gradient


def seed(number=0):
    return torch.Generator().manual_seed(number)


def mlp(*widths, number=0, bend=nn.Tanh):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        made = [nn.Linear(a, b) for a, b in pairwise(widths)]
    parts = [part for linear in made for part in (linear, bend())]
    return nn.Sequential(*parts[:-1]).eval()


def ones(layer, generator):
    """Draws what needs no chance."""
    with torch.no_grad():
        for weight in layer.parameters(recurse=False):
            weight.copy_(torch.cos(2 * torch.arange(weight.numel())).view_as(weight))


def slope(model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x[None])[0, 1], x)[0].numpy()


def count(score, x):
    return replace(gradient(score, x), evaluations=len(x))


def explain_for_it(model, inputs, targets, **_):
    score = logit(model, torch.as_tensor(targets))
    return gradient(score, torch.as_tensor(inputs)).values.numpy()


def as_quantus(layer, generator):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(43)
        layer.reset_parameters()
