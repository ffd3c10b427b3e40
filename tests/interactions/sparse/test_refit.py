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
