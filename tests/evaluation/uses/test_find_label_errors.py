import math

import pytest
import torch
from torch import nn

from exhibits import exhibit
from shortcuts import Largest, by_integral, by_weights, convolutional, digits, linear, rows
from unmask.evaluation import find_label_errors, label_errors_found
from unmask.evaluation.uses.find_label_errors import _found, mislabelled, strangeness
from unmask.results import Attribution


def slowly(values, labels, k):
    """The formula, with loops."""

    def cosine(a, b):
        length = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / length

    found = []
    for i, (row, label) in enumerate(zip(values, labels, strict=True)):
        means = {}
        for same in (True, False):
            near = sorted(
                cosine(row, other)
                for j, other in enumerate(values)
                if j != i and (labels[j] == label) == same
            )[-k:]
            means[same] = sum(near) / len(near)
        found.append(means[False] - means[True])
    return found


@pytest.mark.parametrize("k", [1, 3, 50])
def test_slow_twin(k):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    labels = torch.arange(20) % 3
    expected = slowly(values.tolist(), labels.tolist(), k)
    assert strangeness(values, labels, k).tolist() == pytest.approx(expected, abs=1e-12)


def test_blocks_change_nothing(monkeypatch):
    values = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    whole = strangeness(values, torch.arange(20) % 3, 2)
    monkeypatch.setitem(strangeness.__globals__, "_BLOCK", 1)
    assert torch.allclose(strangeness(values, torch.arange(20) % 3, 2), whole)


def test_who_is_alone_with_a_label_is_unlike_it():
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    found = strangeness(rows, torch.tensor([0, 0, 1, 1]), 1)
    assert found.tolist() == [0.0, 0.0, 1.0, 0.0]
    assert strangeness(rows[:3], torch.tensor([0, 0, 1]), 1)[2] == 2  # 1 - (-1)


def test_labels_are_made_wrong():
    labels = torch.arange(200) % 4
    given, wrong = mislabelled(labels, 4, 0.1, torch.Generator().manual_seed(0))
    assert int(wrong.sum()) == 20
    assert torch.equal(given != labels, wrong)
    assert set((given - labels)[wrong].remainder(4).tolist()) == {1, 2, 3}


def test_the_curve_counts_wrong_labels_by_hand():
    ranked = torch.tensor([True, False, True, False, False, True, False, False, False, True])
    at = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.6, 1.0], dtype=torch.float64)
    curve = _found(ranked, at)
    assert curve.tolist() == [0, 1 / 4, 2 / 4, 2 / 4, 3 / 4, 1]  # of the four wrong ones


def test_the_model_is_asked_for_all_classes_and_not_for_the_label():
    """Explanations of an input do not change with the label that is in doubt."""
    x, y = rows(20)
    asked = []

    def explain(score, x):
        asked.append((score.name, score.targets, len(x)))
        return Attribution(x)

    find_label_errors(linear(x, y, None), x, labels=y, explain=explain, batch_size=12)
    assert asked == [
        (f"log-odds of class {target}", None, count) for target in (0, 1) for count in (12, 8)
    ]


def test_the_ranking_is_by_strangeness():
    x, y = rows(40)
    model = linear(x, y, None)
    result = find_label_errors(model, x, labels=y, explain=by_weights)
    assert result.index.shape == result.weight.shape == (1, 40)
    assert sorted(result.index[0].tolist()) == list(range(40))
    said = by_weights(type("Of", (), {"model": model}), x).values.detach()
    expected = slowly(torch.cat([said, said], 1).tolist(), y.tolist(), 5)
    assert result.weight[0].tolist() == pytest.approx(sorted(expected, reverse=True), abs=1e-5)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_wrong_labels_of_real_data_come_first(name):
    of = exhibit(name)
    x, labels = torch.stack(of.inputs), torch.tensor(of.labels)
    given, wrong = mislabelled(labels, len(of.classes), 0.1, torch.Generator().manual_seed(0))
    ranked = find_label_errors(of.model, x, labels=given, explain=by_integral).index[0]
    first = wrong[ranked[: int(wrong.sum())]].double().mean()
    assert float(first) > 0.7  # by chance 0.1; this network has not seen the wrong labels


@pytest.mark.slow
def test_explanations_of_a_trained_network_find_wrong_labels():
    x, y = digits()
    result = label_errors_found(x, y, explain=by_integral, train=convolutional, repeats=2)
    numbers = result.numbers
    assert numbers["found"] > 0.85
    assert numbers["found_by_chance"] == pytest.approx(0.1, abs=0.07)  # three sd of 2 x 126
    assert numbers["found_by_inputs"] > 0.85  # neighbours in pixels do as well, without a network
    assert numbers["advantage"] == pytest.approx(
        numbers["found"] - max(numbers["found_by_loss"], numbers["found_by_inputs"]), abs=0.02
    )  # of the means; the mean of the differences may be smaller
    assert numbers["gain"] > numbers["gain_by_chance"]
    for name in ("found", "found_by_loss", "found_by_inputs", "found_by_chance"):
        curve = result.curves[name]
        assert curve[0] == 0
        assert curve[-1] == 1
        assert (curve.diff() >= 0).all()


def test_removing_the_wrong_ones_trains_on_the_right_ones():
    x, y = rows(100)
    learned = []

    def train(x, y, generator):
        learned.append((x, y))
        return linear(x, y, generator)

    label_errors_found(x, y, explain=by_weights, train=train, repeats=2)
    assert len(learned) == 2 * (1 + 5)
    assert [len(labels) for _, labels in learned[:6]] == [70] + [63] * 5
    kept_x, kept_y = learned[5]  # by truth
    assert torch.equal(kept_y, (kept_x[:, 1] + 0.1 * kept_x[:, 3] > 0).long())


def test_batches_bound_what_the_network_is_given():
    x, y = rows(30)
    model = Largest(linear(x, y, None))

    def explain(score, x):
        return Attribution(x * score(x)[:, None])

    find_label_errors(model, x, labels=y, explain=explain, batch_size=7)
    assert max(model.seen) == 7


def test_half_precision():
    x, y = rows(40)
    result = find_label_errors(linear(x.half(), y, None), x.half(), labels=y, explain=by_weights)
    assert result.weight.dtype == torch.float32
    assert result.weight.isfinite().all()


def test_an_exception_leaves_the_network_as_it_was():
    x, y = rows(20)
    model = nn.Sequential(linear(x, y, None))

    def fails(score, x):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        find_label_errors(model, x, labels=y, explain=fails)
    assert not model._forward_hooks


def test_bad_input_is_refused():
    x, y = rows(20)
    model = linear(x, y, None)
    with pytest.raises(ValueError, match=r"0 neighbours.* Give at least 1"):
        find_label_errors(model, x, labels=y, explain=by_weights, neighbours=0)
    with pytest.raises(ValueError, match="one class per input"):
        find_label_errors(model, x, labels=y[:-1], explain=by_weights)
    for share in (0.0, 0.5, -0.1):
        with pytest.raises(ValueError, match=rf"share of {share} of wrong.* Give a share"):
            label_errors_found(x, y, explain=by_weights, train=linear, share=share)
    with pytest.raises(ValueError, match=r"1 trainings.* Give repeats"):
        label_errors_found(x, y, explain=by_weights, train=linear, repeats=1)


def test_an_explanation_may_take_gradients_of_its_own():
    x, y = rows()

    def slope(score, x):
        x = x.clone().requires_grad_()
        (found,) = torch.autograd.grad(score(x).sum(), x)
        return Attribution(found * x.detach())

    found = label_errors_found(x, y, explain=slope, train=linear, repeats=2)
    assert 0 <= found.numbers["found"] <= 1


def test_a_model_whose_answers_hang_on_the_batch_is_refused():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)).train()
    with pytest.raises(ValueError, match="in training mode"):
        find_label_errors(
            model,
            torch.randn(8, 2, generator=torch.Generator().manual_seed(0)),
            labels=torch.arange(8) % 2,
            explain=lambda score, x: Attribution(x),
        )
    assert int(model[0].num_batches_tracked) == 0
