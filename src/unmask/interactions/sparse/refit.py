"""The coefficients of a game on sets that are given, by ridge regression."""

import numpy as np
from jaxtyping import Bool, Float64

from unmask.interactions.sparse.spectrum import Spectrum, parities

_PENALTIES = np.logspace(-6, 4, 41)


def refit(
    guess: Spectrum, masks: Bool[np.ndarray, "rows players"], values: Float64[np.ndarray, " rows"]
) -> Spectrum:
    r"""Fit parities to values, each free to move as far as its first guess was large.

    $$
    \min_F \sum_S \Bigl( v(S) - \sum_T F(T)\, \chi_T(S) \Bigr)^2
        + \lambda \sum_{T \ne \emptyset} F(T)^2 / g(T)^2
    $$

    The penalty is the one that generalised cross-validation chooses. A coefficient that was
    thought to be small stays so unless the values speak for it, which lets far more of them in
    than a ridge that treats all alike.

    Args:
        guess: the sets T and a first guess g of their coefficients; the empty set among them.
        masks: coalitions S.
        values: v of each.
    """
    empty = (guess.sets == guess.players).all(1)
    size = np.where(empty, 0.0, np.abs(guess.values))
    if not size.any():
        return Spectrum(guess.sets, np.where(empty, values.mean(), 0.0), guess.players)
    scale = np.maximum(size / size.max(), 1e-6)
    columns = parities(masks, guess.sets[~empty]) * scale[~empty]
    centre, mean = columns.mean(0), values.mean()  # the constant bears no penalty
    columns -= centre
    # Of rows and columns the fewer make the smaller matrix.
    few = len(masks) < columns.shape[1]
    gram = columns @ columns.T if few else columns.T @ columns
    spread, basis = np.linalg.eigh(gram)
    spread = np.clip(spread, 0, None)
    if few:
        along = basis.T @ (values - mean)
    else:
        along = np.divide(
            basis.T @ (columns.T @ (values - mean)),
            np.sqrt(spread),
            out=np.zeros_like(spread),
            where=spread > spread[-1] * 1e-14,
        )
    best = _penalty(spread, along, float(((values - mean) ** 2).sum()), len(masks))
    inner = along / (spread + best) if few else along * np.sqrt(spread) / (spread + best)
    fitted = (columns.T @ (basis @ inner) if few else basis @ inner) * scale[~empty]
    found = np.empty(len(guess.values))
    found[~empty] = fitted
    found[empty] = mean - (centre / scale[~empty]) @ fitted
    return Spectrum(guess.sets, found, guess.players)


def _penalty(
    spread: Float64[np.ndarray, " directions"],
    along: Float64[np.ndarray, " directions"],
    whole: float,
    rows: int,
) -> float:
    """That of the least error by generalised cross-validation."""
    tried = _PENALTIES * max(spread[-1], np.finfo(float).tiny) / rows
    kept = spread / (spread + tried[:, None])
    never = max(0.0, whole - float((along**2).sum()))  # what no coefficients explain
    left = never + (along**2 * (1 - kept) ** 2).sum(1)
    free = rows - 1 - kept.sum(1)
    # Where hardly a row is left to judge by, the penalty is not trusted.
    trusted = free > max(1.0, 0.02 * rows)
    risk = np.where(trusted, left / np.where(trusted, free, 1.0) ** 2, np.inf)
    return float(tried[np.argmin(risk)] if np.isfinite(risk).any() else tried[-1])


def significant(
    found: Spectrum, masks: Bool[np.ndarray, "rows players"], values: Float64[np.ndarray, " rows"]
) -> Spectrum:
    """Those coefficients that are four of their standard errors, and the empty set's.

    Args:
        found: coefficients, the empty set's first.
        masks: coalitions.
        values: v of each.
    """
    error = float(np.std(values - parities(masks, found.sets) @ found.values)) / len(values) ** 0.5
    kept = np.abs(found.values) > 4 * error
    kept[0] = True
    return Spectrum(found.sets[kept], found.values[kept], found.players)
