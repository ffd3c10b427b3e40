import pytest
import torch

from shortcuts import COLUMN, by_weights, linear, of_inputs, rows
from unmask.evaluation.uses.misled import attention_of, marks, mislead, shares_on_mark
from unmask.planted import linear_network
from unmask.results import Attribution


def misled(purity=1.0, count=400, repeats=2, controls=True):
    x, y = rows(count)
    return x, mislead(
        x,
        y,
        COLUMN,
        by_weights,
        linear,
        repeats=repeats,
        purity=purity,
        samples=16,
        controls=controls,
        generator=torch.Generator().manual_seed(0),
        batch_size=None,
    )


def test_marks_are_shades_between_the_ends_of_the_data():
    x = torch.tensor([[5.0, -1.0], [0.0, 3.0], [2.0, 2.0]])
    found = marks(x, torch.tensor([0, 1, 2]), torch.tensor([True, False]), x, 3)
    assert found.tolist() == [[-1.0, -1.0], [2.0, 3.0], [5.0, 2.0]]


def test_a_mark_tells_the_class_where_a_network_learns_and_only_there():
    x, runs = misled()
    shades = torch.stack([x.min(), x.max()])
    for run in runs:
        assert torch.equal(run.data[:, 0], shades[run.labels])
        assert torch.equal(run.marked_test[:, 0], shades[run.test_labels])
        told = (run.test[:, 0] == shades[run.test_labels]).double().mean()
        assert abs(float(told) - 0.5) < 0.15  # three standard deviations of 120 rows are 0.14
        assert torch.equal(run.test[:, 1:], run.marked_test[:, 1:])
    assert runs[0].seed != runs[1].seed
    assert not torch.equal(runs[0].test, runs[1].test)


def test_marks_that_are_not_pure_tell_less():
    x, runs = misled(purity=0.5)
    shades = torch.stack([x.min(), x.max()])
    told = torch.stack([run.data[:, 0] == shades[run.labels] for run in runs]).double().mean()
    assert float(told) == pytest.approx(0.75, abs=0.06)  # 0.5 and half of the rest; three sd


def test_only_networks_that_were_misled_look_at_the_mark():
    _, runs = misled()
    for run in runs:
        assert run.model[0].weight[0, 0].abs() > 10 * run.control[0].weight[0, 0].abs()
        assert run.attention[0] > 5 * run.control_attention[0]
    _, alone = misled(controls=False)
    assert alone[0].control is None


def test_the_share_of_a_mark():
    maps = [torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.ones(4)]
    assert shares_on_mark(maps, COLUMN).tolist() == pytest.approx([2 / 3, 1 / 2])


def test_attention_is_a_share_of_each_input():
    model = linear_network(torch.tensor([1.0, 2.0]))
    x = torch.tensor([[1.0, -1.0], [30.0, 10.0], [0.0, 0.0]])
    assert attention_of(model, x, of_inputs).tolist() == pytest.approx([5 / 12, 3 / 12])
    assert attention_of(model, x, of_inputs, 1).tolist() == pytest.approx([5 / 12, 3 / 12])


def test_an_explanation_says_something_of_every_position():
    model = linear_network(torch.ones(2))
    with pytest.raises(ValueError, match=r"shape \(3, 1\), but the inputs \(3, 2\).* Give a"):
        attention_of(model, torch.ones(3, 2), lambda score, x: Attribution(x[:, :1]))
