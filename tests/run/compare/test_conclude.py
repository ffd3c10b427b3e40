"""Whom a comparison recommends, from ratings that are written down."""

import pytest
import torch

from unmask.results import Attribution, Rating
from unmask.run.compare.comparison import Cost, Metric, Subject
from unmask.run.compare.conclude import conclude
from unmask.run.compare.record import About
from unmask.run.compare.work import Report

INPUTS, METHODS = 12, ("first", "second", "third")
METRICS = (
    Metric("insertion", "exactness", True, "", bounds=(0.0, 1.0)),
    Metric("insertion_refilled", "exactness", True, "", bounds=(0.0, 1.0)),
)


def concluded(one, other, inputs=INPUTS):
    """Of methods with these ratings of every input, under one filling and the other."""
    x = torch.zeros(inputs, 2)
    subject = Subject(
        *("logit", tuple(map(str, range(inputs))), ("a", "b"), torch.arange(2)),
        *(x, torch.zeros(2), x, torch.zeros(inputs)),
    )
    cost = Cost(dict.fromkeys(METHODS, 1.0), dict.fromkeys(METHODS, 1.0), inputs)
    about = About({}, {}, METHODS, ("random",), METRICS, {}, cost, fillings=("zeros", "blur"))
    reports = []
    for name, *values in zip((*METHODS, "random"), (*one, 0.0), (*other, 0.0), strict=True):
        kept = (Rating(torch.full((inputs,), value), True) for value in values)
        named = dict(zip(("insertion", "insertion_refilled"), kept, strict=True))
        reports.append(Report(name, Attribution(x), named, (), 0))
    return conclude(about, subject, reports, None)


def test_the_first_under_both_fillings_is_recommended():
    found = concluded((0.9, 0.6, 0.3), (0.8, 0.7, 0.1))
    assert found.order == METHODS
    assert found.recommended == ("first",)
    assert found.fillings.correlation == 1
    assert found.notes == ()


# Ranks 1, 2, 3 under the one. Under the other 2, 3, 1: rho = 1 - 6 (1 + 1 + 4) / (3 (9 - 1)); in
# the second case 1, 3, 2: 1 - 6 (0 + 1 + 1) / 24, just enough.
@pytest.mark.parametrize(
    ("other", "correlation", "recommended"),
    [((0.6, 0.3, 0.9), -0.5, ()), ((0.9, 0.3, 0.6), 0.5, ("first",))],
)
def test_an_order_that_hangs_on_the_filling_recommends_nobody(other, correlation, recommended):
    found = concluded((0.9, 0.6, 0.3), other)
    assert found.fillings.correlation == pytest.approx(correlation)
    assert found.order[0] == "first"
    assert found.recommended == recommended
    flipped = [note for note in found.notes if "depends on what stands for a removed part" in note]
    assert len(flipped) == (not recommended)
    for note in flipped:
        assert "(zeros or blur: rank correlation -0.50)" in note


def test_too_few_inputs_recommend_nobody():
    found = concluded((0.9, 0.6, 0.3), (0.8, 0.7, 0.1), inputs=7)
    assert found.order == METHODS
    assert found.recommended == ()
    assert any("7 inputs are too few for a verdict on 3 methods" in note for note in found.notes)


def test_methods_alike_are_not_told_apart():
    found = concluded((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert found.recommended == ()
    assert "These inputs do not tell the methods apart: none is recommended." in found.notes
