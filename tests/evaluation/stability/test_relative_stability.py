import os

import pytest
import torch
from torch import nn

from quantus_alone import quantus
from strategies import relu_network
from unmask import Attribution, Score, log_odds, logit, predicted, zoo
from unmask.evaluation import (
    relative_output_stability,
    relative_representation_stability,
    relative_stability,
)
from unmask.methods.saliency import gradient, input_x_gradient

SELF = logit(lambda x: x, 0)


def itself(score, x):
    return Attribution(x)


def draws(samples, shape, radius, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(samples, *shape, generator=generator) - 1) * radius


def batch(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()


def test_an_explanation_that_changes_as_the_input_does_has_one():
    rating = relative_stability(SELF, batch(3, 4), explain=itself, samples=9, same_class=False)
    assert torch.allclose(rating.curve, torch.ones(3, 9).double(), atol=1e-12)
    cube = relative_stability(
        SELF, torch.full((1, 2), 5.0).double(), samples=9, radius=1e-4,
        explain=lambda score, x: Attribution(x**3), same_class=False,
    )  # fmt: skip
    assert cube.mean == pytest.approx(3, rel=1e-3)  # the elasticity of a cube


def test_a_share_of_zero_is_one_of_epsilon():
    x = torch.tensor([[0.0, 1.0]]).double()
    rating = relative_stability(
        SELF, x, samples=4, least=0.5, explain=lambda score, x: Attribution(x[:, :1]),
        same_class=False,
    )  # fmt: skip
    steps = draws(4, (2,), 0.1).double()
    shares = torch.stack([steps[:, 0] / 0.5, steps[:, 1]], 1)
    expected = (shares[:, 0].abs() / shares.norm(dim=1).clamp(min=0.5)).max()
    assert rating.mean == pytest.approx(float(expected), rel=1e-9)


def test_all_three_are_what_a_loop_finds():
    network = relu_network([4, 8, 3], seed=2, kink=nn.Tanh, dtype=torch.float64)
    x = batch(5, 4)
    score = log_odds(network, predicted(network, x))

    def share(one, other):
        return (one - other) / one.abs().clamp(min=1e-6)

    def step(one, other):
        return one - other

    kinds = {
        relative_stability: (lambda x: x, share, {}),
        relative_output_stability: (network, step, {}),
        relative_representation_stability: (network[:2], share, {"layer": "1"}),
    }
    for metric, (read, apart, options) in kinds.items():
        expected = []
        for i in range(len(x)):
            one, own = score.at(torch.tensor([i])), x[i : i + 1]
            here = input_x_gradient(one, own).values
            ratios = [
                float(
                    share(here, input_x_gradient(one, own + noise).values).norm()
                    / apart(read(own), read(own + noise)).detach().norm().clamp(min=1e-6)
                )
                for noise in draws(9, (4,), 0.3).double()
                if network(own + noise).argmax() == network(own).argmax()
            ]
            expected.append(max(ratios))
        for batch_size in (None, 4):
            rating = metric(
                score, x, explain=input_x_gradient, radius=0.3, samples=9, batch_size=batch_size,
                **options,
            )  # fmt: skip
            assert rating.values.tolist() == pytest.approx(expected, rel=1e-9)
            assert not rating.higher_is_better


def test_broken_questions_are_refused():
    x = torch.ones(1, 2)
    with pytest.raises(ValueError, match="`least`"):
        relative_stability(SELF, x, explain=itself, least=0.0)
    with pytest.raises(ValueError, match="radius is 0"):
        relative_output_stability(SELF, x, explain=itself, radius=0.0)
    with pytest.raises(TypeError, match="Module"):
        relative_representation_stability(SELF, x, explain=itself, layer="0")
    network = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="nowhere"):
        relative_representation_stability(logit(network, 0), x, explain=itself, layer="nowhere")


def test_an_error_in_the_model_leaves_no_hook():
    class Fussy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            y = self.layer(x)
            if len(x) == 3:
                raise RuntimeError("three are too many")
            return y

    network = Fussy()
    with pytest.raises(RuntimeError, match="three"):
        relative_representation_stability(
            logit(network, 0), torch.ones(3, 2), explain=itself, layer="layer", same_class=False,
            batch_size=3,
        )  # fmt: skip
    assert not network.layer._forward_hooks


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_a_larger_explanation_is_as_stable(name):
    """Shares have no units: on real networks too."""
    found = getattr(zoo, name)()
    x = torch.stack(found.inputs[:4])
    x = x + 0.1 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    score = log_odds(found.model, predicted(found.model, x))

    def larger(score, x):
        return Attribution(2**20 * input_x_gradient(score, x).values)

    for metric in (relative_stability, relative_output_stability):
        one = metric(score, x, explain=input_x_gradient, radius=0.01, samples=5, least=1e-12)
        other = metric(score, x, explain=larger, radius=0.01, samples=5, least=1e-12)
        assert torch.allclose(one.values, other.values, rtol=1e-6)
        assert (one.values > 0).all()


@pytest.mark.oracle
def test_quantus_agrees():
    """Up to where it departs: it adds epsilon only to what is exactly zero, pixel by pixel.

    So pictures without zeros are compared, on which nothing is smaller than epsilon here either.
    """
    package = quantus()
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    found = zoo.mnist()
    x = torch.stack(found.inputs[:64]) * 0.9 + 0.05
    target = predicted(found.model, x)
    noise = iter(draws(10, x.shape[1:], 0.02))

    def perturb(arr, indices, **_):
        return arr + next(noise).flatten().numpy()

    def values(score, x):
        """Kept from zero, so that both divide by the same."""
        found = gradient(score, x).values
        return Attribution(torch.where(found >= 0, found + 0.1, found - 0.1))

    def explain(model, inputs, targets, **_):
        given = torch.as_tensor(inputs)
        return values(logit(model, torch.as_tensor(targets)), given).values.numpy()

    theirs = package.RelativeInputStability(
        nr_samples=10, perturb_func=perturb, abs=False, normalise=False, disable_warnings=True,
        return_nan_when_prediction_changes=False,
    )(
        model=found.model, x_batch=x.numpy(), y_batch=target.numpy(), explain_func=explain
    )  # fmt: skip
    ours = relative_stability(
        logit(found.model, target), x, explain=values, samples=10, radius=0.02, same_class=False
    )
    assert torch.allclose(ours.values, torch.tensor(theirs).float(), rtol=1e-5)


def test_a_model_that_puts_out_one_number_per_input():
    score = Score(lambda x: x.sum(1), lambda output, rows: output)
    x = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    options = {"explain": lambda score, x: Attribution(x), "samples": 20, "same_class": False}
    found = relative_output_stability(score, x, **options)
    wide = Score(lambda x: x.sum(1, keepdim=True), lambda output, rows: output[:, 0])
    assert torch.equal(found.values, relative_output_stability(wide, x, **options).values)
