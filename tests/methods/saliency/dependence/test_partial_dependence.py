import os

import numpy as np
import pytest
import torch
from torch import nn

from strategies import relu_network
from unmask import Score, log_odds, logit
from unmask.methods.saliency import ice, ice_derivative, partial_dependence

ROWS = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 6.0]]).double()
GRID = torch.tensor([0.0, 1.0, 2.0]).double()
PRODUCT = Score(lambda x: x[:, 0] + x[:, 0] * x[:, 1], lambda output, rows: output)
NETWORK = relu_network([3, 8, 2], 0)
TABLE = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double()
INTEGERS = "needs real numbers|parameter 'data'"  # the second where types are checked at run time


def slow_average(score, data, column, grid, weights):
    """One row after the other at one value after the other."""
    average = []
    for value in grid:
        total = 0.0
        for row, weight in zip(data, weights, strict=True):
            asked = row.clone()
            asked[column] = value
            total += float(weight) * float(score(asked[None]))
        average.append(total / float(sum(weights)))
    return average


def test_the_example_of_two_columns():
    found = partial_dependence(PRODUCT, ROWS, feature=0)
    assert found.points.tolist() == [[0], [1], [2]]
    assert found.average.tolist() == [0, 4, 8]
    assert found.curves is None
    assert found.observed.tolist() == [[0], [1], [2]]


@pytest.mark.parametrize("weights", [None, torch.rand(40).double() + 0.1])
def test_the_average_is_that_of_a_plain_loop(weights):
    score, grid = log_odds(NETWORK, 1), torch.tensor([-1.0, 0.2, 3.0]).double()
    found = partial_dependence(score, TABLE, feature=2, grid=grid, weights=weights)
    with torch.no_grad():
        slow = slow_average(score, TABLE, 2, grid, torch.ones(40) if weights is None else weights)
    assert found.average.tolist() == pytest.approx(slow, abs=1e-12)


def test_an_additive_model_gives_its_own_term():
    terms = Score(lambda x: x[:, 0] ** 2 + x[:, 1].sin() + 3 * x[:, 2], lambda out, rows: out)
    found = partial_dependence(terms, TABLE, feature=1, steps=20)
    t = found.points[:, 0]
    rest = (TABLE[:, 0] ** 2 + 3 * TABLE[:, 2]).mean()
    assert torch.allclose(found.average, t.sin() + rest, atol=1e-12)


def test_two_columns_are_a_grid_with_the_second_running_faster():
    grid = (torch.tensor([0.0, 1.0]).double(), torch.tensor([3.0, 4.0, 5.0]).double())
    score = Score(lambda x: 10 * x[:, 2] + x[:, 0] * x[:, 1], lambda output, rows: output)
    found = partial_dependence(score, TABLE, feature=(2, 0), grid=grid, names=("a", "b", "c"))
    assert found.points.tolist() == [[0, 3], [0, 4], [0, 5], [1, 3], [1, 4], [1, 5]]
    mean = float(TABLE[:, 1].mean())
    expected = [10 * a + b * mean for a, b in found.points.tolist()]
    assert found.average.tolist() == pytest.approx(expected, abs=1e-12)
    assert found.names == ("c", "a")
    assert torch.equal(found.observed, TABLE[:, [2, 0]])


def test_few_values_are_all_taken_and_many_are_spread_between_quantiles():
    few = TABLE.clone()
    few[:, 1] = torch.arange(40).double() % 3
    assert partial_dependence(PRODUCT, few, feature=1).points[:, 0].tolist() == [0, 1, 2]
    many = partial_dependence(PRODUCT, TABLE, feature=1, steps=5, percentiles=(0.0, 1.0)).points
    expected = np.linspace(float(TABLE[:, 1].min()), float(TABLE[:, 1].max()), 5)
    assert many[:, 0].tolist() == pytest.approx(expected)
    # Of codes no value is made up, however many there are.
    codes = partial_dependence(PRODUCT, TABLE, feature=1, steps=5, categorical=(1,))
    assert torch.equal(codes.points[:, 0], TABLE[:, 1].sort().values)


@pytest.mark.parametrize("method", [partial_dependence, ice, ice_derivative])
@pytest.mark.parametrize("batch_size", [1, 7, 40, 41, 400])
def test_batches_change_nothing_and_are_never_exceeded(method, batch_size):
    sizes = []

    def counted(x):
        sizes.append(len(x))
        return NETWORK(x)

    found = method(logit(counted, 0), TABLE, feature=0, steps=9, batch_size=batch_size)
    whole = method(logit(NETWORK, 0), TABLE, feature=0, steps=9)
    assert torch.allclose(found.average, whole.average, atol=1e-12)
    assert max(sizes) <= batch_size
    assert sum(sizes) == 40 * 9
    if batch_size == 41:  # a point at a time: what is left of a batch is not filled with half one
        assert len(sizes) == 9


@pytest.mark.parametrize("method", [partial_dependence, ice, ice_derivative])
def test_a_class_for_each_row_is_that_of_the_row(method):
    target = torch.arange(40) % 2
    found = method(logit(NETWORK, target), TABLE, feature=0, steps=5, batch_size=16)
    alone = [
        method(
            logit(NETWORK, int(target[i])), TABLE[i : i + 1], feature=0, grid=found.points[:, 0]
        ).average
        for i in range(40)
    ]
    assert torch.allclose(found.average, torch.stack(alone).mean(0), atol=1e-12)


def test_a_model_that_writes_on_its_input_is_asked_the_same():
    def writing(x):
        out = x.clone()
        x.mul_(0)
        return out

    found = partial_dependence(logit(writing, 1), ROWS, feature=0, batch_size=3)
    assert found.average.tolist() == [3, 3, 3]
    assert ROWS[2, 1] == 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_averaged_in_a_wider_type(dtype):
    data = torch.full((3000, 2), 0.1, dtype=dtype)
    data[:, 0] = torch.arange(3000) % 2
    found = partial_dependence(logit(lambda x: x[:, 1], 0), data, feature=0)
    assert found.average.dtype == dtype
    assert found.average.tolist() == pytest.approx([0.1, 0.1], rel=5e-3)


def test_calls_from_within_inference_mode():
    with torch.inference_mode():
        data = TABLE.clone()
        found = partial_dependence(logit(NETWORK, 0), data, feature=0, steps=5)
        slope = ice_derivative(logit(NETWORK, 0), data, feature=0, steps=5)
    assert torch.equal(
        found.average, partial_dependence(logit(NETWORK, 0), TABLE, feature=0, steps=5).average
    )
    assert torch.equal(
        slope.curves, ice_derivative(logit(NETWORK, 0), TABLE, feature=0, steps=5).curves
    )


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"feature": 3}, ValueError, "Column 3 does not exist.*3 columns"),
        ({"feature": -1}, ValueError, "Column -1"),
        ({"feature": (0, 1, 2)}, ValueError, "on one column or on two"),
        ({"feature": (1, 1)}, ValueError, "two different"),
        ({"feature": ()}, ValueError, "on one column or on two"),
        ({"feature": "age"}, TypeError, "meant by its place|Type-check error"),
        ({"steps": 1}, ValueError, "grid of 1"),
        ({"percentiles": (0.9, 0.1)}, ValueError, "quantiles that rise"),
        ({"percentiles": (0.0, 1.2)}, ValueError, "quantiles that rise"),
        ({"grid": torch.tensor([0.0, torch.nan])}, ValueError, "grid must be finite"),
        ({"grid": torch.zeros(0)}, ValueError, "grid of column 0 is empty"),
        ({"grid": [torch.zeros(1), torch.zeros(1)]}, ValueError, "2 grids for 1 columns"),
        ({"grid": torch.tensor([9.0]), "categorical": (0,)}, ValueError, "9 is none of the 40"),
        ({"weights": torch.ones(3)}, ValueError, "one number per row"),
        ({"weights": -torch.ones(40)}, ValueError, "none below 0"),
        ({"weights": torch.zeros(40)}, ValueError, "not all 0"),
        ({"names": ("a",)}, ValueError, "1 names for 3 columns"),
        ({"batch_size": 0}, ValueError, "batch of 0"),
        ({"data": torch.zeros(0, 3)}, ValueError, "rows and columns"),
        ({"data": torch.ones(5, 3)}, ValueError, "Column 0 does not vary"),
        ({"data": TABLE / 0}, ValueError, "data must be finite"),
        ({"data": torch.ones(2, 3).long()}, TypeError, INTEGERS),
    ],
)
@pytest.mark.parametrize("method", [partial_dependence, ice])
def test_what_has_no_dependence_is_refused(method, options, error, words):
    given = {"data": TABLE, "feature": 0} | options
    with pytest.raises(error, match=words):
        method(logit(NETWORK, 0), given.pop("data"), **given)


@pytest.mark.parametrize("feature", [np.int64(1), torch.tensor(1), [np.int64(1)]])
def test_places_may_be_whole_numbers_of_any_kind(feature):
    found = partial_dependence(logit(NETWORK, 0), TABLE, feature=feature, steps=5)
    wanted = partial_dependence(logit(NETWORK, 0), TABLE, feature=1, steps=5)
    assert torch.equal(found.average, wanted.average)


def test_scores_that_break_are_named():
    with pytest.raises(ValueError, match=r"of row 0 is -inf where column 0 is 0"):
        partial_dependence(logit(lambda x: x[:, 0].log(), 0), ROWS, feature=0)
    with pytest.raises(ValueError, match="of 2 inputs, but the data holds 3"):
        partial_dependence(logit(NETWORK, torch.tensor([0, 1])), ROWS, feature=0)
    with pytest.raises(ValueError, match="batch normalisation in training"):
        partial_dependence(logit(nn.Sequential(nn.BatchNorm1d(2)), 0), ROWS, feature=0)


@pytest.mark.oracle
@pytest.mark.parametrize("feature", [2, (2, 8)])
def test_scikit_learn_agrees(feature):
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import RandomForestRegressor

    inspection = pytest.importorskip("sklearn.inspection")
    x, y = load_diabetes(return_X_y=True)
    forest = RandomForestRegressor(20, random_state=0).fit(x, y)
    score = Score(lambda x: torch.as_tensor(forest.predict(x.numpy())), lambda output, rows: output)
    wanted = (feature,) if isinstance(feature, int) else feature
    theirs = inspection.partial_dependence(
        forest, x, wanted, kind="both", method="brute", grid_resolution=12
    )
    data = torch.as_tensor(x)
    ours = ice(score, data, feature=feature, steps=12)
    axes = np.meshgrid(*theirs["grid_values"], indexing="ij")
    np.testing.assert_allclose(
        ours.points, np.stack([axis.ravel() for axis in axes], 1), atol=1e-15
    )
    np.testing.assert_allclose(ours.curves, theirs["individual"][0].reshape(len(x), -1), atol=1e-9)
    average = partial_dependence(score, data, feature=feature, steps=12).average
    np.testing.assert_allclose(average, theirs["average"][0].ravel(), atol=1e-9)


def test_breast_cancer():
    from unmask.zoo import breast_cancer

    exhibit = breast_cancer()
    data = torch.stack(exhibit.inputs)
    found = partial_dependence(log_odds(exhibit.model, 0), data, feature=20, steps=15)
    # Malignant nuclei are larger: the network has learned as much of the worst radius.
    assert (found.average.diff() > 0).all()
    column = data[:, 20]
    inside = found.points[:, 0]
    assert column.quantile(0.03) < inside[0] < column.quantile(0.07)


@pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
def test_adult_by_the_code_of_a_fact():
    from unmask.zoo import adult

    exhibit = adult()
    data, owner = torch.stack(exhibit.inputs), exhibit.players(0).owner
    columns = (owner == exhibit.players(0).names.index("sex")).nonzero()[:, 0]

    def coded(x):
        rows = x[:, :-1].clone()
        rows[:, columns] = nn.functional.one_hot(x[:, -1].long(), len(columns)).float()
        return exhibit.model(rows)

    table = torch.cat([data, data[:, columns].argmax(1, keepdim=True).float()], 1)
    code = table.shape[1] - 1
    found = ice(log_odds(coded, 1), table, feature=code, categorical=(code,))
    assert found.points.tolist() == [[0], [1]]
    own = found.curves.gather(1, table[:, -1:].long())[:, 0]
    with torch.no_grad():
        assert torch.allclose(own, log_odds(exhibit.model, 1)(data), atol=1e-5)
    women, men = partial_dependence(log_odds(coded, 1), table, feature=code).average.tolist()
    assert (women, men) == pytest.approx(found.average.tolist(), abs=1e-6)
    assert women != pytest.approx(men, abs=0.01)
