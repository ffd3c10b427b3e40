from copy import deepcopy

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from exhibits import exhibit
from quantus_alone import quantus
from randomized import as_quantus, count, explain_for_it, mlp, ones, seed, slope
from unmask import log_odds, logit, predicted
from unmask.evaluation import (
    absolute_rank_similarity,
    bottom_up,
    like_moments,
    one_by_one,
    parameter_randomization,
    smooth_mprt,
    smoothed,
    structural_similarity,
    top_down,
)
from unmask.evaluation.randomization.parameter_randomization import Mean, randomized
from unmask.evaluation.randomization.similarity import rank_similarity
from unmask.methods.saliency import grad_cam, gradient, integrated_gradients, lrp
from unmask.results import Attribution


def size(_, x):
    """Ignores the model."""
    return Attribution(x.abs())


def test_what_ignores_the_model_never_changes():
    score, x = logit(mlp(6, 5, 4, 3), 0), torch.randn(4, 6, generator=seed())
    for order in (top_down, bottom_up, one_by_one):
        found = parameter_randomization(score, x, explain=size, order=order)
        assert found.curve.flatten().tolist() == pytest.approx([1.0] * found.curve.numel())
        assert found.values.tolist() == pytest.approx([1.0] * 4)
        assert not found.higher_is_better
    assert found.curve.shape == (4, 1 + 3 + 1)


def test_a_slow_twin():
    """Layer by layer with plain loops, the weights known."""
    model, x = mlp(6, 5, 4, 3), torch.randn(3, 6, generator=seed())
    found = parameter_randomization(logit(model, 1), x, explain=gradient, draw=ones, repeats=1)
    for i in range(3):
        expected = [1.0]
        own = slope(model, x[i])
        walked = deepcopy(model)
        for layer in (4, 2, 0):
            ones(walked[layer], None)
            expected.append(spearmanr(own, slope(walked, x[i])).statistic)
        assert found.curve[i].tolist() == pytest.approx(expected, abs=1e-9)
    assert found.at.tolist() == [0, 1, 2, 3]
    assert torch.equal(found.values, found.curve[:, -1])


def test_the_gradient_of_a_network_is_at_chance_when_all_is_random():
    """784-128-64-10: the spread of one rank correlation by chance is 1 / sqrt(783) = 0.036."""
    model = mlp(784, 128, 64, 10, bend=nn.ReLU)
    x = torch.rand(16, 784, generator=seed(1))
    score = logit(model, predicted(model, x))
    for similarity in (rank_similarity, absolute_rank_similarity):
        found = parameter_randomization(
            score, x, explain=gradient, similarity=similarity, generator=seed(2)
        )
        assert found.curve.shape == (16, 4)
        assert abs(found.mean) < 0.15


def test_the_model_comes_back_bit_by_bit_even_after_an_exception():
    model, x = mlp(6, 5, 3), torch.randn(2, 6, generator=seed())
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    calls = []

    def fails(score, x):
        calls.append(score)
        if len(calls) == 3:
            raise RuntimeError("enough")
        return gradient(score, x)

    with pytest.raises(RuntimeError, match="enough"):
        parameter_randomization(logit(model, 0), x, explain=fails)
    parameter_randomization(logit(model, 0), x, explain=gradient)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert not model[0].weight.requires_grad
    assert model[2].weight.requires_grad


def test_the_floor_is_that_of_random_models():
    score, x = logit(mlp(8, 6, 3), 0), torch.randn(3, 8, generator=seed())
    maps = []

    def keeps(score, x):
        made = gradient(score, x)
        maps.append(made.values)
        return made

    for repeats, pairs in ((2, [(0, 1)]), (3, [(0, 1), (1, 2), (2, 0)])):
        maps.clear()
        found = randomized(
            score,
            x,
            keeps,
            {"s": rank_similarity},
            top_down,
            ones_and_chance,
            repeats,
            None,
            None,
            compared=True,
        )
        last = maps[2::2]  # of the model itself; then of two steps for each random model
        expected = torch.stack([rank_similarity(last[a], last[b]) for a, b in pairs]).mean(0)
        assert torch.allclose(found.floor["s"], expected)
        ends = torch.stack([rank_similarity(maps[0], one) for one in last]).mean(0)
        assert torch.allclose(found.curves["s"][:, -1], ends)
    alone = randomized(
        score,
        x,
        keeps,
        {"s": rank_similarity},
        top_down,
        ones_and_chance,
        1,
        None,
        None,
        compared=True,
    )
    assert alone.floor["s"].isnan().all()


def test_the_null_is_chance():
    """The mean rank correlation with a shuffled row is 0; 320 shuffles of 8 give 0.02 of error."""
    score, x = logit(mlp(8, 6, 3), 0), torch.randn(3, 8, generator=seed())
    found = randomized(
        score,
        x,
        size,
        {"s": rank_similarity},
        top_down,
        ones_and_chance,
        5,
        None,
        None,
        compared=True,
    )
    assert found.null["s"].abs().max() < 0.1
    assert found.floor["s"].tolist() == pytest.approx([1] * 3)


def ones_and_chance(layer, generator):
    with torch.no_grad():
        for weight in layer.parameters(recurse=False):
            weight.copy_(torch.randn(weight.shape, generator=generator))


def test_draws_without_a_meaning_are_left_out():
    mean = Mean()
    mean.add(torch.tensor([1.0, torch.nan, torch.nan]))
    mean.add(torch.tensor([3.0, 5.0, torch.nan]))
    assert mean.value[:2].tolist() == [2, 5]
    assert bool(mean.value[2].isnan())


def test_a_constant_explanation_has_no_rating():
    score, x = logit(mlp(4, 3, 2), 0), torch.randn(2, 4, generator=seed())

    def flat(_, x):
        return Attribution(torch.ones_like(x))

    assert parameter_randomization(score, x, explain=flat).undefined == 2


def test_the_class_stays_what_it_was():
    model, x = mlp(5, 4, 3), torch.randn(3, 5, generator=seed())
    classes = torch.tensor([0, 2, 1])
    together = parameter_randomization(logit(model, classes), x, explain=gradient)
    for i in range(3):
        alone = parameter_randomization(
            logit(model, int(classes[i])), x[i : i + 1], explain=gradient
        )
        assert torch.allclose(alone.curve, together.curve[i : i + 1])


def test_evaluations_are_counted():
    score, x = logit(mlp(5, 4, 3), 0), torch.randn(3, 5, generator=seed())
    found = parameter_randomization(score, x, explain=count, repeats=4)
    assert found.evaluations == 3 * (1 + 4 * 2)
    assert parameter_randomization(score, x, explain=size).evaluations is None


def test_noise_makes_a_rough_gradient_comparable():
    score, x = logit(mlp(5, 4, 3), 0), torch.randn(3, 5, generator=seed())
    smooth = smoothed(gradient, samples=7, noise=0.2, generator=seed(5))
    found = smooth(score, x).values
    assert torch.allclose(found, smooth(score, x).values)
    assert torch.allclose(found[1:2], smooth(score, x[1:2]).values)
    # The mean of the gradients at x + sigma epsilon, with the same epsilon for all.
    same = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=seed(5))))
    span = 0.2 * (x.amax(1) - x.amin(1))
    total = torch.zeros_like(x)
    for _ in range(7):
        total += gradient(score, x + span[:, None] * torch.randn(5, generator=same)).values
    assert torch.allclose(found, total / 7, atol=1e-6)


def test_smooth_without_noise_is_the_plain_one():
    score, x = log_odds(mlp(5, 4, 3), 0), torch.randn(3, 5, generator=seed())
    given = {"explain": gradient, "draw": ones, "repeats": 1}
    plain = parameter_randomization(score, x, **given)
    assert torch.allclose(smooth_mprt(score, x, noise=0.0, samples=3, **given).curve, plain.curve)
    found = smooth_mprt(score, x, noise=0.5, samples=4, batch_size=2, **given)
    assert torch.allclose(found.curve, smooth_mprt(score, x, noise=0.5, samples=4, **given).curve)
    assert not torch.allclose(found.curve, plain.curve)


def test_what_cannot_be_is_refused():
    model, x = mlp(4, 3, 2), torch.randn(2, 4, generator=seed())
    score = logit(model, 0)
    with pytest.raises(ValueError, match="0 random models are too few"):
        parameter_randomization(score, x, explain=gradient, repeats=0)
    with pytest.raises(TypeError, match="needs the layers of the model"):
        parameter_randomization(logit(lambda x: model(x), 0), x, explain=gradient)
    with pytest.raises(ValueError, match="The order ends with 2, but the layers are 0, 2"):
        parameter_randomization(score, x, explain=gradient, order=lambda names: [names, names[1:]])
    with pytest.raises(ValueError, match="ends with no step"):
        parameter_randomization(score, x, explain=gradient, order=lambda names: [])
    with pytest.raises(TypeError, match="returns an Attribution"):
        parameter_randomization(score, x, explain=lambda _, x: x)
    with pytest.raises(ValueError, match="one row of values per input"):
        parameter_randomization(score, x, explain=lambda _, x: Attribution(x[:1]))
    with pytest.raises(ValueError, match="no mean of 0 copies"):
        smooth_mprt(score, x, explain=gradient, samples=0)
    with pytest.raises(ValueError, match="noise of size -1"):
        smooth_mprt(score, x, explain=gradient, noise=-1.0)
    with pytest.raises(TypeError, match="returns an Attribution"):
        smooth_mprt(score, x, explain=lambda _, x: x)


@pytest.mark.parametrize("draw", [None, like_moments])
def test_methods_that_look_into_layers(draw):
    shown = exhibit("digits")
    x = torch.stack(shown.inputs[:4])
    score = logit(shown.model, predicted(shown.model, x))
    convolution = next(
        name for name, one in reversed(list(shown.model.named_modules()))
        if isinstance(one, nn.Conv2d)
    )  # fmt: skip
    given = {} if draw is None else {"draw": draw}
    for explain in (
        lambda score, x: grad_cam(score, x, layer=convolution),
        lambda score, x: integrated_gradients(score, x, baseline=torch.zeros(1, 8, 8)),
        lrp,
    ):
        found = parameter_randomization(
            score, x, explain=explain, similarity=structural_similarity, repeats=2, **given
        )
        assert found.curve.shape[0] == 4
        assert torch.allclose(found.curve[:, 0], torch.ones(4).double())
        assert found.mean < 0.9


def test_on_real_photos():
    shown = exhibit("cifar10")
    x = torch.stack(shown.inputs[:4])
    score = logit(shown.model, predicted(shown.model, x))
    found = parameter_randomization(
        score, x, explain=gradient, repeats=1, similarity=absolute_rank_similarity,
        order=lambda names: [names[-1:], names],
    )  # fmt: skip
    # A photo has 3,072 numbers: chance alone stays within 0.06. What is left is the architecture's.
    assert abs(found.mean) < 0.3
    assert bool((found.curve[:, 1] > found.curve[:, 2]).all())


@pytest.mark.oracle
@pytest.mark.parametrize("order", [top_down, bottom_up])
def test_quantus_agrees(order):
    """The weights are drawn as it draws them: with the same seed for every layer."""
    package = quantus()
    shown = exhibit("mnist")
    x = torch.stack(shown.inputs[:64])
    classes = predicted(shown.model, x)
    theirs = package.MPRT(
        layer_order=order.__name__, seed=42, abs=False, normalise=False, disable_warnings=True
    )(
        model=shown.model, x_batch=x.numpy(), y_batch=classes.numpy(), explain_func=explain_for_it
    )  # fmt: skip
    ours = parameter_randomization(
        logit(shown.model, classes), x, explain=gradient, order=order, draw=as_quantus, repeats=1
    )
    expected = torch.tensor(list(theirs.values()), dtype=torch.float64).T
    assert torch.allclose(ours.curve, expected, atol=1e-5)
