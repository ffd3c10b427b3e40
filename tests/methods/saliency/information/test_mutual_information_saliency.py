import math
import os

import pytest
import torch
from torch import nn

from readers import reviews
from unmask import zoo
from unmask.methods.saliency import mutual_information_saliency

INTEGERS = "embeddings|parameter|type"  # the others where types are checked at run time


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def weighted(*weights):
    """Each word by itself in the state, times a weight; an input whose state has mean square 1."""

    def phi(x):
        return torch.cat([w * x[:, i] for i, w in enumerate(weights)], 1)

    x = normal(1, len(weights), 16)
    return phi, x / phi(x).square().mean().sqrt()


def noise(found, scale):
    return scale * (-found.values).exp()


class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(4, 6, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0][:, -1]


def lstm():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LSTM().double().eval()


# Closed forms


def test_a_linear_state():
    r"""The state holds n words, so that the loss is sum a_i sigma_i^2 with a_i = w_i^2 / n, least
    at sigma_i = sqrt(rate / (2 n a_i))."""
    root = math.sqrt(2)
    phi, x = weighted(root, root / 2)  # a = (1, 1/4)
    found = mutual_information_saliency(phi, x, scale=2.0, samples=64, tolerance=0.01)
    assert noise(found, 2.0)[0].tolist() == pytest.approx([0.158114, 0.316228], rel=0.03)


@pytest.mark.parametrize("rate", [0.03, 0.3])
def test_a_linear_state_of_more_words(rate):
    weights = (3.0, 1.0, 0.5, 2.0)
    phi, x = weighted(*weights)
    found = mutual_information_saliency(phi, x, scale=9.0, rate=rate, samples=64, tolerance=0.01)
    expected = [math.sqrt(rate / (2 * w**2)) for w in weights]
    assert noise(found, 9.0)[0].tolist() == pytest.approx(expected, rel=0.03)


def test_an_ignored_word_may_be_drowned_altogether():
    phi, x = weighted(1.0, 0.0, 2.0)
    found = mutual_information_saliency(phi, x, scale=2.0).values[0]
    assert found[1] == 0
    assert (found[[0, 2]] > 1).all()
    assert found[2] - found[0] == pytest.approx(math.log(2), abs=0.05)


def test_the_spread_of_data_takes_the_place_of_the_size_of_the_state():
    """Its variance is four times the mean square of the state: sigma may be twice as large."""
    phi, x = weighted(1.0, 1.0)
    data = 2 * normal(4000, 2, 16, seed=1) + 5
    given = {"scale": 9.0, "samples": 64, "tolerance": 0.01}
    plain = noise(mutual_information_saliency(phi, x, **given), 9.0)
    wide = noise(mutual_information_saliency(phi, x, data=data, **given), 9.0)
    assert (wide / plain)[0].tolist() == pytest.approx([2, 2], rel=0.05)


def test_without_a_scale_it_is_ten_standard_deviations():
    phi, x = weighted(1.0, 1.0)
    x = torch.cat([x, 3 * x - 7])
    deviation = [row.flatten().std(correction=0) for row in x]
    of_each = mutual_information_saliency(phi, x).values
    data = torch.cat([x, x])
    of_data = mutual_information_saliency(phi, x, data=data).values
    for i in range(2):
        alone = mutual_information_saliency(phi, x[i : i + 1], scale=float(10 * deviation[i]))
        assert torch.allclose(of_each[i], alone.values[0], atol=1e-9)
    expected = mutual_information_saliency(
        phi, x, data=data, scale=float(10 * x.flatten().std(correction=0))
    ).values
    assert torch.allclose(of_data, expected, atol=1e-9)


# Independent of the code: no change of sigma makes the loss smaller


def slow_loss(model, x, log_sigma, rate, draws):
    """The loss by plain loops over draws of its own."""
    s = model(x[None])[0]
    total = 0.0
    for draw in draws:
        noisy = torch.stack([x[i] + log_sigma[i].exp() * draw[i] for i in range(len(x))])
        total += float((model(noisy[None])[0] - s).square().mean() / s.square().mean())
    return total / len(draws) - rate * float(log_sigma.mean())


@torch.no_grad()
def test_the_loss_of_a_network_is_least_there():
    model, x = lstm(), normal(1, 5, 4)
    found = mutual_information_saliency(model, x, scale=4.0, samples=64, tolerance=0.005)
    best = math.log(4.0) - found.values[0]
    draws = normal(400, 5, 4, seed=5)
    draws = torch.cat([draws, -draws])
    least = slow_loss(model, x[0], best, 0.1, draws)
    for i in range(5):
        for change in (-0.5, 0.5):
            other = best.clone()
            other[i] += change
            if other[i] <= math.log(4.0):
                assert slow_loss(model, x[0], other, 0.1, draws) > least
    assert found.values[0, -1] > found.values[0, 1]  # the last word is fresh in memory


# Invariances


def test_inputs_do_not_know_of_each_other():
    model, x = lstm(), normal(3, 5, 4)
    together = mutual_information_saliency(model, x, steps=120).values
    for i in range(3):
        alone = mutual_information_saliency(model, x[i : i + 1], steps=120).values
        assert torch.allclose(together[i], alone[0], atol=1e-9)


def test_a_layer_is_the_state():
    inner = lstm()
    model = nn.Sequential(inner, nn.Linear(6, 2).double()).eval()
    x = normal(2, 5, 4)
    expected = mutual_information_saliency(inner, x, steps=60)
    found = mutual_information_saliency(model, x, layer="0", steps=60)
    assert torch.equal(found.values, expected.values)
    assert not any(module._forward_hooks for module in model.modules())


def test_it_counts_what_it_runs():
    seen = 0

    def phi(x):
        nonlocal seen
        seen += len(x)
        assert len(x) <= 6
        return x[:, 0]

    found = mutual_information_saliency(phi, normal(5, 2, 3), steps=60, batch_size=6)
    assert found.evaluations >= 5 + 8 * 5 * 50
    assert seen == found.evaluations + 5  # once more for the mean square of the state


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_values_have_the_type_of_the_input(dtype):
    phi, x = weighted(1.0, 0.25)
    found = mutual_information_saliency(phi, x.to(dtype), scale=2.0).values
    assert found.dtype == dtype
    assert float(found[0, 0] - found[0, 1]) == pytest.approx(math.log(4), abs=0.1)


def test_under_inference_mode():
    phi, x = weighted(1.0, 0.5)
    expected = mutual_information_saliency(phi, x, scale=2.0).values
    with torch.inference_mode():
        assert torch.equal(mutual_information_saliency(phi, x.clone(), scale=2.0).values, expected)


# Real networks


@pytest.fixture(scope="module")
def reader():
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    return reviews(200)


@torch.no_grad()
def test_a_reader_of_reviews_keeps_what_moves_its_state(reader):
    model, ids, texts = reader
    first = [i for i, text in enumerate(texts) if len(text) == 12][:6]
    x = model.embedding(ids[first, :12])
    mask = torch.ones(len(x), 12).bool()

    def state(x):
        there = mask[:1].expand(len(x), -1)
        states = model.encode(x, there)
        return (model.attend(states, there)[..., None] * states).sum(1)

    found = mutual_information_saliency(state, x, data=model.embedding(ids[:, :12]))
    assert found.values.min() >= 0
    draws = 0.05 * normal(64, 1, 24).float()
    moved = torch.zeros(len(x), 12)  # by a little noise on a word alone, which a linear state obeys
    for i in range(len(x)):
        for t in range(12):
            noisy = x[i].repeat(64, 1, 1)
            noisy[:, t] += draws[:, 0]
            moved[i, t] = (state(noisy) - state(x[i : i + 1])).square().mean()
    agree = [
        torch.corrcoef(torch.stack([a, b.log()]))[0, 1]
        for a, b in zip(found.values, moved, strict=True)
    ]
    assert torch.stack(agree).min() > 0.8


@pytest.mark.slow
def test_the_states_of_a_transformer_forget_from_layer_to_layer():
    """In one currency for all layers: the pooled state knows less of the words than the first."""
    if not os.environ.get("UNMASK_DATA"):
        pytest.skip("needs UNMASK_DATA")
    exhibit = zoo.sst2()
    model = exhibit.model
    ids = [one for one in exhibit.inputs if len(one) == 10][:4]
    x = model.embedding(torch.stack(ids)).detach() + model.position[:10].detach()

    class Rest(nn.Module):
        """What follows on the embeddings."""

        def __init__(self):
            super().__init__()
            self.layers, self.norm = model.layers, model.norm

        def forward(self, x):
            for layer in self.layers:
                x = layer(x, torch.ones(x.shape[:2]).bool())
            return self.norm(x).mean(1)

    rest, scale = Rest(), float(10 * x.std())
    kept = [
        mutual_information_saliency(rest, x, layer=name, scale=scale, steps=300).values.mean()
        for name in ("layers.0", "layers.1")
    ]
    pooled = mutual_information_saliency(rest, x, scale=scale, steps=300).values.mean()
    assert kept[0] > pooled
    assert kept[1] > pooled


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": torch.ones(2, 3, 4).long()}, TypeError, INTEGERS),
        ({"x": torch.ones(2, 3, 4) / 0}, ValueError, "finite"),
        ({"x": torch.ones(0, 3, 4)}, ValueError, "empty"),
        ({"x": torch.ones(2, 0, 4)}, ValueError, "no word"),
        ({"rate": 0.0}, ValueError, "noise worth nothing"),
        ({"scale": 0.0}, ValueError, "Noise of at most 0.0"),
        ({"samples": 3}, ValueError, "pairs of opposite sign"),
        ({"samples": 0}, ValueError, "pairs of opposite sign"),
        ({"steps": 0}, ValueError, "0 steps"),
        ({"tolerance": -1.0}, ValueError, "tolerance of at least 0"),
        ({"batch_size": 0}, ValueError, "batch of 0"),
        ({"layer": "rnn"}, TypeError, "looked for in a module"),
        ({"x": torch.ones(2, 3, 4)}, ValueError, "numbers of an input are equal"),
        ({"x": torch.zeros(2, 3, 4), "scale": 1.0}, ValueError, "state is zero"),
        ({"data": torch.ones(5, 3, 4)}, ValueError, "same for all of the data"),
    ],
)
def test_what_cannot_be_sought_is_refused(change, error, words):
    given = {"x": normal(2, 3, 4).float()} | change
    with pytest.raises(error, match=words):
        mutual_information_saliency(lambda x: x[:, 0], given.pop("x"), **given)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: torch.ones(len(x), 2), "does not depend on x"),
        (lambda x: x.detach()[:, 0], "does not depend on x"),
        (lambda x: x.sum(), "a row per input"),
        (lambda x: (x, x), "a row per input"),
        (lambda x: (x - x.amax() + 1e-9).sqrt()[:, 0], "not finite"),
    ],
)
def test_models_without_a_state_are_refused(model, words):
    with pytest.raises(ValueError, match=words):
        mutual_information_saliency(model, normal(2, 3, 4))


def test_an_exception_leaves_no_hook():
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Identity()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            self.first(x)
            raise RuntimeError("out of paper")

    model = Failing().eval()
    with pytest.raises(RuntimeError, match="out of paper"):
        mutual_information_saliency(model, normal(1, 2, 3), layer="first")
    assert not model.first._forward_hooks
    assert model.weight.requires_grad
