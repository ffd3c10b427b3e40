import math
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strategies import networks, relu_network, tensors
from unmask import Players, features, log_odds, logit, patches, probability
from unmask.methods.saliency import (
    feature_omission,
    information_difference,
    probability_difference,
)

REAL = pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
TYPED = "|Type-check error"  # where types are checked at run time, that comes first
THREE = (feature_omission, information_difference, probability_difference)


def measured(p, without, trained_on, classes):
    """The three measures of two probabilities, written out."""
    if trained_on is None:
        a, b = p, without
    else:
        a, b = ((q * trained_on + 1) / (trained_on + classes) for q in (p, without))
    odds = math.log2(a / (1 - a)) - math.log2(b / (1 - b))
    return odds, math.log2(a) - math.log2(b), p - without


def slow_values(model, target, x, data, groups, trained_on):
    """The definition: every row of the data lends each feature its value, one after the other."""
    found = []
    for one in x:
        p = model(one[None]).softmax(1)[0, target].item()
        row = []
        for group in groups:
            without = 0.0
            for other in data:
                changed = one.clone()
                for column in group:
                    changed[column] = other[column]
                without += model(changed[None]).softmax(1)[0, target].item() / len(data)
            row.append(measured(p, without, trained_on, 3))
        found.append(row)
    return torch.tensor(found, dtype=torch.float64).unbind(-1)


@settings(max_examples=15)
@given(networks(), tensors(2, 4), tensors(6, 4), st.sampled_from([1, 3, None]), st.booleans())
def test_values_follow_the_definition(model, x, data, batch_size, grouped):
    groups = [[0, 2], [1], [3]] if grouped else [[0], [1], [2], [3]]
    players = features(4, {"a": [0, 2]}) if grouped else None
    given = {"data": data, "players": players, "bins": None, "batch_size": batch_size}
    expected = slow_values(model, 1, x, data, groups, 50)
    score = log_odds(model, 1)
    for i, method in enumerate(THREE):
        options = {} if method is probability_difference else {"trained_on": 50}
        found = method(score, x, **given, **options)
        assert torch.allclose(found.values, expected[i], atol=1e-9)
        assert found.names == (players.names if players else None)


def of_probability(p):
    """A model that believes p of its second class wherever the first column says 1, and 1/9 of
    that in odds where it says 0 for p = 0.9."""
    return log_odds(lambda x: (2 * x[:, :1] - 1) * math.log(p / (1 - p)), 1)


def test_the_numbers_of_the_paper():
    """p = 0.9 with the feature, 0.5 without."""
    score, x = of_probability(0.9), torch.ones(1, 2).double()
    data = torch.tensor([[1.0, 3.0], [0.0, 4.0]]).double()
    bits = [
        feature_omission(score, x, data=data, trained_on=math.inf),
        information_difference(score, x, data=data, trained_on=math.inf),
        probability_difference(score, x, data=data),
    ]
    expected = (3.169925001, 0.847996907, 0.4)
    for found, number in zip(bits, expected, strict=True):
        assert found.values[0].tolist() == [pytest.approx(number, abs=1e-9), 0.0]


def test_certainty_is_corrected_after_laplace():
    """p = 1 of 100 rows in 2 classes counts as 101 / 102, and 1 - p as 1 / 102."""
    x = torch.ones(1, 1).double()
    data = torch.tensor([[1.0], [0.0]]).double()
    score = log_odds(lambda x: 1000 * (2 * x - 1), 1)
    found = information_difference(score, x, data=data, trained_on=100)
    assert found.values.item() == pytest.approx(math.log2(0.990196078 / 0.5), abs=1e-8)
    woe = feature_omission(score, x, data=data, trained_on=100)
    assert woe.values.item() == pytest.approx(math.log2(101), abs=1e-12)
    by_rows = feature_omission(score, x, data=data.repeat(50, 1))
    assert by_rows.values.item() == pytest.approx(math.log2(101), abs=1e-12)
    for method in (feature_omission, information_difference):
        broken = score if method is feature_omission else log_odds(lambda x: -1000 * x, 1)
        with pytest.raises(ValueError, match=r"exactly 0 or 1 for 1 of 1 values.*trained_on"):
            method(
                broken,
                x,
                data=data[:1] * 0 + 2 * (method is not feature_omission),
                trained_on=math.inf,
            )


def test_correction_knows_the_number_of_classes():
    model = relu_network([2, 5, 7], 0)
    x, data = torch.ones(1, 2).double(), torch.zeros(3, 2).double()
    both = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).double()
    a, b = ((model(both).softmax(1)[:, 4] * 20 + 1) / (20 + 7)).tolist()
    found = feature_omission(log_odds(model, 4), x, data=data, trained_on=20).values[0, 0]
    assert found.item() == pytest.approx(math.log2(a / (1 - a)) - math.log2(b / (1 - b)))


def test_evidence_stays_exact_where_the_model_is_certain():
    """Odds of e^60 to e^30: a probability in double precision is 1 in both."""
    x, data = torch.tensor([[60.0]]).double(), torch.tensor([[60.0]]).double()
    score = log_odds(lambda x: x, 1)
    assert feature_omission(score, x, data=data, trained_on=math.inf).values.item() == 0.0
    low = feature_omission(score, -x, data=-x / 2, trained_on=math.inf).values.item()
    assert low == pytest.approx(-30 / math.log(2), rel=1e-9)


def test_frequencies_count_and_the_own_value_costs_nothing():
    seen = []

    def model(x):
        seen.append(len(x))
        return x[:, :1] * 2.0

    data = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).double()
    found = probability_difference(log_odds(model, 1), data[:1], data=data)
    low, high = (1 / (1 + math.exp(s)) for s in (2, -2))
    assert found.values[0].tolist() == [pytest.approx(high - (0.75 * high + 0.25 * low)), 0.0]
    assert sum(seen) == found.evaluations == 2


def test_columns_of_many_values_are_cut_into_bins_of_equal_frequency():
    """A linear probability would be averaged exactly; with ten bins each is asked once."""
    seen = []

    def model(x):
        seen.append(x.clone())
        return x

    data = torch.arange(1000.0)[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    x = torch.tensor([[7.5]])
    probability_difference(log_odds(model, 1), x, data=data[:, None])
    asked = torch.cat(seen[1:]).sort(0).values[:, 0]
    assert asked.tolist() == [99.5 / 2 + 100 * i - 0.25 for i in range(10)]
    assert asked.tolist() == [49.5 + 100 * i for i in range(10)]


@pytest.mark.parametrize(
    ("zeros", "bins", "expected", "shares"),
    [
        # By the middle of its ranks the zero, at 35 of 100, belongs to the second quarter of four.
        (70, 4, [0.0, 3.0, 18.0], [0.70, 0.05, 0.25]),
        # Ranks 45 to 100 have their middle in the upper half.
        (-55, 2, [-23.0, 0.0], [0.45, 0.55]),
    ],
)
def test_equal_values_stay_in_one_bin(zeros, bins, expected, shares):
    seen = []

    def model(x):
        seen.append(x.clone())
        return x * 1.0

    others = torch.arange(1.0, 101 - abs(zeros))
    data = torch.cat([torch.zeros(abs(zeros)), others if zeros > 0 else -others])[:, None]
    x = torch.tensor([[-300.0]])
    found = probability_difference(log_odds(model, 1), x, data=data / 100, bins=bins)
    assert torch.cat(seen[1:])[:, 0].tolist() == pytest.approx([a / 100 for a in expected])
    p = [1 / (1 + math.exp(-a / 100)) for a in expected]
    without = sum(w * q for w, q in zip(shares, p, strict=True))
    assert found.values.item() == pytest.approx(-without, abs=1e-6)


@given(networks(), tensors(2, 4), tensors(5, 4))
def test_a_feature_that_the_model_does_not_look_at_gets_exactly_nothing(model, x, data):
    blind = log_odds(lambda x: model(torch.cat([x[:, :3], 0 * x[:, 3:]], 1)), 0)
    for method in THREE:
        assert method(blind, x, data=data).values[:, 3].abs().max() <= 1e-12


def test_one_hot_columns_are_left_out_together():
    """Categories (1, 0, 0), ...: taken alone, columns would make rows of no or two categories."""
    data = torch.eye(3).double()[[0, 0, 1, 2]]
    seen = []

    def model(x):
        seen.append(x.clone())
        return x @ torch.tensor([[1.0], [2.0], [3.0]]).double()

    players = features(3, {"kind": [0, 1, 2]})
    found = feature_omission(log_odds(model, 1), data[:1], data=data, players=players)
    assert torch.cat(seen).sum(1).unique().tolist() == [1.0]
    assert found.values.shape == (1, 1)
    assert found.names == ("kind",)


def test_pixels_in_patches_and_positions_of_nobody():
    x, data = torch.ones(2, 1, 4, 4).double(), torch.zeros(3, 1, 4, 4).double()
    score = log_odds(lambda x: x.flatten(1).sum(1) / 8, 1)
    players = patches((1, 4, 4), (2, 2))
    found = probability_difference(score, x, data=data, players=players)
    expected = 1 / (1 + math.exp(-2)) - 1 / (1 + math.exp(-1.5))
    assert found.values.shape == (2, 4)
    assert torch.allclose(found.values, torch.tensor(expected).double())
    single = probability_difference(score, x, data=data)
    assert single.values.shape == x.shape
    some = Players(torch.where(players.owner > 0, -1, 0), ("corner",))
    alone = probability_difference(score, x, data=data, players=some)
    assert alone.values.flatten().tolist() == pytest.approx([expected] * 2)


def test_many_inputs_are_taken_in_parts(monkeypatch):
    module = __import__("sys").modules["unmask.methods.saliency.removal.feature_omission"]
    model, generator = relu_network([4, 8, 3], 0), torch.Generator().manual_seed(0)
    x, data = (torch.randn(n, 4, generator=generator).double() for n in (7, 30))
    score = log_odds(model, torch.tensor([0, 1, 2, 0, 1, 2, 0]))
    whole = feature_omission(score, x, data=data)
    monkeypatch.setattr(module, "_MARKS", 100)
    parts = feature_omission(score, x, data=data)
    assert torch.allclose(whole.values, parts.values, atol=1e-10)
    assert whole.evaluations == parts.evaluations == 7 + 7 * 4 * 10
    for i in range(7):
        alone = feature_omission(log_odds(model, i % 3), x[i : i + 1], data=data)
        assert torch.allclose(alone.values[0], whole.values[i], atol=1e-10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": torch.zeros(0, 3)}, r"data has shape \(0, 3\).*at least one row"),
        ({"data": torch.zeros(2, 4)}, r"\(2, 4\), but an input \(3,\)" + TYPED),
        ({"data": torch.full((2, 3), torch.nan)}, "data must be finite"),
        ({"players": features(4)}, r"positions of shape \(4,\)"),
        ({"bins": 0}, "cut into 0 bins"),
        ({"trained_on": 0}, "trained on 0"),
        ({"trained_on": math.nan}, "trained on nan"),
        ({"batch_size": 0}, "batch of 0"),
        ({"x": torch.zeros(0, 3)}, "batch is empty"),
        ({"x": torch.full((1, 3), torch.inf)}, "input must be finite"),
        ({"score": probability(nn.Linear(3, 2), 0)}, "makes probabilities.*log_odds"),
        ({"score": log_odds(nn.Linear(3, 2), torch.tensor([0, 1]))}, "of 2 inputs.*holds 1"),
        ({"score": logit(lambda x: x[:, 0] / 0, 0)}, "of 1 of 1 changed inputs"),
        ({"score": log_odds(nn.BatchNorm1d(3).train(), 0)}, "in training mode"),
    ],
)
def test_what_cannot_be_omitted_is_refused(options, words):
    given = {
        "score": log_odds(nn.Linear(3, 2), 0),
        "x": torch.ones(1, 3),
        "data": torch.zeros(2, 3),
    }
    given |= options
    with pytest.raises((ValueError, TypeError), match=words):
        feature_omission(given.pop("score"), given.pop("x"), **given)


def test_tumours():
    """What speaks for a tumour in bits agrees in sign with what it adds to the probability."""
    from unmask.zoo import breast_cancer

    exhibit = breast_cancer()
    x = torch.stack(exhibit.inputs[:8])
    data = torch.stack(exhibit.inputs[8:])
    score = log_odds(exhibit.model, 0)
    players = exhibit.players(0)
    bits = feature_omission(score, x, data=data, players=players)
    share = probability_difference(score, x, data=data, players=players)
    assert bits.values.shape == (8, 10)
    assert (bits.values.sign() == share.values.sign()).all()
    malignant = torch.stack([feature.sum() for feature in bits.values])
    with torch.no_grad():
        v = score(x)
    assert (malignant.sign() == v.sign()).float().mean() > 0.8


@REAL
@pytest.mark.slow
def test_census():
    """A game of one feature: married people earn more, says the model, with no other column."""
    from unmask.zoo import adult

    exhibit = adult()
    x = torch.stack(exhibit.inputs)
    players = exhibit.players(0)
    found = feature_omission(log_odds(exhibit.model, 1), x[:20], data=x, players=players)
    assert found.values.shape == (20, len(players.names))
    capital = players.names.index("capital gain")
    rich = x[:20, players.owner == capital][:, 0] > x[:, players.owner == capital].min()
    assert (found.values[rich, capital] > 1).all()
    assert (found.values[~rich, capital] < 0).all()


@pytest.mark.gpu
def test_values_stay_on_their_device():
    model, generator = relu_network([4, 8, 3], 0), torch.Generator().manual_seed(0)
    x, data = (torch.randn(n, 4, generator=generator).double() for n in (7, 30))
    expected = feature_omission(log_odds(model, 1), x, data=data)
    found = feature_omission(log_odds(model.cuda(), 1), x.cuda(), data=data.cuda())
    assert found.values.is_cuda
    assert torch.allclose(found.values.cpu(), expected.values, atol=1e-9)
