import math
import os

import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import Game, features, log_odds, logit, predicted
from unmask.evaluation import (
    GaussianNoise,
    RandomSquare,
    infidelity,
    on_trial,
    removal_infidelity,
)
from unmask.methods.saliency import gradient, shapley_values
from unmask.planted import linear_network
from unmask.results import Attribution
from unmask.zoo import breast_cancer, digits

WEIGHTS = torch.tensor([4.0, 3.0, 2.0, 1.0]).double()
LINEAR = logit(linear_network(WEIGHTS), 0)
ADD = Game(lambda own: own.double() @ WEIGHTS, tuple("abcd"))
X = torch.ones(2, 4).double()
with_data = pytest.mark.skipif("UNMASK_DATA" not in os.environ, reason="needs UNMASK_DATA")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_slope_of_a_weighted_sum_is_right_however_it_is_moved():
    told = Attribution(WEIGHTS.expand(2, 4))
    for moved in (None, GaussianNoise(3.0), lambda x, _: x * x):
        found = infidelity(LINEAR, X, attribution=told, perturbation=moved)
        assert found.values.tolist() == pytest.approx([0, 0], abs=1e-24)
    assert not found.higher_is_better
    assert found.evaluations == 2 * 101


def test_a_wrong_slope_costs_the_variance_of_what_it_multiplies():
    """a = w + e_1 is off by I_1, whose square is 1 in the mean; 20,000 draws know it to 1 %."""
    told = Attribution(WEIGHTS.expand(2, 4) + torch.eye(4)[0])
    found = infidelity(LINEAR, X, attribution=told, perturbation=GaussianNoise(1.0), samples=20000)
    assert found.values.tolist() == pytest.approx([1, 1], rel=0.03)


def test_the_best_scale_is_found():
    """I.a = 2d, so that beta is a half; of a = w + e_1 what is left is less than without."""
    double = Attribution(2 * WEIGHTS.expand(2, 4))
    assert infidelity(LINEAR, X, attribution=double, perturbation=GaussianNoise(1.0)).mean > 1
    found = infidelity(
        LINEAR, X, attribution=double, perturbation=GaussianNoise(1.0), normalized=True
    )
    assert found.mean == pytest.approx(0, abs=1e-24)
    nothing = Attribution(torch.zeros(2, 4).double())
    args = {"perturbation": GaussianNoise(1.0), "samples": 20000}
    left = infidelity(LINEAR, X, attribution=nothing, normalized=True, **args)
    assert left.mean == pytest.approx(float(WEIGHTS.square().sum()), rel=0.05)


def test_agrees_with_loops():
    score = logit(relu_network([4, 8, 3], 0, dtype=torch.float64), 1)
    x = torch.randn(3, 4, generator=seeded(1), dtype=torch.float64)
    values = torch.randn(3, 4, generator=seeded(2), dtype=torch.float64)
    draws = torch.randn(6, 4, generator=seeded(3), dtype=torch.float64)
    for normalized in (False, True):
        given = iter(draws)
        found = infidelity(
            score,
            x,
            attribution=Attribution(values),
            perturbation=lambda x, _, given=given: next(given).expand_as(x),
            samples=6,
            normalized=normalized,
            batch_size=5,
        ).values
        for row, told, value in zip(x, values, found.tolist(), strict=True):
            said = [float(sum(i * a for i, a in zip(one, told, strict=True))) for one in draws]
            with torch.no_grad():
                fell = [float(score(row[None]) - score((row - one)[None])) for one in draws]
            beta = 1.0
            if normalized:
                beta = sum(s * d for s, d in zip(said, fell, strict=True)) / sum(
                    s * s for s in said
                )
            errors = [(beta * s - d) ** 2 for s, d in zip(said, fell, strict=True)]
            assert value == pytest.approx(sum(errors) / 6, abs=1e-12)


def test_noise_is_a_fifth_of_the_range_unless_told():
    x = torch.stack([torch.linspace(0, 1, 1000), torch.linspace(-5, 5, 1000)])
    drawn = GaussianNoise()(x, seeded())
    # 1,000 draws know a standard deviation to 2 %; three of these.
    assert drawn.std(1).tolist() == pytest.approx([0.2, 2.0], rel=0.07)
    assert torch.allclose(drawn[1], 10 * drawn[0], rtol=1e-5)
    assert torch.equal(*GaussianNoise(0.5)(x, seeded()))


def test_squares_are_taken_out_and_reach_all_corners():
    x = 1 + torch.rand(2, 3, 5, 6, generator=seeded())
    corners, generator = set(), seeded(1)
    for _ in range(300):
        taken = RandomSquare(2, baseline=0.5)(x, generator)
        where = taken[0, 0].nonzero()
        assert len(where) == 4
        top, left = where[0].tolist()
        corners.add((top, left))
        square = (..., slice(top, top + 2), slice(left, left + 2))
        assert torch.equal((x - taken)[square], torch.full((2, 3, 2, 2), 0.5))
        assert int((taken != 0).sum()) == 2 * 3 * 4
    assert corners == {(i, j) for i in range(4) for j in range(5)}


def test_what_is_taken_off_is_what_the_model_feels():
    """In half precision 1000 - 0.1 is 1000, so that nothing was taken and nothing is missing."""
    x = torch.full((1, 4), 1000.0, dtype=torch.bfloat16)
    score = logit(linear_network(WEIGHTS.bfloat16()), 0)
    told = Attribution(torch.full((1, 4), 100.0))
    found = infidelity(score, x, attribution=told, perturbation=GaussianNoise(0.01))
    assert found.values.tolist() == [0]


def test_removal_of_an_additive_score():
    told = Attribution(WEIGHTS[None])
    assert removal_infidelity(ADD, told).mean == pytest.approx(0, abs=1e-24)
    off = Attribution(WEIGHTS[None] + torch.tensor([1.0, 0, 0, 0]))
    assert removal_infidelity(ADD, off).mean == pytest.approx(0.5)  # off by 1 on half of the sets


def test_removal_of_a_product():
    """Drops are 0, 6, 6, 6 and said to be 0, 3, 3, 6: the mean of 0, 9, 9, 0."""
    product = Game(lambda own: 6.0 * own.all(1).double(), ("a", "b"))
    found = removal_infidelity(product, shapley_values(product))
    assert found.mean == pytest.approx(4.5)
    assert found.evaluations == 5
    assert not found.higher_is_better


def test_removal_by_samples_comes_near_to_removal_of_all():
    score = logit(relu_network([10, 8, 3], 0, dtype=torch.float64), 1)
    x = torch.randn(2, 10, generator=seeded(1), dtype=torch.float64)
    trial = on_trial(score, x, features(10), torch.zeros(10).double())
    told = Attribution(torch.randn(2, 10, generator=seeded(2), dtype=torch.float64))
    exact = removal_infidelity(trial, told, samples=1024).values
    drawn = removal_infidelity(trial, told, samples=1023, generator=seeded(4)).values
    assert not torch.equal(exact, drawn)
    assert drawn.tolist() == pytest.approx(exact.tolist(), rel=0.15)


def test_broken_calls_are_refused():
    told = Attribution(WEIGHTS.expand(2, 4))
    with pytest.raises(ValueError, match="Give samples=1 at least"):
        infidelity(LINEAR, X, attribution=told, samples=0)
    with pytest.raises(ValueError, match="Give samples=1 at least"):
        removal_infidelity(ADD, Attribution(WEIGHTS[None]), samples=0)
    with pytest.raises(ValueError, match="Give a value per position"):
        infidelity(LINEAR, X, attribution=Attribution(WEIGHTS[None]))
    with pytest.raises(ValueError, match="must be finite"):
        infidelity(LINEAR, X, attribution=Attribution(told.values * math.nan))
    with pytest.raises(ValueError, match="Return what is to be taken off each"):
        infidelity(LINEAR, X, attribution=told, perturbation=lambda x, _: x[0])
    with pytest.raises(ValueError, match="does not fit inputs"):
        infidelity(LINEAR, X, attribution=told, perturbation=RandomSquare(2))
    with pytest.raises(ValueError, match="side that fits"):
        RandomSquare(7)(torch.zeros(1, 1, 6, 9), seeded())


def test_an_exception_inside_the_model_comes_through():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        infidelity(logit(Broken(), 0), X, attribution=Attribution(WEIGHTS.expand(2, 4)))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("exhibit", [breast_cancer, digits])
def test_on_networks_the_slope_beats_noise(exhibit):
    shown = exhibit()
    x = torch.stack(shown.inputs[:5])
    score = log_odds(shown.model, predicted(shown.model, x))
    slope = gradient(score, x)
    chance = torch.randn(x.shape, generator=seeded(7))
    chance *= slope.values.norm() / chance.norm()
    args = {"perturbation": GaussianNoise(0.05)}
    one = infidelity(score, x, attribution=slope, **args).values
    other = infidelity(score, x, attribution=Attribution(chance), **args).values
    assert (one < other).all()


@with_data
@pytest.mark.oracle
@pytest.mark.parametrize("normalized", [False, True])
def test_captum_agrees_on_lenet(normalized):
    captum = pytest.importorskip("captum.metrics")
    from unmask.zoo import mnist

    shown = mnist()
    x = torch.stack(shown.inputs[:64])
    score = logit(shown.model, predicted(shown.model, x))
    told = gradient(score, x)
    noise = 0.1 * torch.randn(10, 1, 28, 28, generator=seeded())
    given = iter(noise)
    ours = infidelity(
        score,
        x,
        attribution=told,
        perturbation=lambda x, _: next(given).expand_as(x),
        samples=10,
        normalized=normalized,
    )

    def moved(inputs):
        # captum repeats each input as often as there are draws.
        taken = noise.repeat(len(inputs) // 10, 1, 1, 1)
        return taken, inputs - taken

    classes = predicted(shown.model, x)
    theirs = captum.infidelity(
        shown.model,
        moved,
        x,
        told.values,
        target=classes,
        n_perturb_samples=10,
        normalize=normalized,
    )
    # captum sums squares in float32 and takes their difference when it normalizes.
    assert torch.allclose(ours.values.float(), theirs, rtol=1e-4, atol=1e-5)
