import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, Ridge

from unmask.lattice import coalitions
from unmask.regression import explained_by_all, explained_in_order, lasso, least_squares


def problem(rows=40, columns=6, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, columns))
    y = x @ generator.normal(size=columns) + 0.1 * generator.normal(size=rows)
    weights = generator.uniform(0, 2, size=rows)
    return x, y, weights


def tensors(*arrays):
    return [torch.tensor(array) for array in arrays]


def test_least_squares_agree_with_numpy():
    x, y, weights = problem()
    expected = np.linalg.lstsq(x, y, rcond=None)[0]
    assert least_squares(*tensors(x, y)).numpy() == pytest.approx(expected, abs=1e-10)
    root = np.sqrt(weights)
    expected = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
    assert least_squares(*tensors(x, y, weights)).numpy() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("ridge", [0.1, 5.0])
def test_ridge_agrees_with_scikit_learn(ridge):
    x, y, weights = problem()
    expected = Ridge(alpha=ridge, fit_intercept=False, tol=1e-12).fit(x, y, weights).coef_
    found = least_squares(*tensors(x, y, weights), ridge=ridge)
    assert found.numpy() == pytest.approx(expected, abs=1e-9)


def test_of_equal_fits_the_shortest_is_taken():
    x = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([3.0, 6.0], dtype=torch.float64)
    assert least_squares(x, y).tolist() == pytest.approx([1.5, 1.5, 0])


def test_a_row_of_no_weight_does_not_count():
    x, y, _ = problem()
    weights = np.ones(len(y))
    weights[3] = 0
    broken = y.copy()
    broken[3] = 1e6
    assert torch.allclose(
        least_squares(*tensors(x, broken, weights)), least_squares(*tensors(x, y, weights))
    )


@pytest.mark.parametrize("penalty", [0.01, 1.0, 10.0])
def test_lasso_agrees_with_scikit_learn(penalty):
    x, y, weights = problem()
    root = np.sqrt(weights)
    # scikit-learn divides the squares by twice the number of rows.
    sparse = Lasso(alpha=penalty / len(y), fit_intercept=False, tol=1e-14, max_iter=100_000)
    expected = sparse.fit(x * root[:, None], y * root).coef_
    found = lasso(*tensors(x, y), penalty, torch.tensor(weights))
    assert found.numpy() == pytest.approx(expected, abs=1e-8)
    assert ((found == 0).numpy() == (expected == 0)).all()


def test_lasso_without_signal_is_zero():
    x, y, _ = tensors(*problem())
    largest = float((x.T @ y).abs().max())
    assert lasso(x, y, largest * 1.001).count_nonzero() == 0
    assert lasso(x, y, largest * 0.999).count_nonzero() == 1
    assert lasso(torch.zeros(4, 2), torch.ones(4), 0.1).tolist() == [0, 0]


def test_batches_are_solved_one_by_one():
    problems = [tensors(*problem(seed=seed)) for seed in range(3)]
    x, y, weights = (torch.stack(part) for part in zip(*problems, strict=True))
    for solve in (
        lambda x, y, w: least_squares(x, y, w),
        lambda x, y, w: least_squares(x, y, w, ridge=0.3),
        lambda x, y, w: lasso(x, y, 2.0, w),
    ):
        each = torch.stack([solve(*one) for one in problems])
        assert torch.allclose(solve(x, y, weights), each, atol=1e-9)


def correlation(rows=30, columns=5, seed=0):
    """Of some columns and a sum of them with noise; two of the columns are much alike."""
    x, y, _ = problem(rows, columns, seed)
    x[:, 1] = x[:, 0] + 0.3 * x[:, 1]
    return torch.tensor(np.corrcoef(np.column_stack([x, y]).T))


def explained(r, columns):
    """R^2 by the formula."""
    own = r[-1, columns]
    return float(own @ torch.linalg.inv(r[columns][:, columns]) @ own) if len(columns) else 0.0


def test_every_set_of_columns_is_explained_as_by_the_formula():
    r = correlation()
    expected = [explained(r, mask.nonzero()[:, 0]) for mask in coalitions(5)]
    assert explained_by_all(r).tolist() == pytest.approx(expected, abs=1e-10)


def test_columns_that_enter_in_turn_add_what_sets_differ_by():
    r, table = correlation(), explained_by_all(correlation())
    orders = torch.stack(
        [torch.randperm(5, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    )
    for added, order in zip(explained_in_order(r, orders), orders.tolist(), strict=True):
        place = 0
        for column in order:
            expected = float(table[place + 2**column] - table[place])
            assert float(added[column]) == pytest.approx(expected, abs=1e-10)
            place += 2**column


def test_a_column_that_follows_from_others_adds_nothing():
    r = correlation()
    twice = r[[0, 1, 2, 3, 4, 2, 5]][:, [0, 1, 2, 3, 4, 2, 5]]
    table = explained_by_all(twice)
    assert float(table[-1]) == pytest.approx(float(explained_by_all(r)[-1]), abs=1e-9)
    assert float(table[0b100100]) == pytest.approx(float(table[0b100]), abs=1e-9)
    assert float(explained_in_order(twice, torch.tensor([[2, 5, 0, 1, 3, 4]]))[0, 5]) == 0


def test_without_columns_nothing_is_explained():
    assert explained_by_all(torch.ones(1, 1)).tolist() == [0]
