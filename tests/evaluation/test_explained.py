import pytest
import torch
from torch import nn

from unmask import Attribution, log_odds
from unmask.evaluation.explained import explained
from unmask.methods.saliency import gradient

MODEL = nn.Linear(3, 4).double()
X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("batch_size", [None, 1, 2, 9])
def test_the_class_of_the_input_that_a_row_is_made_from_is_explained(batch_size):
    score = log_odds(MODEL, torch.tensor([0, 1, 2, 3, 0]))
    rows = torch.tensor([4, 4, 1, 3])
    found = explained(score, X[rows] + 0.5, gradient, rows=rows, batch_size=batch_size).values
    for i, row in enumerate(rows.tolist()):
        alone = gradient(log_odds(MODEL, [0, 1, 2, 3, 0][row]), X[row : row + 1] + 0.5)
        assert torch.allclose(found[i], alone.values[0])


def test_without_rows_each_input_is_its_own():
    score = log_odds(MODEL, torch.tensor([0, 1, 2, 3, 0]))
    assert torch.equal(explained(score, X, gradient).values, gradient(score, X).values)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda s, x: x, "The explanation is a Tensor. Give a function"),
        (lambda s, x: Attribution(x[:1]), r"shape \(1, 3\) for 5 inputs. Return one row"),
        (lambda s, x: Attribution(x / 0), "The explanation must be finite"),
    ],
)
def test_what_is_no_explanation_is_refused(made, message):
    with pytest.raises((TypeError, ValueError), match=message):
        explained(log_odds(MODEL, 1), X, made)


def test_half_precision_is_widened():
    made = lambda s, x: Attribution(x.to(torch.bfloat16))  # noqa: E731 (as users write it)
    assert explained(log_odds(MODEL, 1), X, made).values.dtype == torch.float32


def test_names_of_the_columns_are_kept():
    made = lambda s, x: Attribution(x, names=("a", "b", "c"))  # noqa: E731 (as users write it)
    assert explained(log_odds(MODEL, 1), X, made, batch_size=2).names == ("a", "b", "c")
    assert explained(log_odds(MODEL, 1), X, gradient).names is None


def test_names_that_change_from_batch_to_batch_are_refused():
    def turning(score, x):
        return Attribution(x, names=("a", "b", "c") if len(x) > 1 else ("c", "b", "a"))

    with pytest.raises(ValueError, match=r"columns .* in turn. Return the same names"):
        explained(log_odds(MODEL, 1), X, turning, batch_size=2)  # of five
