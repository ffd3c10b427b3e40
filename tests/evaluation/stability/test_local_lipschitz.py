import os
from copy import deepcopy

import pytest
import torch
from torch import nn

from quantus_alone import quantus
from strategies import relu_network
from unmask import Attribution, log_odds, logit, predicted, zoo
from unmask.evaluation import local_lipschitz
from unmask.methods.saliency import gradient, input_x_gradient

SELF = logit(lambda x: x, 0)


def draws(samples, shape, radius, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(samples, *shape, generator=generator) - 1) * radius


def batch(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()


def test_of_the_input_itself_it_is_one():
    rating = local_lipschitz(SELF, batch(3, 4), explain=lambda score, x: Attribution(x), samples=9)
    assert torch.allclose(rating.values, torch.ones(3).double(), atol=1e-12)
    assert torch.allclose(rating.curve, torch.ones(3, 9).double(), atol=1e-12)
    assert not rating.higher_is_better


def test_of_a_gradient_it_comes_up_to_the_norm_of_the_hessian():
    root = batch(3, 3, seed=5)
    hessian = root @ root.T
    norm = float(torch.linalg.matrix_norm(hessian, 2))
    score = logit(lambda x: ((x @ hessian) * x).sum(1) / 2, 0)
    x = batch(2, 3)
    asked = {"explain": gradient, "same_class": False}
    drawn = local_lipschitz(score, x, samples=200, **asked)
    assert (drawn.values <= norm * (1 + 1e-9)).all()
    assert (drawn.values > 0.9 * norm).all()  # of 200 directions in three dimensions
    climbed = local_lipschitz(score, x, samples=20, steps=200, **asked)
    assert (climbed.values <= norm * (1 + 1e-9)).all()
    assert (climbed.values > 0.9999 * norm).all()


def test_the_gradient_of_a_linear_model_does_not_move():
    network = nn.Linear(5, 3).double()
    rating = local_lipschitz(logit(network, 1), batch(4, 5), explain=gradient, samples=5)
    assert rating.values.tolist() == [0] * 4


@pytest.mark.parametrize("batch_size", [None, 7])
def test_it_is_what_a_loop_finds(batch_size):
    network = relu_network([4, 8, 3], seed=2, kink=nn.Tanh, dtype=torch.float64)
    x = batch(5, 4) * 0.3
    score = log_odds(network, predicted(network, x))
    expected = []
    for i in range(len(x)):
        one = score.at(torch.tensor([i]))
        here = input_x_gradient(one, x[i : i + 1]).values[0]
        most = 0.0
        for step in draws(9, (4,), 0.5).double():
            point = x[i : i + 1] + step
            if network(point).argmax() == network(x[i : i + 1]).argmax():
                moved = input_x_gradient(one, point).values[0] - here
                most = max(most, float((moved**2).sum() / (step**2).sum()) ** 0.5)
        expected.append(most)
    rating = local_lipschitz(
        score, x, explain=input_x_gradient, radius=0.5, samples=9, batch_size=batch_size
    )
    assert rating.values.tolist() == pytest.approx(expected, rel=1e-9)


def test_a_step_that_rounding_swallows_has_no_speed():
    x = torch.tensor([[2.0**20]])  # whose neighbours lie an eighth apart
    rating = local_lipschitz(
        SELF, x, explain=lambda score, x: Attribution(x), radius=0.01, samples=5
    )
    assert rating.undefined == 1


def test_broken_questions_are_refused():
    def explain(score, x):
        return Attribution(x)

    for options, message in (({"radius": -1.0}, "radius is -1"), ({"samples": 0}, "`samples`")):
        with pytest.raises(ValueError, match=message):
            local_lipschitz(SELF, torch.ones(1, 2), explain=explain, **options)
    with pytest.raises(TypeError, match=r"Only real numbers|Type-check"):
        local_lipschitz(SELF, torch.ones(1, 2).long(), explain=explain)


@pytest.mark.oracle
def test_quantus_agrees():
    package = quantus()
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    found = zoo.mnist()
    x = torch.stack(found.inputs[:64])
    target = predicted(found.model, x)
    noise = iter(draws(10, x.shape[1:], 0.1))

    def perturb(arr, indices, **_):
        return arr + next(noise).flatten().numpy()

    def explain(model, inputs, targets, **_):
        given = torch.as_tensor(inputs)
        return gradient(logit(model, torch.as_tensor(targets)), given).values.numpy()

    theirs = package.LocalLipschitzEstimate(
        nr_samples=10, perturb_func=perturb, abs=False, normalise=False, disable_warnings=True,
        norm_numerator=package.distance_euclidean, return_nan_when_prediction_changes=True,
    )(
        model=found.model, x_batch=x.numpy(), y_batch=target.numpy(), explain_func=explain
    )  # fmt: skip
    score = logit(found.model, target)
    ours = local_lipschitz(score, x, explain=gradient, samples=10)
    assert torch.allclose(ours.values, torch.tensor(theirs).float(), rtol=1e-5)


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_within_a_linear_region_of_a_real_network_it_is_read_off_the_gradient(name):
    """There gradient times input moves by the gradient times the step, and no faster."""
    found = getattr(zoo, name)()
    model = deepcopy(found.model).double()
    x = torch.stack(found.inputs[:8]).double()
    # Off the kinks on which pixels that are zero lie.
    x = x + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1)).double()
    score = logit(model, predicted(model, x))
    slopes = gradient(score, x).values.flatten(1)
    steps = draws(20, x.shape[1:], 1e-9).double().flatten(1)
    expected = ((slopes[:, None] * steps).norm(dim=2) / steps.norm(dim=1)).amax(1)
    rating = local_lipschitz(score, x, explain=input_x_gradient, radius=1e-9, samples=20)
    assert torch.allclose(rating.values, expected, rtol=1e-5)  # of numbers that are 1e-9 apart
