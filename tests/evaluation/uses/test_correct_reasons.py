import pytest
import torch

from shortcuts import (
    COLUMN,
    CORNER,
    by_integral,
    by_weights,
    convolutional,
    digits,
    linear,
    of_inputs,
    rows,
)
from unmask.evaluation import correct_reasons
from unmask.methods.saliency import right_reasons
from unmask.results import Attribution
from unmask.zoo.lenet import SmallLeNet
from unmask.zoo.training import fresh


def found(explain, **options):
    x, y = rows()
    settings = {"train": linear, "annotation": COLUMN} | options
    return correct_reasons(x, y, explain=explain, **settings)


def only(*columns):
    """An explanation that always shows the same columns."""

    def explain(score, x):
        values = torch.zeros_like(x)
        values[:, list(columns)] = 1
        return Attribution(values)

    return explain


def test_what_shows_the_patch_repairs_the_network():
    """The shade tells the class exactly, so the regression looks at nothing else."""
    numbers = found(by_weights).numbers
    assert numbers["recall"] == 1
    assert numbers["accuracy_with_mark"] == 1
    assert numbers["accuracy"] < 0.7
    assert numbers["gain"] == numbers["gain_of_all"] > 0.25
    assert numbers["accuracy_after"] == pytest.approx(numbers["accuracy"] + numbers["gain"])
    assert numbers["gain_low"] < numbers["gain"] < numbers["gain_high"]
    difference = numbers["gain"] - numbers["gain_by_chance"]
    assert numbers["gain_over_chance"] == pytest.approx(difference)


def test_what_does_not_show_it_repairs_nothing():
    numbers = found(only(1)).numbers
    assert numbers["recall"] == numbers["gain"] == 0
    assert numbers["accuracy_after"] == numbers["accuracy"]
    assert numbers["gain_of_all"] > 0.25


def test_only_what_was_shown_of_the_patch_is_rejected():
    asked = []

    def correct(x, y, rejected, generator):
        asked.append(rejected.tolist())
        return linear(x, y, generator)

    both = torch.tensor([True, True, False, False])
    numbers = found(only(0, 2), annotation=both, correct=correct, repeats=2).numbers
    assert numbers["recall"] == 0.5
    half, whole = [True, False, False, False], [True, True, False, False]
    assert half in asked
    assert whole in asked
    assert all(one in (half, whole, [False, True, False, False]) for one in asked)
    assert numbers["gain"] == 0  # this correction changes nothing


def test_an_explanation_that_ranks_nothing_shows_the_patch_by_chance_only():
    numbers = found(lambda score, x: Attribution(torch.ones_like(x)), repeats=40).numbers
    assert numbers["recall"] == pytest.approx(0.25, abs=0.21)  # three sd of 40 draws


def test_a_corrected_training_begins_like_the_first():
    seeds = []

    def train(x, y, generator):
        seeds.append(generator.initial_seed())
        return linear(x, y, generator)

    found(by_weights, train=train, repeats=2)
    first, second = seeds[:2]
    assert first != second
    assert set(seeds[2:]) == {first, second}


def test_what_is_rejected_is_exchanged_and_nothing_else():
    learned = []

    def train(x, y, generator):
        learned.append((x, y))
        return linear(x, y, generator)

    found(by_weights, train=train, repeats=2)
    (before, labels), (after, same) = learned[0], learned[2]
    assert torch.equal(labels, same)
    assert torch.equal(before[:, 1:], after[:, 1:])
    assert torch.equal(before[:, 0].sort().values, after[:, 0].sort().values)
    told = ((after[:, 0] == after[:, 0].max()) == (labels == 1)).double().mean()
    assert abs(float(told) - 0.5) < 0.2  # three sd of 63 rows


@pytest.mark.slow
def test_right_reasons_on_a_real_network():
    x, y = digits()

    def correct(x, y, rejected, generator):
        seed = int(torch.randint(2**31, (1,), generator=generator))
        return right_reasons(
            fresh(SmallLeNet, seed), x, labels=y, annotation=rejected, steps=60,
            minibatch=128, rate=4e-3, generator=generator,
        ).model  # fmt: skip

    numbers = correct_reasons(
        x, y, explain=by_integral, train=convolutional, annotation=CORNER, correct=correct,
        repeats=2, samples=32,
    ).numbers  # fmt: skip
    assert numbers["accuracy_with_mark"] > numbers["accuracy"] + 0.2
    assert numbers["recall"] > 9 / 64  # the share of the positions: what chance shows
    assert numbers["gain_of_all"] > 0


@pytest.mark.slow
def test_exchanging_on_a_real_network():
    x, y = digits()
    numbers = correct_reasons(
        x, y, explain=by_integral, train=convolutional, annotation=CORNER, repeats=2, samples=32
    ).numbers
    assert numbers["gain_of_all"] > numbers["gain"] > numbers["gain_by_chance"]
    assert correct_reasons(
        x, y, explain=of_inputs, train=convolutional, annotation=CORNER, repeats=2, samples=32
    ).numbers["gain"] == pytest.approx(0, abs=0.05)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3,\).* Give True"):
        found(by_weights, annotation=COLUMN[:3])
    with pytest.raises(ValueError, match=r"1 trainings.* Give repeats"):
        found(by_weights, repeats=1)
    with pytest.raises(TypeError, match="train returned a NoneType"):
        found(by_weights, train=lambda *_: None)
    with pytest.raises(TypeError, match="train returned a NoneType"):
        found(by_weights, correct=lambda *_: None)
