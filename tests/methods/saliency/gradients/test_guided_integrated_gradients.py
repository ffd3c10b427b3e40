import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import log_odds, logit, predicted, zoo
from unmask.methods.saliency import guided_integrated_gradients, integrated_gradients


def batch(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()


def slow(score, x, baseline, steps, together):
    """One input; parts move in groups, the flattest first, as far as the step goes."""
    place, whole = baseline.clone(), float((x - baseline).abs().sum())
    values = torch.zeros_like(x)

    def slope(point):
        point = point[None].clone().requires_grad_()
        return torch.autograd.grad(score(point).sum(), point)[0][0]

    before = slope(place)
    for step in range(steps):
        left = float((x - place).abs().sum()) - whole * (1 - (step + 1) / steps)
        open_ = [i for i in range(len(x)) if place[i] != x[i]]
        open_.sort(key=lambda i, slopes=before: float(slopes[i].abs()))
        there = place.clone()
        while left > 1e-13 and open_:
            group, open_ = open_[:together], open_[together:]
            length = float((x - place)[group].abs().sum())
            share = min(1.0, left / length)
            there[group] = place[group] + share * (x - place)[group]
            left -= share * length
        after = slope(there)
        move = there - place
        change = float((score(there[None]) - score(place[None])).detach())
        apart = float(move @ (after - before))
        weight = 0.5 if apart == 0 else (change - float(move @ before)) / apart
        weight = min(1.0, max(0.0, weight))
        values += move * ((1 - weight) * before + weight * after)
        place, before = there, after
    return values


@pytest.mark.parametrize("fraction", [0.1, 0.4, 1.0])
def test_the_slow_twin_agrees(fraction):
    model, x, baseline = relu_network([10, 16, 3], 0), batch(3, 10), batch(1, 10, 1)[0]
    model = nn.Sequential(model, nn.Tanh())
    score = log_odds(model, torch.tensor([2, 0, 1]))
    found = guided_integrated_gradients(score, x, baseline=baseline, steps=12, fraction=fraction)
    for i, target in enumerate((2, 0, 1)):
        alone = slow(log_odds(model, target), x[i], baseline, 12, round(10 * fraction))
        assert torch.allclose(found.values[i], alone, atol=1e-9)
    assert found.evaluations == 3 * 13


def test_all_parts_at_once_go_the_straight_way():
    model, x = nn.Sequential(relu_network([6, 16, 3], 0), nn.Tanh()), batch(2, 6)
    score, zero = logit(model, 1), torch.zeros(6).double()
    found = guided_integrated_gradients(score, x, baseline=zero, steps=2000, fraction=1.0)
    exact = integrated_gradients(score, x, baseline=zero, steps=2000)
    assert torch.allclose(found.values, exact.values, atol=1e-4)


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (lambda x: 2 * x[:, 0] - 3 * x[:, 1] + 0.5 * x[:, 2] + 1, (1, 2, 4), (2, -6, 2)),
        # While x2 is zero, x1 does not matter, and it goes first.
        (lambda x: x[:, 0] * x[:, 1] + x[:, 1], (2, 3), (0, 9)),
        (lambda x: 1 - torch.relu(1 - x[:, 0]), (2,), (1,)),
    ],
)
def test_known_functions(function, x, expected):
    x = torch.tensor([x]).double()
    zero = torch.zeros(x.shape[1]).double()
    found = guided_integrated_gradients(logit(function, 0), x, baseline=zero, steps=1000)
    assert found.values.tolist() == [pytest.approx(expected, abs=0.01)]


def test_the_gap_closes_with_more_steps():
    model, x = relu_network([10, 32, 3], 0), batch(4, 10)
    score, zero = logit(model, 0), torch.zeros(10).double()
    change = (score(x) - score(zero.expand_as(x))).detach()
    gaps = []
    for steps in (10, 100, 1000):
        found = guided_integrated_gradients(score, x, baseline=zero, steps=steps)
        assert torch.allclose(found.gap, change - found.values.sum(1), atol=1e-10)
        gaps.append(float(found.gap.abs().sum()))
    assert gaps[2] < gaps[1] < gaps[0]
    assert gaps[2] < 0.01 * change.abs().sum()


@pytest.mark.parametrize("batch_size", [1, 2])
def test_batches_change_nothing(batch_size):
    model, x = relu_network([6, 16, 3], 0), batch(5, 6)
    score = log_odds(model, torch.tensor([2, 0, 1, 1, 0]))
    whole = guided_integrated_gradients(score, x, baseline=torch.zeros(6), steps=9)
    parts = guided_integrated_gradients(
        score, x, baseline=torch.zeros(6), steps=9, batch_size=batch_size
    )
    assert torch.allclose(parts.values, whole.values, atol=1e-12)


def test_what_is_equal_to_the_baseline_or_unused_gets_nothing():
    x = torch.tensor([[1.0, 5.0, 2.0]]).double()
    score = logit(lambda x: x[:, 0] ** 2 + x[:, 1] * x[:, 0], 0)
    found = guided_integrated_gradients(score, x, baseline=torch.tensor([0.0, 5.0, 0.0]))
    assert found.values[0, 1:].tolist() == [0, 0]
    same = guided_integrated_gradients(score, x, baseline=x[0])
    assert same.values.tolist() == [[0, 0, 0]]


def test_bad_wishes_are_refused():
    score, x = logit(lambda x: x.sum(1), 0), torch.ones(2, 2)
    for options, words in (
        ({"steps": 0}, "0 steps"),
        ({"fraction": 0.0}, "fraction of 0.0"),
        ({"fraction": 1.5}, "fraction of 1.5"),
        ({"batch_size": 0}, "batch of 0"),
    ):
        with pytest.raises(ValueError, match=words):
            guided_integrated_gradients(score, x, baseline=torch.zeros(2), **options)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_of_real_networks(name):
    exhibit = getattr(zoo, name)()
    x, baseline = torch.stack(exhibit.inputs[:3]), exhibit.baseline(0)
    score = log_odds(exhibit.model, predicted(exhibit.model, x))
    found = guided_integrated_gradients(score, x, baseline=baseline, steps=400)
    change = (score(x) - score(baseline.expand_as(x))).detach()
    assert (found.gap.abs() < 0.05 * change.abs()).all()
