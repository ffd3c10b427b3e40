import os

import pytest
import torch
from hypothesis import given
from torch import nn

from strategies import networks, relu_network, tensors
from unmask import Players, log_odds, logit, loss, tokens
from unmask.methods.saliency import representation_erasure

REAL = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")


def convolutional(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            *(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)),
        )
    return model.double().eval()


@torch.no_grad()
def slow_values(model, place, target, x, units, erase):
    """Run the layers by hand up to a place, erase one unit of one input, run the rest."""
    rows = []
    for one, y in zip(x, target, strict=True):
        hidden = model[:place](one[None])
        whole = model[place:](hidden).log_softmax(1)[0, y]
        row = []
        for unit in range(units):
            left = hidden.clone()
            erase(left, unit)
            row.append(float(whole - model[place:](left).log_softmax(1)[0, y]))
        rows.append(row)
    return torch.tensor(rows).double()


def erase_first_axis(hidden, unit):
    hidden[:, unit] = 0


@pytest.mark.parametrize("batch_size", [None, 1, 4])
@pytest.mark.parametrize(("layer", "place", "units"), [(None, 0, 2), ("1", 2, 4), ("5", 6, 5)])
def test_values_follow_the_definition(layer, place, units, batch_size):
    model = convolutional()
    x = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(1)).double()
    target = torch.tensor([2, 0, 1])
    expected = slow_values(model, place, target, x, units, erase_first_axis)
    found = representation_erasure(loss(model, target), x, layer=layer, batch_size=batch_size)
    assert torch.allclose(found.values, -expected, atol=1e-10)  # a loss is minus a likelihood
    assert found.names == tuple(f"unit {i + 1}" for i in range(units))


@given(networks(), tensors(2, 4))
def test_columns_of_a_row(model, x):
    target = torch.tensor([0, 2])
    found = representation_erasure(loss(model, target), x)
    expected = slow_values(model, 0, target, x, 4, erase_first_axis)
    assert torch.allclose(found.values, -expected, atol=1e-9)


def test_a_linear_scorer():
    scorer = logit(lambda x: x @ torch.tensor([3.0, 1.0, -2.0]), 0)
    found = representation_erasure(scorer, torch.ones(1, 3))
    assert found.values.tolist() == [[3.0, 1.0, -2.0]]


def test_the_published_number_is_relative():
    """Log-likelihoods of -0.1 and -0.5 make -4, whichever the sign of the score."""
    score = logit(lambda x: x[:, 0] - 0.5, 0)
    x = torch.tensor([[0.4, 7.0]]).double()
    found = representation_erasure(score, x, relative=True)
    assert found.values[0].tolist() == [pytest.approx(-4.0), 0.0]
    turned = logit(lambda x: 0.5 - x[:, 0], 0)
    assert torch.allclose(representation_erasure(turned, x, relative=True).values, found.values)
    zero = torch.tensor([[0.4], [0.5]])
    with pytest.raises(ValueError, match="input 1 is exactly 0"):
        representation_erasure(score, zero, relative=True)
    assert torch.allclose(representation_erasure(score, zero).values, zero)


def test_a_unit_that_leads_nowhere_gets_exactly_nothing():
    model = relu_network([4, 6, 3], 0)
    with torch.no_grad():
        model[2].weight[:, 2] = 0
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    found = representation_erasure(log_odds(model, 1), x, layer="0")
    assert (found.values[:, 2] == 0).all()
    assert (found.values[:, [0, 1, 3, 4, 5]] != 0).any(0).all()


def test_what_is_zero_already_costs_nothing():
    model, seen = relu_network([4, 6, 3], 0), []
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    alive = int((model[:2](x) > 0).sum())
    handle = model.register_forward_pre_hook(lambda _m, given: seen.append(len(given[0])))
    found = representation_erasure(log_odds(model, 1), x, layer="1")
    handle.remove()
    assert sum(seen) == found.evaluations == 5 + alive
    assert ((found.values == 0) | (model[:2](x) > 0)).all()
    nothing = representation_erasure(log_odds(model, 1), 0 * x)
    assert nothing.values.abs().max() == 0
    assert nothing.evaluations == 5


class Bag(nn.Module):
    """A bag of embedded words."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)
        self.double().eval()

    def forward(self, ids):
        return self.head(self.embedding(ids).sum(1))


def test_dimensions_and_words_of_embeddings():
    model, ids = Bag(), torch.tensor([[1, 5, 8], [2, 2, 7]])
    vectors, weight = model.embedding.weight.detach(), model.head.weight.detach()
    score = logit(model, 1)
    dimensions = representation_erasure(score, ids, layer="embedding").values
    expected = vectors[ids].sum(1) * weight[1]
    assert torch.allclose(dimensions, expected.float(), atol=1e-6)
    words = representation_erasure(score, ids, layer="embedding", players=tokens("abc", 4))
    assert torch.allclose(words.values, (vectors[ids] @ weight[1]).float(), atol=1e-6)
    assert words.names == ("a", "b", "c")
    of_vectors = logit(lambda v: model.head(v.sum(1)), 1)
    direct = representation_erasure(of_vectors, vectors[ids])
    assert torch.allclose(direct.values, expected, atol=1e-12)


def test_a_layer_that_is_called_twice_is_erased_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.ReLU()

        def forward(self, x):
            return self.gate(x).sum(1) + 10 * self.gate(-x).sum(1)

    x = torch.tensor([[1.0, -2.0]])
    found = representation_erasure(logit(Twice(), 0), x, layer="gate")
    assert found.values.tolist() == [[1.0, 20.0]]
    assert found.evaluations == 1 + 2


def test_positions_of_nobody_stay():
    players = Players(torch.tensor([0, -1, 0]), ("pair",))
    score = logit(lambda x: x.sum(1), 0)
    found = representation_erasure(score, torch.tensor([[1.0, 2.0, 4.0]]), players=players)
    assert found.values.tolist() == [[5.0]]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_each_input_has_its_own_class(batch_size):
    model = relu_network([4, 6, 3], 0)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double()
    target = torch.tensor([2, 0, 1])
    whole = representation_erasure(log_odds(model, target), x, layer="1", batch_size=batch_size)
    for i in range(3):
        alone = representation_erasure(log_odds(model, int(target[i])), x[i : i + 1], layer="1")
        assert torch.allclose(whole.values[i], alone.values[0], atol=1e-12)


def test_no_hook_is_left_behind():
    model = relu_network([4, 6, 3], 0)
    calls = []

    def breaks(module, given, output):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("broken")

    x = torch.ones(2, 4).double()
    handle = model[2].register_forward_hook(breaks)
    with pytest.raises(RuntimeError, match="broken"):
        representation_erasure(log_odds(model, 1), x, layer="0")
    handle.remove()
    assert not any(module._forward_hooks for module in model.modules())


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.idle, self.rnn = nn.Identity(), nn.Identity(), nn.LSTM(3, 3)

    def forward(self, x):
        self.rnn(x)
        return self.inner(x.T).T.sum(1)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"x": torch.zeros(0, 3)}, ValueError, "batch is empty"),
        ({"x": torch.full((1, 3), torch.nan)}, ValueError, "must be finite"),
        ({"x": torch.tensor([[1, 2, 3]])}, TypeError, "layer that embeds them"),
        ({"batch_size": 0}, ValueError, "batch of 0"),
        ({"layer": "outer"}, ValueError, "'outer' is not in the model"),
        ({"layer": "idle"}, ValueError, "'idle' takes no part"),
        ({"layer": "inner"}, ValueError, r"put out shape \(3, 2\) for 2 inputs"),
        ({"layer": "rnn"}, TypeError, "not one tensor"),
        (
            {"players": tokens("ab")},
            ValueError,
            r"shape \(2,\), but what is erased has shape \(3,\)",
        ),
        ({"score": logit(lambda x: x, 0), "layer": "inner"}, TypeError, "needs the layers"),
        ({"score": logit(lambda x: x, 3)}, ValueError, "Class 3 is out of range"),
        ({"score": logit(lambda x: x, torch.tensor([0]))}, ValueError, "of 1 inputs.*holds 2"),
        ({"score": logit(lambda x: x / 0, 0)}, ValueError, "of 2 of 2 changed inputs"),
    ],
)
def test_what_cannot_be_erased_is_refused(options, error, words):
    given = {"score": logit(Odd().eval(), 0), "x": torch.ones(2, 3)} | options
    with pytest.raises(error, match=words):
        representation_erasure(given.pop("score"), given.pop("x"), **given)


@pytest.mark.oracle
def test_captum_agrees():
    attr = pytest.importorskip("captum.attr")
    model = convolutional()
    x = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(1)).double()
    groups = torch.arange(4).view(1, 4, 1, 1).expand(1, 4, 5, 5)
    theirs = attr.LayerFeatureAblation(model, model[1]).attribute(x, target=2, layer_mask=groups)
    found = representation_erasure(logit(model, 2), x, layer="1")
    assert torch.allclose(found.values.float(), theirs[:, :, 0, 0].float(), atol=1e-6)


def test_a_digit_and_a_tumour():
    from unmask.zoo import breast_cancer, digits

    exhibit = digits()
    x = torch.stack(exhibit.inputs[:10])
    name = [n for n, m in exhibit.model.named_modules() if isinstance(m, nn.Linear)][-1]
    target = torch.tensor(exhibit.labels[:10])
    found = representation_erasure(log_odds(exhibit.model, target), x, layer=name)
    # Of the logits themselves the one that is erased is either the class's own or another's.
    own = found.values.gather(1, target[:, None])
    assert (own > 0).float().mean() > 0.8
    exhibit = breast_cancer()
    x = torch.stack(exhibit.inputs[:10])
    hidden = [n for n, m in exhibit.model.named_modules() if isinstance(m, nn.ReLU)]
    layer = hidden[0] if hidden else "0"
    found = representation_erasure(log_odds(exhibit.model, 0), x, layer=layer)
    assert found.values.isfinite().all()
    assert found.values.abs().max() > 0.1


@REAL
@pytest.mark.slow
def test_words_of_a_review():
    from unmask.zoo import sst2

    exhibit = sst2()
    ids = exhibit.inputs[0][None]
    width = exhibit.model.embedding.embedding_dim
    words = tokens(ids.shape[1], width)
    found = representation_erasure(
        log_odds(exhibit.model, 1), ids, layer="embedding", players=words
    )
    assert found.values.shape == (1, ids.shape[1])
    kept = []
    handle = exhibit.model.embedding.register_forward_hook(
        lambda _m, _i, out: out * (torch.arange(ids.shape[1]) != 2)[:, None]
    )
    with torch.no_grad():
        kept.append(log_odds(exhibit.model, 1)(ids))
    handle.remove()
    with torch.no_grad():
        drop = log_odds(exhibit.model, 1)(ids) - kept[0]
    assert found.values[0, 2].item() == pytest.approx(drop.item(), abs=1e-4)


@pytest.mark.gpu
def test_values_stay_on_their_device():
    model = convolutional()
    x = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(1)).double()
    expected = representation_erasure(logit(model, 2), x, layer="1").values
    found = representation_erasure(logit(model.cuda(), 2), x.cuda(), layer="1").values
    assert found.is_cuda
    assert torch.allclose(found.cpu(), expected, atol=1e-9)
