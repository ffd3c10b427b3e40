"""Ridge regression on parities, against scikit-learn and against what is known."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from unmask.interactions.sparse.refit import refit, significant
from unmask.interactions.sparse.spectrum import Spectrum, parities


def planted(rows, noise, terms=20, seed=0):
    random = np.random.default_rng(seed)
    n = 30
    pairs = np.array(list(itertools.combinations(range(n), 2)))
    pairs = pairs[random.permutation(len(pairs))[:terms]]
    sets = np.concatenate([[[n, n]], pairs])
    values = random.standard_normal(terms + 1)
    masks = random.random((rows, n)) < 0.5
    answers = parities(masks, sets) @ values + noise * random.standard_normal(rows)
    return Spectrum(sets, values, n), masks, answers


@pytest.mark.parametrize("rows", [400, 15])
def test_it_is_a_ridge_with_columns_scaled_by_the_guess(rows):
    truth, masks, answers = planted(rows, 0.5)
    guess = Spectrum(truth.sets, np.abs(truth.values) + 0.1, 30)
    found = refit(guess, masks, answers)
    scale = guess.values[1:] / guess.values[1:].max()
    columns = parities(masks, truth.sets[1:]) * scale
    # Whatever the penalty, the solution solves its normal equations: found from one, held by all.
    left = answers - parities(masks, found.sets) @ found.values
    beta = found.values[1:] / scale
    penalty = float((columns - columns.mean(0)).T[0] @ left / beta[0])
    twin = Ridge(alpha=penalty, tol=1e-12).fit(columns, answers)
    assert np.allclose(twin.coef_ * scale, found.values[1:], atol=1e-8)
    assert twin.intercept_ == pytest.approx(found.values[0], abs=1e-8)
    assert penalty > 0


PENALTIES = np.logspace(-6, 4, 41)


def chosen(guess, masks, answers):
    """Which of the penalties was taken, from the normal equations that the solution holds."""
    found = refit(guess, masks, answers)
    scale = guess.values[1:] / guess.values[1:].max()
    columns = parities(masks, guess.sets[1:]) * scale
    columns -= columns.mean(0)
    left = answers - parities(masks, found.sets) @ found.values
    beta = found.values[1:] / scale
    largest = int(np.abs(beta).argmax())
    penalty = columns[:, largest] @ left / beta[largest]
    unit = np.linalg.norm(columns, 2) ** 2 / len(masks)
    place = np.abs(np.log(PENALTIES) - np.log(penalty / unit)).argmin()
    assert PENALTIES[place] == pytest.approx(penalty / unit, rel=1e-6)
    return int(place), columns, unit


@pytest.mark.parametrize(("rows", "terms"), [(60, 20), (24, 20), (15, 20), (150, 160)])
def test_the_penalty_is_that_of_generalised_cross_validation(rows, terms):
    taken = set()
    for seed in range(12):
        truth, masks, answers = planted(rows, seed / 4, terms, seed)
        guess = Spectrum(truth.sets, np.abs(truth.values) + 0.1, 30)
        place, columns, unit = chosen(guess, masks, answers)
        risks = []
        for penalty in PENALTIES * unit:
            inverse = np.linalg.inv(columns.T @ columns + penalty * np.eye(terms))
            hat = 1 / rows + columns @ inverse @ columns.T  # the constant is fitted, unpenalised
            left = answers - hat @ answers
            free = rows - np.trace(hat)
            enough = free > max(1, 0.02 * rows)
            risks.append(left @ left / free**2 if enough else np.inf)
        assert place == np.argmin(risks)
        taken.add(place)
    assert len(taken) > 3  # so that a formula which takes the same always is told apart


def test_where_all_rows_are_alike_it_is_leaving_one_out():
    # On all coalitions the hat matrix has one number on its diagonal: then the generalised rule
    # and the plain one, by fitting anew without each row, agree.
    n, rows = 5, 32
    masks = (np.arange(rows)[:, None] >> np.arange(n)) % 2 == 1
    sets = [[n, n], *([i, n] for i in range(n)), *itertools.combinations(range(n), 2)]
    taken = set()
    for seed in range(6):
        random = np.random.default_rng(seed)
        values = random.standard_normal(len(sets))
        answers = parities(masks, np.array(sets)) @ values + 1.5 * random.standard_normal(rows)
        guess = Spectrum(np.array(sets), np.abs(values) + 0.1, n)
        place, columns, unit = chosen(guess, masks, answers)
        errors = []
        for penalty in PENALTIES * unit:
            error = 0.0
            for i in range(rows):
                others = np.arange(rows) != i
                centre, mean = columns[others].mean(0), answers[others].mean()
                inner = columns[others] - centre
                gram = inner.T @ inner + penalty * np.eye(len(centre))
                beta = np.linalg.solve(gram, inner.T @ (answers[others] - mean))
                error += (answers[i] - mean - (columns[i] - centre) @ beta) ** 2
            errors.append(error)
        assert place == np.argmin(errors)
        taken.add(place)
    assert len(taken) > 2


def test_without_noise_nothing_is_lost():
    truth, masks, answers = planted(400, 0.0)
    found = refit(Spectrum(truth.sets, np.ones(21), 30), masks, answers)
    assert np.abs(found.values - truth.values).max() < 1e-5


def test_a_guess_of_nothing_is_the_mean():
    truth, masks, answers = planted(50, 1.0)
    found = refit(Spectrum(truth.sets, np.zeros(21), 30), masks, answers)
    assert found.values[0] == pytest.approx(answers.mean())
    assert not found.values[1:].any()


def test_what_could_be_noise_goes():
    truth, masks, answers = planted(2000, 1.0)
    values = truth.values.copy()
    values[1:] = np.where(
        np.arange(20) < 10, 1.0, 0.05
    )  # a standard error is 1 / sqrt(2000) = 0.022
    answers = parities(masks, truth.sets) @ values
    answers += np.random.default_rng(5).standard_normal(2000)
    kept = significant(Spectrum(truth.sets, values, 30), masks, answers)
    assert len(kept.values) == 11
