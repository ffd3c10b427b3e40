import os
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from strategies import relu_network
from unmask import Score, loss
from unmask.methods.saliency import feature_importance_curves, permutation_importance

NETWORK = relu_network([3, 8, 2], 0)
TABLE = torch.randn(12, 3, generator=torch.Generator().manual_seed(1)).double()
LABELS = torch.arange(12) % 2


def squared(function, y):
    """Squared error as a score: `rows` says whose answer each row is held against."""

    def read(output, rows):
        return (output - (y if rows is None else y[rows])) ** 2

    return Score(function, read, "squared error", targets=len(y))


COIN = torch.tensor([0.0, 1.0]).double()
SAME = squared(lambda x: x[:, 0], COIN)


def slow_growth(model, data, labels, column):
    """How much row i's loss grows with the value of row k."""
    growth = np.zeros((len(data), len(data)))
    for i in range(len(data)):
        for k in range(len(data)):
            asked = data[i].clone()
            asked[column] = data[k, column]
            with torch.no_grad():
                there = cross_entropy(model(asked[None]), labels[i : i + 1])
                before = cross_entropy(model(data[i : i + 1]), labels[i : i + 1])
            growth[i, k] = there - before
    return growth


def test_a_coin_that_is_its_own_answer():
    found = feature_importance_curves(SAME, COIN[:, None], feature=0)
    assert found.curves.tolist() == [[0, 1], [1, 0]]
    assert found.average.tolist() == [0.5, 0.5]
    assert permutation_importance(SAME, COIN[:, None], apart=False).values.tolist() == [[0.5]]
    assert permutation_importance(SAME, COIN[:, None]).values.tolist() == [[1.0]]


def test_curves_and_importance_follow_the_definition():
    score = loss(NETWORK, LABELS)
    every = permutation_importance(score, TABLE, apart=False)
    apart = permutation_importance(score, TABLE)
    for column in range(3):
        growth = slow_growth(NETWORK, TABLE, LABELS, column)
        found = feature_importance_curves(score, TABLE, feature=column)
        order = TABLE[:, column].argsort()
        assert torch.equal(found.points[:, 0], TABLE[order, column])
        np.testing.assert_allclose(found.curves, growth[:, order], atol=1e-12)
        np.testing.assert_allclose(found.average, growth.mean(0)[order], atol=1e-12)
        # The area below the partial importance is the importance in one number.
        assert float(found.average.mean()) == pytest.approx(growth.mean(), abs=1e-12)
        assert float(every.values[0, column]) == pytest.approx(growth.mean(), abs=1e-12)
        alone = growth[~np.eye(12, dtype=bool)].mean()
        assert float(apart.values[0, column]) == pytest.approx(alone, abs=1e-12)
    assert apart.evaluations == 12 * (3 * 11 + 1)
    assert apart.errors is None


def test_samples_come_near_and_say_how_near():
    score = loss(NETWORK, LABELS)
    exact = permutation_importance(score, TABLE).values
    found = [
        permutation_importance(
            score, TABLE, samples=4, generator=torch.Generator().manual_seed(seed)
        )
        for seed in range(300)
    ]
    values = torch.cat([one.values for one in found])
    errors = torch.cat([one.errors for one in found])
    assert found[0].evaluations == 12 * (3 * 4 + 1)
    # Unbiased, and on average the errors are as large as the values really spread.
    assert ((values.mean(0) - exact[0]).abs() < 4 * values.std(0) / 300**0.5).all()
    spread = errors.square().mean(0).sqrt() / values.std(0)
    assert ((spread > 0.8) & (spread < 1.25)).all()
    enough = permutation_importance(score, TABLE, samples=50)
    assert torch.allclose(enough.values, exact, atol=1e-12)
    assert enough.errors is None


@pytest.mark.parametrize("batch_size", [1, 5, 12, 13, 1000])
def test_batches_change_nothing_and_are_never_exceeded(batch_size):
    sizes = []

    def counted(x):
        sizes.append(len(x))
        return NETWORK(x)

    found = permutation_importance(loss(counted, LABELS), TABLE, batch_size=batch_size)
    whole = permutation_importance(loss(NETWORK, LABELS), TABLE)
    assert torch.allclose(found.values, whole.values, atol=1e-12)
    assert max(sizes) <= batch_size
    assert sum(sizes) == found.evaluations


def test_a_column_that_is_not_used_has_no_importance():
    blind = squared(lambda x: x[:, 1], TABLE[:, 0])
    found = permutation_importance(blind, TABLE)
    assert found.values[0, [0, 2]].tolist() == pytest.approx([0, 0], abs=1e-14)
    assert feature_importance_curves(blind, TABLE, feature=0).curves.abs().max() == 0


def test_what_cannot_be_exchanged_is_refused():
    with pytest.raises(ValueError, match="only one row"):
        feature_importance_curves(squared(lambda x: x[:, 0], COIN[:1]), COIN[:1, None], feature=0)
    with pytest.raises(ValueError, match="only one row"):
        permutation_importance(squared(lambda x: x[:, 0], COIN[:1]), COIN[:1, None])
    # Checked by type first, where types are checked at run time.
    with pytest.raises((ValueError, TypeError), match=r"over one column|parameter 'feature'"):
        feature_importance_curves(SAME, TABLE[:2], feature=(0, 1))
    with pytest.raises(ValueError, match=r"0 draws.*at least 1"):
        permutation_importance(SAME, COIN[:, None], samples=0)
    with pytest.raises(ValueError, match="of 2 inputs, but the data holds 12"):
        permutation_importance(SAME, TABLE)
    broken = squared(lambda x: (x[:, 0] - x[:, 1]).log(), COIN)
    with pytest.raises(ValueError, match="once some of its columns come from another"):
        permutation_importance(broken, torch.tensor([[2.0, 0.0], [5.0, 4.0]]).double())


@pytest.mark.oracle
def test_scikit_learn_agrees():
    from sklearn.base import BaseEstimator

    inspection = pytest.importorskip("sklearn.inspection")
    x, y = TABLE[:4].numpy(), TABLE[:4, 1].numpy()

    class Plain(BaseEstimator):
        def fit(self, x, y):
            return self

        def predict(self, x):
            return x[:, 0] * x[:, 1] + x[:, 2]

    shuffled = inspection.permutation_importance(
        Plain(), x, y, scoring="neg_mean_squared_error", n_repeats=2000, random_state=0
    )
    score = squared(lambda x: x[:, 0] * x[:, 1] + x[:, 2], TABLE[:4, 1])
    ours = permutation_importance(score, TABLE[:4], apart=False).values[0].numpy()
    errors = shuffled["importances_std"] / 2000**0.5
    assert (np.abs(ours - shuffled["importances_mean"]) < 4 * errors).all()
    # The mean over all shuffles that there are, one by one.
    before = (Plain().predict(x) - y) ** 2
    for column in range(3):
        growth = []
        for order in permutations(range(4)):
            moved = x.copy()
            moved[:, column] = x[list(order), column]
            growth.append(((Plain().predict(moved) - y) ** 2 - before).mean())
        assert ours[column] == pytest.approx(np.mean(growth), abs=1e-12)


def test_breast_cancer():
    from unmask.zoo import breast_cancer

    exhibit = breast_cancer()
    data, labels = torch.stack(exhibit.inputs), torch.tensor(exhibit.labels)
    score = loss(exhibit.model, labels)
    found = permutation_importance(score, data, samples=20)
    best = int(found.values.argmax())
    curves = feature_importance_curves(score, data, feature=best, grid=data[:, best].quantile(
        torch.linspace(0.05, 0.95, 10)
    ))  # fmt: skip
    assert found.values[0, best] > 4 * found.errors[0, best]
    exact = permutation_importance(score, data[:, :], samples=None).values[0, best]
    assert abs(exact - found.values[0, best]) < 4 * found.errors[0, best] + 1e-6
    assert curves.average.max() > 0
    rows, columns = curves.curves.shape
    assert (rows, columns) == (169, 10)


@pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
def test_adult():
    from unmask.zoo import adult

    exhibit = adult()
    data, labels = torch.stack(exhibit.inputs), torch.tensor(exhibit.labels)
    model = nn.Sequential(exhibit.model)
    found = permutation_importance(loss(model, labels), data, samples=30)
    names = exhibit.players(0).names
    owner = exhibit.players(0).owner
    by_fact = {
        name: float(found.values[0, owner == i].sum().clamp(min=0)) for i, name in enumerate(names)
    }
    assert by_fact["age"] > by_fact["native country"]
    assert by_fact["education"] > by_fact["race"]
