import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from strategies import tabled
from unmask.lattice import coalitions
from unmask.methods.saliency import shapley_coefficients, shapley_exact, shapley_regression
from unmask.planted import planted_terms


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def of_correlation(r, rows=40, seed=0):
    """Columns whose correlations are exactly these."""
    x = torch.randn(rows, len(r), generator=seeded(seed), dtype=torch.float64)
    white = torch.linalg.qr(x - x.mean(0))[0]
    columns = white @ torch.linalg.cholesky(r).mT
    return columns[:, :-1] * 3 + 7, columns[:, -1] * 2 - 1


TWO = torch.tensor([[1.0, 0.3, 0.6], [0.3, 1.0, 0.5], [0.6, 0.5, 1.0]]).double()


def real():
    table = load_diabetes()
    return torch.tensor(table.data), torch.tensor(table.target)


def drawn(rows, columns, seed=0):
    x = torch.randn(rows, columns, generator=seeded(seed), dtype=torch.float64)
    x = x @ (
        torch.eye(columns).double()
        + 0.3 * torch.rand(columns, columns, generator=seeded(seed + 1)).double()
    )
    worth = torch.linspace(-1, 2, columns).double()
    return x, x @ worth + 2 * torch.randn(rows, generator=seeded(seed + 2)).double()


def test_the_example_of_two_columns():
    found = shapley_regression(*of_correlation(TWO))
    assert found.values.tolist() == [pytest.approx([0.291264, 0.181264], abs=5e-7)]
    assert float(found.values.sum()) == pytest.approx(0.472527, abs=5e-7)
    assert found.gap.tolist() == pytest.approx([0], abs=1e-12)
    assert found.names == ("column 0", "column 1")
    assert found.errors is None


def test_unrelated_columns_get_the_squares_of_their_correlations():
    r = torch.eye(4).double()
    r[3, :3] = r[:3, 3] = torch.tensor([0.5, -0.3, 0.2])
    data, y = of_correlation(r)
    assert shapley_regression(data, y).values.tolist() == [pytest.approx([0.25, 0.09, 0.04])]
    assert shapley_coefficients(data, y).values.tolist() == [pytest.approx([0.5, -0.3, 0.2])]


def test_two_copies_of_a_column_get_half_each():
    data, y = of_correlation(TWO)
    once = shapley_regression(data, y)
    twice = shapley_regression(torch.cat([data, -2 * data[:, :1] + 1], 1), y)
    assert twice.values[0, 0] == pytest.approx(float(twice.values[0, 2]), abs=1e-9)
    assert twice.values.sum() == pytest.approx(float(once.values.sum()), abs=1e-9)


def test_the_shares_are_those_of_regressions_one_by_one():
    data, y = real()
    data = data[:, :5]
    table = torch.zeros(32).double()
    for place, mask in enumerate(coalitions(5)):
        if place:
            columns = data[:, mask].numpy()
            table[place] = LinearRegression().fit(columns, y).score(columns, y)
    expected = shapley_exact(tabled(table)).values
    assert torch.allclose(shapley_regression(data, y).values, expected, atol=1e-9)


@given(st.integers(0, 99))
def test_units_do_not_matter(seed):
    data, y = drawn(30, 4, seed)
    one = shapley_regression(data, y)
    other = shapley_regression(data * torch.tensor([1e-3, 1, -5, 1e4]) + 3, 9 - 4 * y)
    assert torch.allclose(one.values, other.values, atol=1e-8)
    assert (one.values > -1e-12).all()


def test_twenty_columns_and_more():
    data, y = drawn(400, 20)
    exact = shapley_regression(data, y)
    fit = LinearRegression().fit(data, y).score(data, y)
    assert float(exact.values.sum()) == pytest.approx(fit, abs=1e-9)
    more = torch.cat([data, data[:, :1]], 1)  # a copy, so that the others' shares are known
    found = shapley_regression(more, y, samples=2000)
    # a draw lies between 0 and R^2, so it spreads by half of that at most; there are 1,000 pairs
    assert found.errors.max() <= fit / 2 / 999**0.5
    assert float(found.values.sum()) == pytest.approx(fit, abs=1e-9)
    assert found.gap.tolist() == pytest.approx([0], abs=1e-9)
    split = found.values[0, 0] - found.values[0, 20]
    assert abs(split) < 5 * (found.errors[0, 0] ** 2 + found.errors[0, 20] ** 2).sqrt()


def test_sampled_shares_are_as_far_off_as_they_say(monkeypatch):
    file = sys.modules["unmask.methods.saliency.shapley.shapley_regression"]
    data, y = drawn(60, 7)
    exact = shapley_regression(data, y).values[0]
    monkeypatch.setattr(file, "LARGEST_TABLE", 6)
    runs = [shapley_regression(data, y, samples=60, generator=seeded(s)) for s in range(200)]
    values = torch.stack([run.values[0] for run in runs])
    bias = (values.mean(0) - exact) / (values.std(0) / 200**0.5)
    assert bias.abs().max() < 4
    z = torch.stack([(run.values[0] - exact) / run.errors[0] for run in runs])
    # 30 pairs of orders: t of 29 degrees has deviation 1.04; of 200 z it is told to 0.052
    assert ((z.square().mean(0).sqrt() - 1.04).abs() < 4 * 0.055).all()
    monkeypatch.setattr(file, "_AT_ONCE", 200)
    parts = shapley_regression(data, y, samples=61, generator=seeded(0))
    assert torch.allclose(parts.values[0], exact, atol=5 * float(parts.errors.max()))


def test_more_columns_than_rows():
    data, y = drawn(6, 9)
    found = shapley_regression(data, y)
    assert float(found.values.sum()) == pytest.approx(1, abs=1e-9)


def test_classes_count_as_their_numbers():
    data, y = drawn(40, 3)
    classes = (y > 0).long() + (y > 2).long()
    found = shapley_regression(data.float(), classes, names=("a", "b", "c"))
    expected = shapley_regression(data, classes.double())
    assert torch.allclose(found.values, expected.values, atol=1e-6)
    assert found.names == ("a", "b", "c")


def test_coefficients_miss_the_equations_least():
    data, y = real()
    found = shapley_coefficients(data, y)
    share = shapley_regression(data, y).values[0]
    r = torch.corrcoef(torch.cat([data, y[:, None]], 1).mT)
    between, own = r[:-1, :-1], r[:-1, -1]
    a = found.values[0].clone().requires_grad_()
    missed = (a * (2 * own - between @ a) - share).square().sum()
    (slope,) = torch.autograd.grad(missed, a)
    assert slope.abs().max() < 1e-8
    assert missed < 0.05 * share.square().sum()
    a = found.values[0]
    explained = 1 - (y / y.std() - (data / data.std(0)) @ a).var()
    assert float(found.gap) == pytest.approx(float(share.sum() - explained), abs=1e-9)
    assert 0 < float(found.gap) < 0.05


def test_planted_worth_is_found():
    """Columns that y does not need get little; the terms of the heart are the columns here."""
    terms = planted_terms(6, 4, 0, seeded(3), largest=2)
    data = coalitions(6).double()
    found = shapley_regression(data, terms(coalitions(6)))
    absent = ~terms.members.any(0)
    assert (found.values[0, absent] < 1e-12).all()


@pytest.mark.parametrize("method", [shapley_regression, shapley_coefficients])
def test_bad_input_is_refused(method):
    data, y = drawn(10, 3)
    still = data.clone()
    still[:, 1] = 0.1
    with pytest.raises(ValueError, match=r"All of column 1 is the same.*Leave it out"):
        method(still, y)
    with pytest.raises(ValueError, match=r"All labels are the same"):
        method(data, y * 0 + 0.1)
    if "beartype" not in sys.modules:  # else refused as it enters
        with pytest.raises(ValueError, match=r"one label per row"):
            method(data, y[:4])
    with pytest.raises(ValueError, match=r"at least 2 rows"):
        method(data[:1], y[:1])
    with pytest.raises(ValueError, match=r"must be finite"):
        method(data / 0, y)
    with pytest.raises(ValueError, match=r"3 columns, but 2 names"):
        method(data, y, names=("a", "b"))
    with pytest.raises(ValueError, match=r"Give at least 4"):
        method(torch.randn(50, 21, generator=seeded()), torch.arange(50), samples=3)


def test_one_column():
    data, y = of_correlation(torch.tensor([[1, -0.5], [-0.5, 1]]).double())
    assert shapley_regression(data, y).values.tolist() == [[pytest.approx(0.25)]]
    assert shapley_coefficients(data, y).values.tolist() == [[pytest.approx(-0.5)]]


def test_global_chance_is_left_alone():
    before = torch.get_rng_state()
    np_before = np.random.get_state()[1].copy()
    shapley_regression(*drawn(50, 22), samples=20)
    assert torch.equal(before, torch.get_rng_state())
    assert (np_before == np.random.get_state()[1]).all()
