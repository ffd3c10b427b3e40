import pytest
import torch
from hypothesis import given, settings

from strategies import networks, relu_network, tensors
from unmask import log_odds, logit, predicted, zoo
from unmask.methods.saliency import idgi


def batch(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()


def slow(score, x, baseline, steps):
    total = torch.zeros_like(x)
    for j in range(steps):
        here = (baseline + j / steps * (x - baseline)).clone().requires_grad_()
        there = baseline + (j + 1) / steps * (x - baseline)
        g = torch.autograd.grad(score(here).sum(), here)[0]
        size = (g**2).sum(1, keepdim=True)
        share = torch.where(size > 0, g**2 / size, 0)
        total += (score(there) - score(here)).detach()[:, None] * share
    return total


def test_a_plane():
    """w_i^2 / |w|^2 times the change of -2, whatever the input."""
    plane = logit(lambda x: 2 * x[:, 0] - 3 * x[:, 1] + 0.5 * x[:, 2] + 1, 0)
    x = torch.tensor([[1.0, 2.0, 4.0]]).double()
    found = idgi(plane, x, baseline=torch.zeros(3), steps=7)
    assert found.values.tolist() == [pytest.approx([-0.603774, -1.358491, -0.037736], abs=1e-6)]
    assert abs(found.gap.item()) < 1e-12


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("batch_size", [None, 1, 2, 5])
def test_the_slow_twin_agrees(steps, batch_size):
    model, x, baseline = relu_network([5, 16, 3], 0), batch(3, 5), batch(1, 5, 1)[0]
    score = log_odds(model, torch.tensor([2, 0, 1]))
    found = idgi(score, x, baseline=baseline, steps=steps, batch_size=batch_size)
    assert torch.allclose(found.values, slow(score, x, baseline, steps), atol=1e-12)
    assert found.evaluations == 3 * (steps + 1)


@settings(max_examples=15)
@given(networks(inputs=4), tensors(2, 4), tensors(4))
def test_values_sum_to_the_change_of_the_score(model, x, baseline):
    score = logit(lambda x: model(x).tanh() + 0.1 * x[:, :3].sum(1, keepdim=True), 1)
    found = idgi(score, x, baseline=baseline, steps=5)
    change = (score(x) - score(baseline.expand_as(x))).detach()
    assert torch.allclose(found.values.sum(1), change, atol=1e-10)
    assert found.gap.abs().max() < 1e-10


def test_what_flat_steps_change_is_the_gap():
    hinge = logit(lambda x: torch.relu(x[:, 0] - 0.25), 0)
    found = idgi(hinge, torch.ones(1, 2).double(), baseline=torch.zeros(2), steps=2)
    # The step from 0 to 1/2 begins where the gradient is zero, and changes the score by 1/4.
    assert found.values.tolist() == [pytest.approx([0.5, 0])]
    assert found.gap.item() == pytest.approx(0.25)


def test_tiny_gradients_do_not_vanish():
    tiny = logit(lambda x: 1e-30 * (3 * x[:, 0] + 4 * x[:, 1]), 0)
    found = idgi(tiny, torch.tensor([[5.0, 0.0]]), baseline=torch.zeros(2), steps=4)
    assert found.values[0].tolist() == pytest.approx([5.4e-30, 9.6e-30], rel=1e-4, abs=0)


def test_bad_wishes_are_refused():
    score, x = logit(lambda x: x.sum(1), 0), torch.ones(2, 2)
    with pytest.raises(ValueError, match="0 steps"):
        idgi(score, x, baseline=torch.zeros(2), steps=0)
    with pytest.raises(ValueError, match="batch of 0"):
        idgi(score, x, baseline=torch.zeros(2), batch_size=0)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        idgi(score, x, baseline=torch.zeros(3))


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_of_real_networks(name):
    exhibit = getattr(zoo, name)()
    x, baseline = torch.stack(exhibit.inputs[:3]), exhibit.baseline(0)
    score = log_odds(exhibit.model, predicted(exhibit.model, x))
    found = idgi(score, x, baseline=baseline)
    change = (score(x) - score(baseline.expand_as(x))).detach()
    assert torch.allclose(found.values.flatten(1).sum(1), change, rtol=1e-4)
