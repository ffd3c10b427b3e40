import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from strategies import networks, tensors
from unmask import (
    Score,
    correct,
    log_odds,
    logit,
    loss,
    margin,
    predicted,
    probability,
    token_log_odds,
)


def model(x):
    """The logits are the input."""
    return x.clone()


Z = torch.tensor([[2.0, 0.0, -1.0]])
ODDS = 1.6867383  # 2 - log(1 + 1/e)


def test_readings_of_known_logits():
    total = math.exp(2) + 1 + math.exp(-1)
    assert logit(model, 0)(Z).item() == 2
    assert log_odds(model, 0)(Z).item() == pytest.approx(ODDS, abs=1e-6)
    assert probability(model, 0)(Z).item() == pytest.approx(math.exp(2) / total, abs=1e-6)
    assert margin(model, 0, 2)(Z).item() == 3
    assert loss(model, torch.tensor([0]))(Z).item() == pytest.approx(
        -math.log(math.exp(2) / total), abs=1e-6
    )


@given(tensors(3, 4), st.integers(0, 3))
def test_log_odds_are_the_odds_of_the_probability(z, target):
    p = probability(model, target)(z)
    assert torch.allclose(log_odds(model, target)(z), (p / (1 - p)).log(), atol=1e-6)


def test_log_odds_do_not_saturate():
    z = torch.tensor([[300.0, 0.0, 0.0], [-300.0, 0.0, 0.0]])
    assert log_odds(model, 0)(z).tolist() == pytest.approx(
        [300 - math.log(2), -300 - math.log(2)], rel=1e-6
    )


@pytest.mark.parametrize("y", [0, 1])
def test_two_classes_and_one_output_are_the_same(y):
    two = torch.tensor([[0.5, 2.0], [1.0, -1.0]])
    one = two[:, 1] - two[:, 0]
    sign = 1 if y == 1 else -1
    for z in (two, one, one[:, None]):
        assert torch.allclose(log_odds(model, y)(z), sign * one)
        assert torch.allclose(probability(model, y)(z), torch.sigmoid(sign * one))
    assert predicted(model, one).tolist() == [1, 0]
    assert torch.equal(margin(model, 1, 0)(one), one)


@given(networks(), tensors(5, 4), st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_a_class_per_input_reads_each_row_its_own(network, x, classes):
    target = torch.tensor(classes)
    for make in (logit, log_odds, probability, loss):
        together = make(network, target)(x)
        each = [make(network, y)(row[None]) for row, y in zip(x, classes, strict=True)]
        assert torch.allclose(together, torch.cat(each), atol=1e-12)


def test_rows_say_which_input_a_row_was_made_from():
    x = torch.tensor([[1.0, 2.0, 3.0]]).expand(4, 3)
    score = logit(model, torch.tensor([0, 2]))
    assert score(x, torch.tensor([0, 1, 1, 0])).tolist() == [1, 3, 3, 1]
    assert score.targets == 2
    assert logit(model, 1).targets is None


@pytest.mark.parametrize(
    "target",
    [np.int64(1), torch.tensor(1), torch.tensor([1], dtype=torch.int32), torch.tensor([1]).byte()],
)
def test_whole_numbers_of_any_kind_are_classes(target):
    for make in (logit, log_odds, probability, loss):
        assert torch.equal(make(model, target)(Z), make(model, 1)(Z))


def test_tokens_are_read_at_a_position():
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([3, 6])
    assert torch.allclose(
        token_log_odds(model, target)(logits), log_odds(model, target)(logits[:, -1])
    )
    assert torch.allclose(
        token_log_odds(model, 2, position=1)(logits), log_odds(model, 2)(logits[:, 1])
    )
    assert torch.equal(predicted(model, logits), logits[:, -1].argmax(-1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    z = torch.full((1, 4096), 1.0, dtype=dtype)
    assert log_odds(model, 0)(z).item() == pytest.approx(-math.log(4095), abs=1e-5)
    own = Score(model, lambda output, rows: output[:, 0])
    assert own(z).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "output", "words"),
    [
        (lambda: logit(model, 3), Z, "Class 3 is out of range: the model has 3 outputs"),
        (lambda: logit(model, -1), Z, "Class -1 is out of range"),
        (lambda: log_odds(model, torch.tensor([0, 5])), Z.expand(2, 3), "Class 5 is out of range"),
        (lambda: logit(model, torch.tensor([0, 1])), Z, r"1 inputs, but target has shape \(2,\)"),
        (lambda: margin(model, 0, 7), Z, "Class 7 is out of range"),
        (lambda: logit(model, 0), Z[None], "use token_log_odds"),
        (lambda: token_log_odds(model, 0), Z, "use log_odds"),
        (lambda: token_log_odds(model, 0, position=4), Z[None], "Position 4 is out of range"),
        (lambda: logit(model, 0), Z[:0], "The batch is empty"),
        (lambda: logit(lambda x: x[0], 0), Z, "Return one row per input"),
        (lambda: Score(model, lambda output, rows: output), Z, "one number per input"),
    ],
)
def test_what_cannot_be_read_is_refused(make, output, words):
    with pytest.raises(ValueError, match=words):
        make()(output)


def test_what_is_no_number_is_refused():
    with pytest.raises((ValueError, TypeError)):
        logit(model, 0)(torch.tensor(1.0))
    with pytest.raises(TypeError, match="the model returned a tuple"):
        logit(lambda x: (x,), 0)(Z)
    with pytest.raises(TypeError):
        logit(model, torch.tensor([0.0]))
    with pytest.raises(TypeError):
        logit(model, 0.5)  # pyright: ignore[reportArgumentType] - that is the point
    with pytest.raises(TypeError):
        Score(model, lambda output, rows: output.argmax(1))(Z)


def test_predicted_is_the_largest_output_and_keeps_no_graph():
    network = nn.Linear(4, 3)
    x = torch.randn(5, 4)
    classes = predicted(network, x)
    assert classes.tolist() == [int(np.argmax(row)) for row in network(x).detach().numpy()]
    assert not classes.requires_grad


def test_a_score_in_place_of_a_game_is_told_how_to_become_one():
    score = logit(lambda x: x, 0)
    with pytest.raises(TypeError, match=r"given a score, the logit of class 0\. Make a game of it"):
        len(score.names)
    with pytest.raises(AttributeError, match="no 'nothing'"):
        score.nothing  # noqa: B018
    assert not hasattr(score, "values")
    assert copy.deepcopy(score).name == score.name
    assert pickle.loads(pickle.dumps(Score(torch.relu, torch.sum))).name == "score"


@pytest.mark.parametrize("target", [1, torch.tensor([2, 0, 1])])
def test_a_score_at_rows_reads_what_the_rows_were_made_from(target):
    score = logit(nn.Identity(), target)
    z = torch.arange(12.0).view(4, 3)
    rows = torch.tensor([2, 2, 0, 1])
    classes = [1, 1, 1, 1] if isinstance(target, int) else [1, 1, 2, 0]
    expected = [float(z[i, c]) for i, c in enumerate(classes)]
    assert score.at(rows)(z).tolist() == expected
    assert score.at(rows)(z[[3, 0]], rows=torch.tensor([3, 0])).tolist() == [
        expected[3],
        expected[0],
    ]
    assert score.at(rows).at(torch.tensor([3, 0]))(z[[3, 0]]).tolist() == [
        expected[3],
        expected[0],
    ]
    assert score.at(rows).targets == (None if isinstance(target, int) else 4)


def test_a_choice_is_one_where_the_class_is_the_largest():
    z = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 5.0]])
    assert correct(nn.Identity(), torch.tensor([1, 1, 1]))(z).tolist() == [1, 0, 1]
    assert correct(nn.Identity(), 0)(z).tolist() == [0, 1, 0]
    one = torch.tensor([[-1.0], [2.0]])  # the log-odds of class 1
    assert correct(nn.Identity(), torch.tensor([0, 0]))(one).tolist() == [1, 0]
    with pytest.raises(ValueError, match="Class 2 is out of range"):
        correct(nn.Identity(), 2)(z)
