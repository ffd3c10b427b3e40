import math
import os

import numpy as np
import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import log_odds, logit, patches, probability
from unmask.methods.saliency import (
    ConditionalPatches,
    MarginalPatches,
    feature_omission,
    prediction_difference,
)
from unmask.methods.saliency.removal.windows import sliding

REAL = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")

TYPED = "|Type-check error"  # where types are checked at run time, that comes first


def images(count, seed=0, shape=(2, 6, 7)):
    """Images whose neighbouring pixels are alike."""
    noise = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed)).double()
    return noise + noise.roll(1, 2) + noise.roll(1, 3) + 0.5 * noise.roll(1, 1)


def network(shape=(2, 6, 7), seed=1):
    return nn.Sequential(nn.Flatten(), relu_network([math.prod(shape), 8, 3], seed))


def slow_conditional(data, sides, padding, corner, image, noise):
    """Contents of one window, from the textbook, with numpy and one patch at a time."""
    (height, width), (k, m) = image.shape[1:], sides
    tall, wide = k + 2 * padding, m + 2 * padding
    top = min(max(corner[0] - padding, 0), height - tall)
    left = min(max(corner[1] - padding, 0), width - wide)
    inner = np.zeros((tall, wide), dtype=bool)
    inner[corner[0] - top : corner[0] - top + k, corner[1] - left : corner[1] - left + m] = True
    inner, contents = inner.ravel(), []
    for channel in range(len(image)):
        patch = np.array(
            [
                one[channel, i : i + tall, j : j + wide].numpy().ravel()
                for one in data
                for i in range(height - tall + 1)
                for j in range(width - wide + 1)
            ]
        )
        mean, covariance = patch.mean(0), np.cov(patch.T)
        around = image[channel, top : top + tall, left : left + wide].numpy().ravel()[~inner]
        gain = covariance[np.ix_(inner, ~inner)] @ np.linalg.inv(covariance[np.ix_(~inner, ~inner)])
        middle = mean[inner] + gain @ (around - mean[~inner])
        spread = covariance[np.ix_(inner, inner)] - gain @ covariance[np.ix_(~inner, inner)]
        variance, basis = np.linalg.eigh(spread)
        root = basis @ np.diag(np.sqrt(variance.clip(0))) @ basis.T
        drawn = middle + root @ noise[channel].numpy()
        low, high = float(data[:, channel].min()), float(data[:, channel].max())
        contents.append(torch.tensor(drawn.clip(low, high)).view(k, m))
    return torch.stack(contents)


def slow_values(model, target, x, sides, steps, contents, trained_on, classes):
    """The definition, one window and one draw after the other; contents(x, corner) -> draws."""

    def bits(p):
        p = (p * trained_on + 1) / (trained_on + classes)
        return math.log2(p / (1 - p))

    height, width = x.shape[1:]
    total, count = torch.zeros(height, width).double(), torch.zeros(height, width)
    for i in range(0, height - sides[0] + 1, steps[0]):
        for j in range(0, width - sides[1] + 1, steps[1]):
            ps = []
            for drawn in contents(x, (i, j)):
                row = x.clone()
                row[:, i : i + sides[0], j : j + sides[1]] = drawn
                ps.append(model(row[None]).softmax(1)[0, target].item())
            whole = model(x[None]).softmax(1)[0, target].item()
            total[i : i + sides[0], j : j + sides[1]] += bits(whole) - bits(sum(ps) / len(ps))
            count[i : i + sides[0], j : j + sides[1]] += 1
    return (total / count.clamp(min=1)).expand(x.shape)


@pytest.mark.parametrize(("sides", "steps"), [((2, 3), (1, 1)), ((3, 2), (2, 3))])
@pytest.mark.parametrize("batch_size", [None, 4])
def test_conditional_values_follow_the_definition(sides, steps, batch_size):
    data, x, model = images(30), images(2, seed=5), network()
    score, seed = log_odds(model, torch.tensor([2, 0])), torch.Generator().manual_seed(3)
    found = prediction_difference(
        score, x, data=data, window=sides, stride=steps, samples=3, trained_on=40,
        sampler=ConditionalPatches(padding=1), generator=seed, batch_size=batch_size,
    )  # fmt: skip
    noise = torch.randn(3, 2, 6, generator=seed.manual_seed(3), dtype=torch.float64)

    def contents(image, corner):
        return [slow_conditional(data, sides, 1, corner, image, n) for n in noise]

    for i, target in enumerate((2, 0)):
        expected = slow_values(model, target, x[i], sides, steps, contents, 40, 3)
        assert torch.allclose(found.values[i], expected, atol=1e-8)


@pytest.mark.parametrize("samples", [3, 8, 100])
def test_marginal_values_follow_the_definition(samples):
    data, x, model = images(8), images(2, seed=5), network()
    seed = torch.Generator().manual_seed(3)
    found = prediction_difference(
        log_odds(model, 1), x, data=data, window=2, samples=samples, trained_on=40,
        sampler=MarginalPatches(), generator=seed,
    )  # fmt: skip
    chosen = torch.randperm(8, generator=seed.manual_seed(3))[:samples]

    def contents(image, corner):
        i, j = corner
        return [data[n, :, i : i + 2, j : j + 2] for n in chosen]

    for i in range(2):
        expected = slow_values(model, 1, x[i], (2, 2), (1, 1), contents, 40, 3)
        assert torch.allclose(found.values[i], expected, atol=1e-9)
    assert (found.errors is None) == (samples >= 8)


def test_windows_side_by_side_are_features_omitted():
    data, x = images(12, shape=(2, 6, 6)), images(3, seed=5, shape=(2, 6, 6))
    score = log_odds(network((2, 6, 6)), torch.tensor([2, 0, 1]))
    players = patches((2, 6, 6), (2, 3))
    found = prediction_difference(
        score, x, data=data, window=(3, 2), stride=(3, 2), samples=12,
        sampler=MarginalPatches(), trained_on=50,
    )  # fmt: skip
    omitted = feature_omission(score, x, data=data, players=players, trained_on=50)
    for i in range(3):
        assert torch.allclose(found.values[i], players.paint(omitted.values[i]), atol=1e-9)


def draw(data, image, *, samples, padding=1, window=1):
    """Contents of the window in the middle of a 3 x 3 image."""
    windows = sliding(image.shape, window, 1)
    sampler = ConditionalPatches(padding=padding)
    draws = sampler.fit(data, windows, samples, torch.Generator().manual_seed(0))
    corners = torch.ones(samples, 2, dtype=torch.long)
    return draws(image.expand(samples, -1, -1, -1), corners, torch.arange(samples))


def test_the_gaussian_knows_its_conditional():
    """Correlation 0.8 with one neighbour, which is 1: mean 0.8 and variance 0.36. The other
    neighbours never change, so that the covariance around the window has no inverse."""
    z = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(1)).double()
    data = torch.full((200_000, 1, 3, 3), 0.5).double()
    data[:, 0, 1, 1] = z[:, 0]
    data[:, 0, 1, 0] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    windows = sliding((1, 3, 3), 1, 1)
    sampler = ConditionalPatches(padding=1, patches=200_000)
    draws = sampler.fit(data, windows, 100_000, torch.Generator().manual_seed(0))
    image = torch.full((1, 3, 3), 0.5).double()
    image[0, 1, 0] = 1.0
    corners = torch.ones(100_000, 2, dtype=torch.long)
    drawn = draws(image.expand(100_000, -1, -1, -1), corners, torch.arange(100_000))
    assert drawn.mean().item() == pytest.approx(0.8, abs=0.01)
    assert drawn.var().item() == pytest.approx(0.36, abs=0.01)


def test_draws_stay_within_the_range_of_the_data_and_need_no_ring():
    data = torch.rand(50, 1, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    drawn = draw(data, data[0], samples=2000)
    assert drawn.min() >= data.min()
    assert drawn.max() <= data.max()
    apart = draw(data, data[0], samples=2000, padding=0)
    assert torch.equal(apart, draw(data, data[1], samples=2000, padding=0))
    assert apart.mean().item() == pytest.approx(data.mean().item(), abs=0.02)


def test_what_surroundings_tell_is_no_evidence():
    """In images of one grey each, the ring says all; from elsewhere comes another grey."""
    grey = torch.rand(200, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    data = grey.expand(200, 1, 8, 8)
    score = log_odds(lambda x: 10 * x[:, 0, 3:5, 3:5].mean((1, 2)) - 5, 1)
    x = torch.full((1, 1, 8, 8), 0.9).double()
    told = prediction_difference(score, x, data=data, window=2)
    assert told.values.abs().max() < 1e-4
    alone = prediction_difference(score, x, data=data, window=2, sampler=MarginalPatches())
    assert alone.values[0, 0, 3:5, 3:5].min() > 1


@pytest.mark.parametrize("sampler", [ConditionalPatches(padding=1), MarginalPatches()])
def test_a_half_that_the_model_ignores_gets_exactly_nothing(sampler):
    data, x = images(20, shape=(1, 8, 8)), images(2, seed=4, shape=(1, 8, 8))
    score = log_odds(lambda x: x[:, 0, :, 4:].sum((1, 2)), 1)
    found = prediction_difference(score, x, data=data, window=2, stride=2, sampler=sampler)
    assert found.values[..., :4].abs().max() == 0
    assert found.errors[..., :4].abs().max() == 0
    assert found.values[..., 4:].abs().min() > 0


def test_errors_are_those_of_repeated_draws():
    data, x, model = images(100), images(1, seed=5), network()
    score = log_odds(model, 1)
    runs = [
        prediction_difference(
            score, x, data=data, window=3, samples=20, sampler=ConditionalPatches(padding=1),
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in range(60)
    ]  # fmt: skip
    spread = torch.stack([run.values for run in runs]).std(0)
    told = torch.stack([run.errors for run in runs]).square().mean(0).sqrt()
    # 60 runs know a standard deviation to about a tenth.
    assert (told / spread).median().item() == pytest.approx(1, abs=0.1)
    assert (told / spread).min() > 0.6
    assert (told / spread).max() < 1.7


def test_the_same_luck_in_every_window():
    """A constant image of a model that only sums: all windows get the same, draw by draw."""
    data = torch.randn(300, 1, 9, 9, generator=torch.Generator().manual_seed(0)).double()
    x = torch.zeros(1, 1, 9, 9).double()
    score = log_odds(lambda x: x.flatten(1).sum(1), 1)
    found = prediction_difference(
        score, x, data=data, window=2, stride=1, samples=5, sampler=ConditionalPatches(padding=0)
    )
    assert found.values.std() < 1e-9


def test_one_sample_and_counts():
    sizes = []
    model = network()

    def counted(x):
        sizes.append(len(x))
        return model(x)

    found = prediction_difference(
        log_odds(counted, 1), images(3), data=images(9), window=(2, 3), stride=2, samples=1,
        sampler=MarginalPatches(), batch_size=7,
    )  # fmt: skip
    assert found.errors is None
    assert sum(sizes) == found.evaluations == 3 + 3 * 3 * 3
    assert max(sizes) == 7


def test_many_images_are_taken_in_parts(monkeypatch):
    module = __import__("sys").modules["unmask.methods.saliency.removal.prediction_difference"]
    score = log_odds(network(), torch.tensor([0, 1, 2]))
    given = {"data": images(9), "window": 2, "samples": 3, "sampler": ConditionalPatches(1)}
    whole = prediction_difference(score, images(3), **given)
    monkeypatch.setattr(module, "_ROWS", 1)
    parts = prediction_difference(score, images(3), **given)
    assert torch.allclose(whole.values, parts.values, atol=1e-9)
    assert torch.allclose(whole.errors, parts.errors, atol=1e-9)


def test_patches_are_drawn_where_there_are_too_many():
    data, x = images(40), images(1, seed=5)
    score = log_odds(network(), 1)
    given = {"data": data, "window": 2, "samples": 4}
    some = [
        prediction_difference(
            score, x, **given, sampler=ConditionalPatches(1, patches=n),
            generator=torch.Generator().manual_seed(0),
        ).values
        for n in (100, 10_000)
    ]  # fmt: skip
    assert not torch.allclose(some[0], some[1], atol=1e-6)
    assert torch.corrcoef(torch.stack([s.flatten() for s in some]))[0, 1] > 0.7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 5}, r"\(5, 5\) with a ring of 2 pixels does not fit images of \(6, 7\)"),
        ({"window": 8}, "does not fit the last axes"),
        ({"window": (2,)}, "1 sides, but that of an image has two"),
        ({"stride": 0}, "goes nowhere"),
        ({"samples": 0}, "0 samples tell nothing"),
        ({"trained_on": -1}, "trained on -1"),
        ({"data": torch.zeros(0, 2, 6, 7)}, "at least one image"),
        ({"data": torch.zeros(3, 1, 6, 7)}, "shaped like the inputs" + TYPED),
        ({"data": torch.full((3, 2, 6, 7), torch.nan)}, "data must be finite"),
        ({"sampler": ConditionalPatches(padding=-1)}, "a ring of -1"),
        ({"sampler": ConditionalPatches(patches=1)}, "1 patches have no covariance"),
        ({"batch_size": 0}, "batch of 0"),
        ({"x": torch.zeros(0, 2, 6, 7)}, "batch is empty"),
        ({"x": torch.full((1, 2, 6, 7), torch.nan)}, "input must be finite"),
        ({"score": probability(nn.Flatten(), 0)}, "makes probabilities"),
        ({"score": log_odds(nn.Flatten(), torch.tensor([0, 1]))}, "of 2 inputs.*holds 1"),
        ({"score": logit(lambda x: x.flatten(1).sum(1) / 0, 0)}, "of 1 of 1 changed inputs"),
    ],
)
def test_what_cannot_be_explained_is_refused(options, words):
    given = {
        "score": log_odds(nn.Flatten(), 0),
        "x": torch.ones(1, 2, 6, 7),
        "data": torch.rand(4, 2, 6, 7, generator=torch.Generator().manual_seed(0)),
        "window": 2,
    } | options
    with pytest.raises((ValueError, TypeError), match=words):
        prediction_difference(given.pop("score"), given.pop("x"), **given)


def test_a_digit():
    """Where the ink is, is the evidence: the mean over inked pixels is above that of the paper."""
    from unmask.zoo import digits

    exhibit = digits()
    x, data = torch.stack(exhibit.inputs[:5]), torch.stack(exhibit.inputs[5:])
    score = log_odds(exhibit.model, torch.tensor(exhibit.labels[:5]))
    found = prediction_difference(score, x, data=data, window=2, samples=8)
    assert found.values.shape == x.shape
    assert found.evaluations == 5 + 5 * 49 * 8
    assert found.values[x > 0.5].mean() > found.values[x == 0].mean()
    assert (found.errors > 0).any()


@REAL
@pytest.mark.slow
def test_a_photo_and_a_handwritten_digit():
    from unmask.zoo import cifar10, mnist

    for exhibit, window in ((mnist(), 4), (cifar10(), 4)):
        x, data = torch.stack(exhibit.inputs[:1]), torch.stack(exhibit.inputs[1:])
        score = log_odds(exhibit.model, exhibit.labels[0])
        found = prediction_difference(score, x, data=data, window=window, stride=4, samples=5)
        assert found.values.isfinite().all()
        assert found.values.sum() > 0
        assert found.evaluations == 1 + (x.shape[2] // 4) ** 2 * 5


@pytest.mark.gpu
def test_values_stay_on_their_device():
    data, x, model = images(30), images(2, seed=5), network()
    given = {"window": 2, "samples": 4, "generator": torch.Generator().manual_seed(0)}
    expected = prediction_difference(log_odds(model, 1), x, data=data, **given)
    given["generator"] = torch.Generator().manual_seed(0)
    found = prediction_difference(log_odds(model.cuda(), 1), x.cuda(), data=data.cuda(), **given)
    assert found.values.is_cuda
    assert found.errors.is_cuda
    assert torch.allclose(found.values.cpu(), expected.values, atol=1e-6)
