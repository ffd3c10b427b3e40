"""Every rule, on ratings that are made so that it applies, or just does not."""

import pytest
import torch

from unmask.results import Rating
from unmask.run.compare.comparison import Against, Metric
from unmask.run.compare.conclude import least
from unmask.run.compare.verdict import verdict

METRICS = (
    Metric("deletion", "exactness", False, "", tested=True),
    Metric("insertion", "exactness", True, "", tested=True),
    Metric("completeness_gap", "exactness", False, ""),
)
INPUTS = 12


def constant(value, better=True):
    return Rating(torch.full((INPUTS,), float(value)), better)


def ratings(**changes):
    found = {name: constant(0.0) for name in ("deletion", "insertion", "completeness_gap")}
    return found | changes


def beaten(deletion, insertion):
    return {
        "deletion": Against(1.0, 0.5, 1.5, deletion, INPUTS),
        "insertion": Against(1.0, 0.5, 1.5, insertion, INPUTS),
    }


def said(against=None, inputs=INPUTS, **changes):
    found = against or beaten(0.001, 0.001)
    return verdict(ratings(**changes), found, METRICS, inputs, 8)


def told(found):
    return tuple(remark.text for remark in found.remarks)


def randomized(alike, null):
    """Ratings of pairs of random models: similarities to them, and among them."""
    columns = torch.tensor([*alike, *null]).expand(INPUTS, -1)
    values = columns[:, : len(alike)].nanmean(1) - columns[:, len(alike) :].nanmean(1)
    return Rating(values, False, columns, torch.arange(float(columns.shape[1])))


def test_a_method_with_nothing_against_it():
    found = said()
    assert not found.excluded
    assert all(remark.good for remark in found.remarks)
    assert told(found) == (
        "Adds up to the difference of the score.",
        "Better than random attributions in all metrics of removal.",
    )


@pytest.mark.parametrize(
    ("gap", "sentence"),
    [
        (0.04, "Adds up to"),
        (0.12, "misses 12 % of"),
        (70.0, "misses many times of"),
    ],
)
def test_what_does_not_add_up(gap, sentence):
    found = said(completeness_gap=constant(gap, False))
    assert sentence in told(found)[0]
    assert not found.excluded


@pytest.mark.parametrize(
    ("p", "named", "excluded"),
    [
        ((0.2, 0.001), "in deletion.", False),
        ((0.2, 0.2), "in deletion and insertion.", True),
        ((float("nan"), 0.2), "in deletion and insertion.", True),
    ],
)
def test_what_random_numbers_do_as_well(p, named, excluded):
    found = said(beaten(*p))
    assert told(found)[-1] == f"Not distinguishable from random attributions {named}"
    assert found.excluded == excluded


@pytest.mark.parametrize(
    ("alike", "null", "sentence", "excluded"),
    [
        ((0.9, 0.95, 0.92), (0.0, 0.1, 0.05), "barely depends on the weights", True),
        ((0.4, 0.42, 0.38), (0.0, 0.02, 0.01), "only in part", True),
        ((0.6, 0.0, 0.3), (0.0, 0.0, 0.0), "Leaves the randomisation test open", False),
        ((0.05, 0.0, -0.05), (0.0, 0.0, 0.0), "Passes the randomisation test", False),
        ((0.5, 0.52, 0.51), (0.5, 0.5, 0.5), "Passes the randomisation test", False),
    ],
)
def test_the_randomisation_test(alike, null, sentence, excluded):
    found = said(randomization_excess=randomized(alike, null))
    assert sentence in told(found)[0]
    assert f"{sum(alike) / 3:.2f}" in told(found)[0]
    assert found.excluded == excluded


def test_many_inputs_do_not_make_few_random_models_sure():
    rating = randomized((0.6, 0.0, 0.3), (0.0, 0.0, 0.0))
    assert rating.interval()[0] > 0.1  # the interval over inputs would have been sure
    assert not said(randomization_excess=rating).excluded


def test_one_usable_random_model_passes_nobody():
    nan = float("nan")
    found = said(randomization_excess=randomized((0.05, nan, nan), (0.0, nan, nan)))
    assert told(found)[0].startswith("Leaves the randomisation test open (similarity 0.05")
    assert found.remarks[0].good is None


def test_what_says_nothing_and_what_moves():
    found = said(valid=Rating(torch.tensor([0.0, 0.0] + [1.0] * 10), True))
    assert told(found)[0].startswith("Says nothing of 17 % of the inputs")
    assert found.excluded
    assert "Unstable" in told(said(max_sensitivity=constant(0.8, False)))[0]
    assert "Unstable" not in " ".join(told(said(max_sensitivity=constant(0.4, False))))


def test_too_few_inputs_and_lacking_ratings():
    assert told(said(inputs=7)) == ("No verdict: 7 of the 8 inputs that it takes.",)
    found = said(completeness_gap=constant(float("nan")))
    assert told(found)[-1] == "Has no rating by completeness gap."


@pytest.mark.parametrize("methods", [1, 12, 36, 100])
def test_the_least_inputs_let_the_test_find_something(methods):
    inputs = least(methods)
    assert methods * 2.0**-inputs < 0.05
    assert inputs == 8 or methods * 2.0 ** -(inputs - 1) >= 0.05
