import pytest
import torch
from sklearn.metrics import roc_auc_score

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
from unmask.evaluation import spot_shortcuts
from unmask.results import Attribution


def found(explain, **options):
    x, y = rows()
    settings = {"train": linear, "annotation": COLUMN} | options
    return spot_shortcuts(x, y, explain=explain, **settings)


def at_random(score, x):
    seed = int((score.model[0].weight.abs().sum() + x.abs().sum()) * 1e5)
    return Attribution(torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)))


def test_integrated_gradients_detect_a_corner():
    """The acceptance of the specification: 1.0 on a convolutional network."""
    x, y = digits()
    result = spot_shortcuts(
        x, y, explain=by_integral, train=convolutional, annotation=CORNER, samples=32
    )
    assert result.numbers["detection"] == 1
    assert result.numbers["accuracy_with_mark"] > result.numbers["accuracy"] + 0.2
    assert result.numbers["networks"] == 6
    assert (result.curves["with_shortcut"] > 0.5).all()
    assert (result.curves["without_shortcut"] < 0.5).all()


def test_what_looks_at_no_network_detects_nothing():
    numbers = found(of_inputs, repeats=4).numbers
    assert numbers["detection"] == pytest.approx(0.5, abs=1e-12)


def test_random_explanations_detect_nothing():
    numbers = found(at_random, repeats=40, samples=8).numbers
    # AUROC of 40 against 40 has a standard deviation of sqrt(81 / (12 * 1600)) = 0.065.
    assert numbers["detection"] == pytest.approx(0.5, abs=0.2)
    assert numbers["detection_low"] < 0.5 < numbers["detection_high"]


def test_the_auroc_is_that_of_scikit_learn():
    result = found(at_random, repeats=7)
    one, other = result.curves["with_shortcut"], result.curves["without_shortcut"]
    expected = roc_auc_score([1] * 7 + [0] * 7, torch.cat([one, other]).tolist())
    assert result.numbers["detection"] == pytest.approx(expected, abs=1e-12)


def test_the_opposite_of_an_explanation_detects_the_opposite():
    def turned(score, x):
        return Attribution(1 / (score.model[0].weight[0].abs() + 1e-3).expand(x.shape))

    assert found(by_weights).numbers["detection"] == 1
    assert found(turned).numbers["detection"] == 0


def test_types_and_batches():
    whole = found(by_weights)
    assert found(by_weights, batch_size=7).numbers == pytest.approx(whole.numbers)
    other = found(by_weights, generator=torch.Generator().manual_seed(5))
    assert other.numbers["accuracy"] != whole.numbers["accuracy"]
    x, y = rows()
    half = spot_shortcuts(x.bfloat16(), y, explain=by_weights, train=linear, annotation=COLUMN)
    assert half.numbers["detection"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"annotation": COLUMN[:3]}, r"shape \(3,\).* Give True"),
        ({"annotation": COLUMN & False}, "covers 0 of 4.* Annotate some"),
        ({"annotation": COLUMN | True}, "covers 4 of 4.* Annotate some"),
        ({"purity": 0.0}, "share of 0.0.* Give a purity"),
        ({"repeats": 1}, "1 trainings.* Give repeats"),
        ({"batch_size": 0}, "batch of 0.* Give at least 1"),
        ({"samples": 0}, "0 inputs explain.* Give samples"),
    ],
)
def test_bad_input_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        found(by_weights, **options)


def test_data_of_one_value_have_no_shades():
    with pytest.raises(ValueError, match=r"All values of the data are 1.0.* Give data that vary"):
        spot_shortcuts(
            torch.ones(8, 4),
            torch.arange(8) % 2,
            explain=by_weights,
            train=linear,
            annotation=COLUMN,
        )


def test_an_explanation_that_says_nothing_is_at_chance():
    result = found(lambda score, x: Attribution(torch.zeros_like(x)))
    assert result.numbers["detection"] == 0.5
    assert (result.curves["with_shortcut"] == 0.5).all()
