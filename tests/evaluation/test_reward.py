import pytest
import torch

from shortcuts import (
    COLUMN,
    CORNER,
    by_integral,
    by_weights,
    convolutional,
    digits,
    leave_one_out,
    linear,
    of_inputs,
    rows,
)
from unmask.evaluation import reward, spot_shortcuts
from unmask.results import Attribution


def found(explain, **options):
    x, y = rows()
    settings = {"train": linear, "annotation": COLUMN} | options
    return reward(x, y, explain=explain, **settings)


def test_costs_are_counted():
    numbers = found(leave_one_out).numbers
    assert (numbers["cost"], numbers["forward"], numbers["backward"]) == (5, 5, 0)
    assert found(by_weights).numbers["cost"] == 0
    numbers = found(by_integral).numbers
    assert (numbers["cost"], numbers["forward"], numbers["backward"]) == (26, 10, 8)


def test_it_finds_what_its_parts_find():
    """The parts draw the same networks from the same generator."""
    x, y = rows()
    whole = found(by_weights)
    part = spot_shortcuts(x, y, explain=by_weights, train=linear, annotation=COLUMN)
    for name in ("detection", "detection_low", "detection_high", "accuracy", "accuracy_low"):
        assert whole.numbers[name] == part.numbers[name]
    assert torch.equal(whole.curves["with_shortcut"], part.curves["with_shortcut"])
    assert whole.numbers["gain"] == whole.numbers["gain_of_all"] > 0.2
    assert whole.numbers["recall"] == 1
    assert set(whole.panels) == {"Share of the mark", "Accuracy gained"}


def test_what_looks_at_no_network_is_worth_nothing():
    numbers = found(of_inputs).numbers
    assert numbers["detection"] == pytest.approx(0.5, abs=1e-12)
    assert numbers["cost"] == 0


def test_an_answer_given_away_is_foreseen():
    """A linear student cannot see a square, unless the explanation says what came of it."""
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 1] ** 2 > 0.5).long()

    class Square(torch.nn.Module):
        def forward(self, x):
            return x[:, 1] ** 2 - 0.5

    def tells(score, x):
        return Attribution(score.model(x)[:, None] * torch.tensor([0.0, 1.0, 0.0, 0.0]))

    def hides(score, x):
        return Attribution(torch.ones_like(x))

    def train(x, y, generator):
        return Square().eval()

    told = reward(x, y, explain=tells, train=train, annotation=COLUMN).numbers
    assert told["simulation"] > 0.25  # about half of the answers are left to be foreseen
    hidden = reward(x, y, explain=hides, train=train, annotation=COLUMN).numbers
    assert hidden["simulation"] == 0
    assert told["gain"] == 0  # the same network, misled or not
    assert told["detection"] == pytest.approx(0.5, abs=1e-12)


def test_a_selection_that_holds_what_matters_foresees_more():
    numbers = found(by_weights, repeats=4).numbers
    assert numbers["selection"] > 0.1
    worst = found(lambda score, x: Attribution(1 / score.model[0].weight.expand(x.shape)))
    assert worst.numbers["selection"] < 0


@pytest.mark.slow
def test_a_convolutional_network_on_digits():
    x, y = digits()
    numbers = reward(
        x, y, explain=by_integral, train=convolutional, annotation=CORNER, samples=32
    ).numbers
    assert numbers["detection"] == 1
    assert numbers["gain_of_all"] > 0.1
    assert numbers["gain"] > numbers["gain_by_chance"]
    assert numbers["simulation"] > 0
    assert numbers["selection"] > 0


def test_batches_change_nothing():
    whole = found(leave_one_out).numbers
    assert found(leave_one_out, batch_size=4).numbers == pytest.approx(whole, abs=1e-6)


def test_half_precision():
    x, y = rows()
    numbers = reward(x.half(), y, explain=by_weights, train=linear, annotation=COLUMN).numbers
    assert numbers["detection"] == 1


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3,\).* Give True"):
        found(by_weights, annotation=COLUMN[:3])
    with pytest.raises(ValueError, match=r"1 trainings.* Give repeats"):
        found(by_weights, repeats=1)
    with pytest.raises(TypeError, match="The explanation is a Tensor"):
        found(lambda score, x: x)
    with pytest.raises(ValueError, match="The batch is empty"):
        reward(
            torch.zeros(0, 4),
            torch.zeros(0).long(),
            explain=by_weights,
            train=linear,
            annotation=COLUMN,
        )
