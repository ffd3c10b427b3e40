from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from exhibits import exhibit
from quantus_alone import quantus
from randomized import as_quantus, count, explain_for_it, mlp, ones, seed, slope
from unmask import logit, predicted
from unmask.evaluation import efficient_mprt
from unmask.evaluation.randomization.efficient_mprt import entropy
from unmask.methods.saliency import gradient
from unmask.results import Attribution


@pytest.mark.parametrize("bins", [2, 7, 100])
def test_the_entropy_is_that_of_numpys_histogram(bins):
    values = torch.randn(5, 3, 40, generator=seed(), dtype=torch.float64)
    expected = [scipy_entropy(np.histogram(one.numpy(), bins=bins)[0]) for one in values]
    assert entropy(values, bins).tolist() == pytest.approx(expected, abs=1e-12)


def test_entropies_that_are_known():
    assert entropy(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), 4).tolist() == pytest.approx([np.log(4)])
    assert entropy(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 9).tolist() == pytest.approx([np.log(2)])
    assert entropy(torch.full((1, 4), 0.3), 9).tolist() == [0]


def test_a_slow_twin():
    model, x = mlp(30, 5, 3), torch.randn(4, 30, generator=seed())
    found = efficient_mprt(logit(model, 1), x, explain=gradient, draw=ones, repeats=2, bins=10)
    other = deepcopy(model)
    for layer in (0, 2):
        ones(other[layer], None)
    for i in range(4):
        before, after = (
            scipy_entropy(np.histogram(slope(one, x[i]).astype(float), bins=10)[0])
            for one in (model, other)
        )
        assert float(found.values[i]) == pytest.approx((after - before) / before, abs=1e-9)
    assert found.higher_is_better
    assert found.curve.shape == (4, 2)


def test_what_ignores_the_model_does_not_rise():
    score, x = logit(mlp(6, 3, 2), 0), torch.randn(3, 6, generator=seed())
    found = efficient_mprt(score, x, explain=lambda _, x: Attribution(x.abs()))
    assert found.values.tolist() == pytest.approx([0, 0, 0], abs=1e-12)


def test_no_entropy_no_rise():
    score, x = logit(mlp(6, 3, 2), 0), torch.randn(3, 6, generator=seed())
    flat = efficient_mprt(score, x, explain=lambda _, x: Attribution(torch.ones_like(x)))
    assert flat.undefined == 3


def test_it_costs_one_explanation_and_one_for_each_random_model():
    score, x = logit(mlp(6, 3, 2), 0), torch.randn(3, 6, generator=seed())
    assert efficient_mprt(score, x, explain=count, repeats=4).evaluations == 3 * 5


def test_what_cannot_be_is_refused():
    model, x = mlp(6, 3, 2), torch.randn(3, 6, generator=seed())
    for options in ({"repeats": 0}, {"bins": 1}):
        with pytest.raises(ValueError, match="Give one model and two bins"):
            efficient_mprt(logit(model, 0), x, explain=gradient, **options)
    with pytest.raises(TypeError, match="needs the layers"):
        efficient_mprt(logit(lambda x: model(x), 0), x, explain=gradient)


def test_on_real_digits():
    """Of 64 numbers the histogram hardly knows a trained network from a random one."""
    shown = exhibit("digits")
    x = torch.stack(shown.inputs[:32])
    score = logit(shown.model, predicted(shown.model, x))
    found = efficient_mprt(score, x, explain=gradient, bins=20)
    assert found.undefined == 0
    low, high = found.interval(generator=seed())
    assert low < 0 < high
    assert abs(found.mean) < 0.05


@pytest.mark.oracle
def test_quantus_agrees():
    package = quantus()
    shown = exhibit("mnist")
    x = torch.stack(shown.inputs[:64])
    classes = predicted(shown.model, x)
    theirs = package.EfficientMPRT(
        seed=42, abs=False, normalise=False, disable_warnings=True, layer_order="bottom_up",
        complexity_func_kwargs={"n_bins": 100},
    )(
        model=shown.model, x_batch=x.numpy(), y_batch=classes.numpy(), explain_func=explain_for_it
    )  # fmt: skip
    ours = efficient_mprt(
        logit(shown.model, classes), x, explain=gradient, draw=as_quantus, repeats=1
    )
    assert torch.allclose(ours.values, torch.tensor(theirs).double(), atol=1e-5)
