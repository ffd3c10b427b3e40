"""Integrated gradients to a wanted precision: what the standard errors promise."""

import math

import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import log_odds, logit, predicted, zoo
from unmask.methods.saliency import integrated_gradients
from unmask.methods.saliency.gradients.adaptive_line import KEPT

ZERO = torch.zeros(16).double()


def batch(rows, seed=0):
    return torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)).double()


def fine(score, x, baseline, nodes=4096):
    """The definition by a midpoint sum, all points at once."""
    total = torch.zeros_like(x)
    for k in range(nodes):
        point = (baseline + (k + 0.5) / nodes * (x - baseline)).clone().requires_grad_()
        total += torch.autograd.grad(score(point).sum(), point)[0] / nodes
    return (x - baseline) * total


def ratios(found, true):
    """The mean error of each input beside the one that its standard errors lead to expect."""
    off = (found.values - true).abs().sum(1)
    return off / (found.errors.sum(1) * math.sqrt(2 / math.pi))


@pytest.mark.parametrize("steps", [9, 25, 33, 65, 129])
def test_standard_errors_are_what_the_values_are_off_by(steps):
    score = logit(relu_network([16, 64, 64, 64, 3], 1), 0)
    x = batch(12)
    found = integrated_gradients(score, x, baseline=ZERO, error=1e-9, steps=steps)
    assert found.evaluations == 12 * steps
    ratio = ratios(found, fine(score, x, ZERO))
    # With a few dozen kinks per input the mean of a dozen inputs is no better known than this.
    assert 0.6 < float(ratio.mean()) < 1.6


@pytest.mark.parametrize("error", [0.1, 0.03, 0.01])
def test_a_wanted_error_is_met(error):
    score = logit(relu_network([16, 64, 64, 64, 3], 2), 0)
    x = batch(8, 3)
    found = integrated_gradients(score, x, baseline=ZERO, error=error)
    true = fine(score, x, ZERO)
    off = (found.values - true).abs().sum(1) / true.abs().sum(1)
    assert float(off.mean()) < 1.3 * error
    expected = math.sqrt(2 / math.pi) * found.errors.sum(1) / found.values.abs().sum(1)
    assert (expected <= error).all()


def test_values_sum_to_the_change_though_the_nodes_miss_much_of_it():
    score = logit(relu_network([16, 64, 64, 64, 3], 3), 0)
    x = batch(8, 4)
    found = integrated_gradients(score, x, baseline=ZERO, error=1e-9, steps=13)
    change = (score(x) - score(ZERO.expand_as(x))).detach()
    assert torch.allclose(found.values.sum(1), change, atol=1e-12)
    assert torch.allclose(found.gap, torch.zeros(8).double(), atol=1e-12)
    # What was shared out is no more than the values are off anyway.
    true = fine(score, x, ZERO)
    assert (found.values - true).abs().sum() < 1.5 * found.errors.sum()


def test_beyond_the_kept_gradients_all_intervals_are_halved():
    counts = []
    score = logit(relu_network([16, 64, 64, 64, 3], 1), 0)
    for steps in (KEPT, 2 * KEPT - 2, 2 * KEPT - 1, 4 * KEPT):
        found = integrated_gradients(score, batch(2), baseline=ZERO, error=1e-12, steps=steps)
        counts.append(found.evaluations // 2)
    assert counts == [KEPT, KEPT, 2 * KEPT - 1, 4 * KEPT - 3]


def test_halving_converges_on_the_integral():
    score = logit(nn.Sequential(relu_network([16, 64, 64, 3], 5), nn.Tanh()), 0)
    x = batch(4, 6)
    true = fine(score, x, ZERO, 8000)
    off = [
        integrated_gradients(score, x, baseline=ZERO, error=1e-12, steps=steps).values - true
        for steps in (33, 129, 513)
    ]
    sizes = [float(one.abs().sum()) for one in off]
    assert sizes[1] < sizes[0] / 2
    assert sizes[2] < sizes[1] / 2


def test_a_bump_between_the_nodes_is_found():
    """The slopes at the first nodes are all alike; only the change of the score tells."""
    bump = logit(lambda x: x[:, 0] + 3 * torch.exp(-(((x[:, 0] - 0.6) / 0.03) ** 2)), 0)
    step = logit(lambda x: x[:, 0] + torch.sigmoid(400 * (x[:, 0] - 0.6)) * x[:, 1], 0)
    x = torch.tensor([[1.0, 1.0]]).double()
    found = integrated_gradients(step, x, baseline=torch.tensor([0.0, 1.0]), error=0.01)
    assert found.evaluations > 9
    assert found.values[0].tolist() == pytest.approx([2, 0], abs=0.01)
    found = integrated_gradients(bump, x, baseline=torch.zeros(2), gap=0.01)
    assert abs(float(found.gap)) <= 0.01


def test_a_miss_that_no_weights_can_mend_stays_as_the_gap():
    spike = logit(lambda x: x[:, 0] + torch.sigmoid(4000 * (x[:, 0] - 0.6)), 0)
    found = integrated_gradients(
        spike, torch.ones(1, 1).double(), baseline=torch.zeros(1), gap=0.01, steps=5
    )
    assert float(found.gap) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_of_real_networks(name):
    exhibit = getattr(zoo, name)()
    x, baseline = torch.stack(exhibit.inputs[:10]), exhibit.baseline(0)
    score = log_odds(exhibit.model, predicted(exhibit.model, x))
    found = integrated_gradients(score, x, baseline=baseline, gap=0.01)
    exact = integrated_gradients(score, x, baseline=baseline, steps=600)
    change = (score(x) - score(baseline.expand_as(x))).detach()
    assert (found.gap.abs() <= 0.01 * change.abs()).all()
    assert found.evaluations <= 25 * len(x)  # half of what captum takes by default
    off = (found.values - exact.values).flatten(1).abs().sum(1)
    assert (
        float((off / exact.values.flatten(1).abs().sum(1)).mean()) < 0.03
    )  # where the network has too many kinks for 25 nodes
