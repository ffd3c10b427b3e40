import os

import pytest
import torch
from torch import nn

from quantus_alone import quantus
from strategies import relu_network
from unmask import Attribution, Score, log_odds, logit, predicted, zoo
from unmask.evaluation import average_sensitivity, max_sensitivity
from unmask.evaluation.stability.surroundings import cube
from unmask.methods.saliency import gradient, input_x_gradient

SELF = logit(lambda x: x, 0)
each = pytest.mark.parametrize("metric", [max_sensitivity, average_sensitivity])


def itself(score, x):
    return Attribution(x)


def draws(samples, shape, radius, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(samples, *shape, generator=generator) - 1) * radius


def batch(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()


def slow(score, x, explain, radius, samples, same_class):
    """Every relative change, an input and a draw at a time."""
    noise = draws(samples, x.shape[1:], radius).to(x)
    table = torch.full((len(x), samples), torch.nan, dtype=x.dtype)
    for i in range(len(x)):
        one = score.at(torch.tensor([i]))
        here = explain(one, x[i : i + 1]).values[0]
        for k in range(samples):
            point = x[i : i + 1] + noise[k]
            same = score.model(point).argmax() == score.model(x[i : i + 1]).argmax()
            if same or not same_class:
                moved = explain(one, point).values[0] - here
                table[i, k] = (moved**2).sum().sqrt() / (here**2).sum().sqrt()
    return table


def test_of_the_input_itself_the_farthest_is_a_corner():
    x = torch.tensor([[3.0, 4.0]]).double()
    bound = 2**0.5 * 0.1 / 5  # (checked): 0.028284
    drawn = max_sensitivity(SELF, x, explain=itself, radius=0.1, samples=2000)
    assert 0.0277 < drawn.mean <= bound + 1e-12
    climbed = max_sensitivity(SELF, x, explain=itself, radius=0.1, samples=10, steps=100)
    assert climbed.mean == pytest.approx(bound, rel=1e-9)
    assert climbed.curve.shape == climbed.at[None].shape == (1, 110)
    assert (climbed.curve.diff() >= 0).all()
    assert not climbed.higher_is_better


def test_the_average_of_a_single_number_is_half_of_the_radius():
    x = torch.tensor([[-4.0]]).double()
    rating = average_sensitivity(SELF, x, explain=itself, radius=0.1, samples=20_000)
    error = 0.1 / 12**0.5 / 20_000**0.5 / 4  # of a mean of even draws
    assert rating.mean == pytest.approx(0.0125, abs=4 * error)


@each
def test_what_never_changes_is_stable_and_what_says_nothing_is_undefined(metric):
    x = batch(3, 4)
    still = metric(SELF, x, explain=lambda score, x: Attribution(torch.ones_like(x)))
    assert still.values.tolist() == [0, 0, 0]
    silent = metric(SELF, x, explain=lambda score, x: Attribution(torch.zeros_like(x)))
    assert silent.undefined == 3


@each
def test_the_gradient_of_a_linear_model_does_not_move(metric):
    network = nn.Linear(5, 3).double()
    assert metric(logit(network, 1), batch(4, 5), explain=gradient).values.tolist() == [0] * 4


@pytest.mark.parametrize("same_class", [False, True])
@pytest.mark.parametrize("batch_size", [None, 4])
def test_both_are_what_a_loop_finds(same_class, batch_size):
    network = relu_network([4, 8, 3], seed=2, dtype=torch.float64)
    x = batch(5, 4) * 0.3
    score = log_odds(network, predicted(network, x))
    table = slow(score, x, input_x_gradient, 0.5, 9, same_class)
    assert table.isnan().any() == same_class  # so large a radius leaves some classes
    asked = {
        "explain": input_x_gradient, "radius": 0.5, "samples": 9, "same_class": same_class,
        "batch_size": batch_size,
    }  # fmt: skip
    most = max_sensitivity(score, x, **asked)
    expected = table.nan_to_num(-1).amax(1)
    assert torch.allclose(most.values, expected, rtol=1e-9)
    mean = average_sensitivity(score, x, **asked)
    assert torch.allclose(mean.values, table.nanmean(1), rtol=1e-9)
    for k in range(9):
        if not table[:, : k + 1].isnan().all(1).any():
            part = table[:, : k + 1]
            assert torch.allclose(most.curve[:, k], part.nan_to_num(-1).amax(1), rtol=1e-9)
            assert torch.allclose(mean.curve[:, k], part.nanmean(1), rtol=1e-9)


@each
def test_where_no_point_keeps_the_class_nothing_is_known(metric):
    """A class that no neighbour shares: that of the point zero alone."""

    def needle(x):
        return torch.stack([(x == 0).all(1).to(x), torch.full_like(x[:, 0], 0.5)], 1)

    x = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    found = metric(logit(needle, 0), x, explain=lambda score, x: Attribution(x + 1))
    assert found.values[0].isnan()
    assert found.values[1] > 0
    assert found.undefined == 1


def test_climbing_stays_in_the_cube_and_in_the_class():
    def model(x):
        return torch.stack([x[:, 0], torch.full_like(x[:, 0], 3.05)], 1)

    x = torch.tensor([[3.0, 4.0]]).double()
    seen = []

    def explain(score, x):
        seen.append(x)
        return Attribution(x)

    rating = max_sensitivity(logit(model, 0), x, explain=explain, radius=0.1, steps=200)
    points = torch.cat(seen)
    assert (points - x).abs().max() <= 0.1 + 1e-12
    assert (points[:, 0] <= 3.05).all()
    assert rating.mean == pytest.approx(0.02 * 2**0.5, rel=1e-6)  # the corner on the class's side


@each
def test_no_more_than_a_batch_is_explained_at_a_time(metric):
    sizes = []

    def explain(score, x):
        sizes.append(len(x))
        return Attribution(x)

    metric(SELF, batch(5, 3), explain=explain, samples=7, same_class=False, batch_size=4)
    assert max(sizes) == 4
    assert sum(sizes) == 5 + 5 * 7


def test_draws_are_shared_by_all_inputs_and_come_from_the_generator():
    x = batch(3, 4)
    steps = cube(x, 0.1, 6, torch.Generator().manual_seed(3))
    assert torch.equal(steps, draws(6, (4,), 0.1, 3).double())
    one = max_sensitivity(SELF, x, explain=itself, generator=torch.Generator().manual_seed(3))
    other = max_sensitivity(SELF, x, explain=itself, generator=torch.Generator().manual_seed(4))
    assert not torch.equal(one.values, other.values)


def test_broken_questions_are_refused():
    x = torch.ones(2, 3)

    def asked(message, kind=ValueError, score=SELF, x=x, explain=itself, **options):
        with pytest.raises(kind, match=message):
            max_sensitivity(score, x, explain=explain, **options)

    asked("radius is 0", radius=0.0)
    asked("radius is nan", radius=float("nan"))
    asked("`samples`", samples=0)
    asked("`steps`", steps=-1)
    asked("Only real numbers|Type-check", TypeError, x=torch.ones(2, 3).long())
    asked("A score is explained|Type-check", TypeError, score=lambda x: x)
    asked("is a Tensor", TypeError, explain=lambda score, x: x)
    asked("must be finite", explain=lambda score, x: Attribution(x / 0))
    asked("too small", batch_size=0)
    asked("class, or one class", score=logit(lambda x: x, torch.tensor([0, 1, 2])))

    def another(score, x):
        return Attribution(x[:, :2] if bool((x == 1).all()) else x)

    asked("in the same way", explain=another)


def test_half_precision_is_measured_in_single():
    network = relu_network([4, 8, 3], seed=0, dtype=torch.bfloat16)
    rating = max_sensitivity(
        log_odds(network, 1), batch(2, 4).bfloat16(), explain=input_x_gradient, radius=0.1
    )
    assert rating.values.dtype == torch.float32
    assert rating.values.isfinite().all()


def exhibit(name):
    if name == "mnist" and not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    return getattr(zoo, name)()


@pytest.mark.parametrize("name", ["breast_cancer", "digits", "mnist"])
def test_averaging_over_noise_makes_gradients_steadier(name):
    """What smoothing is for. On three real networks, of 16 inputs each."""
    found = exhibit(name)
    x = torch.stack(found.inputs[:16])
    score = log_odds(found.model, predicted(found.model, x))
    noise = (
        0.2
        * float(x.std())
        * torch.randn(20, 1, *x.shape[1:], generator=torch.Generator().manual_seed(1))
    )

    def smooth(score, x):
        return Attribution(
            torch.stack([gradient(score, x + step).values for step in noise]).mean(0)
        )

    asked = {"radius": 0.1 * float(x.std()), "samples": 10}
    plain = max_sensitivity(score, x, explain=gradient, **asked)
    steady = max_sensitivity(score, x, explain=smooth, **asked)
    assert steady.mean < plain.mean
    mean = average_sensitivity(score, x, explain=gradient, **asked)
    assert (mean.values <= plain.values).all()


def real():
    found = exhibit("mnist")
    x = torch.stack(found.inputs[:64])
    return found.model, x, predicted(found.model, x)


@pytest.mark.oracle
def test_captum_agrees():
    captum = pytest.importorskip("captum.metrics")
    model, x, target = real()
    noise = draws(10, x.shape[1:], 0.02)

    def perturb(inputs):  # ten in a row of each input
        return inputs + noise.repeat(len(inputs) // 10, 1, 1, 1)

    def explain(inputs, target):
        given = inputs[0] if isinstance(inputs, tuple) else inputs
        return (gradient(logit(model, target), given).values,)

    theirs = captum.sensitivity_max(
        explain, x, perturb, n_perturb_samples=10, norm_ord=2, target=target
    )
    ours = max_sensitivity(logit(model, target), x, explain=gradient, same_class=False)
    assert torch.allclose(ours.values, theirs, rtol=1e-5)


@pytest.mark.oracle
@each
def test_quantus_agrees(metric):
    package = quantus()
    model, x, target = real()
    noise = iter(draws(10, x.shape[1:], 0.02))

    def perturb(arr, indices, **_):
        return arr + next(noise).flatten().numpy()

    def explain(model, inputs, targets, **_):
        given = torch.as_tensor(inputs)
        return gradient(logit(model, torch.as_tensor(targets)), given).values.numpy()

    kind = package.MaxSensitivity if metric is max_sensitivity else package.AvgSensitivity
    theirs = kind(
        nr_samples=10, perturb_func=perturb, abs=False, normalise=False, disable_warnings=True,
        return_nan_when_prediction_changes=True,
    )(model=model, x_batch=x.numpy(), y_batch=target.numpy(), explain_func=explain)  # fmt: skip
    ours = metric(logit(model, target), x, explain=gradient)
    assert torch.allclose(ours.values, torch.tensor(theirs).float(), rtol=1e-5)


def test_a_score_says_which_class_is_meant():
    """The explanation of each point is that of the class of the input it was made from."""
    seen = []

    def explain(score: Score, x):
        seen.append(score(x))
        return Attribution(x)

    model = nn.Identity()
    x = torch.tensor([[1.0, 5.0], [6.0, 2.0]])
    max_sensitivity(logit(model, torch.tensor([1, 0])), x, explain=explain, samples=2, radius=1e-3)
    expected = [[5.0, 6.0], [5.0, 5.0, 6.0, 6.0]]
    for found, wanted in zip(seen, expected, strict=True):
        assert torch.allclose(found, torch.tensor(wanted), atol=2e-3)
