"""Fourier coefficients of a game on few sets: a sum of parities."""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

_WORDS = np.random.default_rng(20_261_120).integers(0, 2**63, 2**16, dtype=np.int64)
"""A random word per player; a set is known by the exclusive or of its players' words."""


@dataclass(frozen=True)
class Spectrum:
    r"""A game as a sum of parities.

    $$
    v(S) = \sum_T F(T)\, (-1)^{|S \cap T|}
    $$

    Args:
        sets: T, the players of each in rising order, filled up with n.
        values: F.
        players: n.
    """

    sets: Int[np.ndarray, "terms places"]
    values: Float64[np.ndarray, " terms"]
    players: int

    def dividends(self) -> dict[tuple[int, ...], float]:
        r"""The AND effects of the same game, the empty set among them.

        $$
        a(S) = (-2)^{|S|} \sum_{T \supseteq S} F(T)
        $$
        """
        order = (self.sets < self.players).sum(1)
        found: dict[tuple[int, ...], float] = {}
        for size in np.unique(order):
            inside = self.sets[order == size][:, :size]
            for pattern in np.ndindex(*(2,) * size):
                kept = inside[:, np.array(pattern, dtype=bool)]
                scaled = self.values[order == size] * (-2.0) ** sum(pattern)
                for one, value in zip(map(tuple, kept.tolist()), scaled.tolist(), strict=True):
                    found[one] = found.get(one, 0.0) + value
        return found

    def largest(self, count: int) -> "Spectrum":
        """The largest coefficients, and that of the empty set in any case."""
        size = np.abs(self.values)
        size[(self.sets == self.players).all(1)] = np.inf
        kept = np.sort(np.argsort(-size, kind="stable")[:count])
        return Spectrum(self.sets[kept], self.values[kept], self.players)

    def widened(self, order: int) -> "Spectrum":
        r"""All sets of at most k players besides, as large as those of their size are on average.

        $$
        g(T)^2 = \tfrac12 F(T)^2 + \tfrac12 \tbinom{n}{|T|}^{-1} \sum_{|R| = |T|} F(R)^2,
            \qquad |T| \le k
        $$

        It is a first guess for a fit that may find what was overlooked among them. Of a size of
        which none is known, the average is that of all other sets.

        Args:
            order: k.
        """
        players = ([i for i in row if i < self.players] for row in self.sets.tolist())
        known = dict(zip(map(tuple, players), self.values.tolist(), strict=True))
        rest = [value for one, value in known.items() if one]
        average = float(np.mean(np.square(rest))) if any(rest) else 1.0
        for size in range(order + 1):
            every = list(itertools.combinations(range(self.players), size))
            found = np.array([known.get(one, 0.0) for one in every])
            guess = np.sqrt((found**2 + ((found**2).mean() or average)) / 2)
            known |= dict(zip(every, guess.tolist(), strict=True))
        sets = np.full((len(known), max(map(len, known))), self.players)
        for row, one in zip(sets, known, strict=True):
            row[: len(one)] = one
        return Spectrum(sets, np.array([*known.values()]), self.players)


def parities(
    masks: Bool[np.ndarray, "rows players"], sets: Int[np.ndarray, "terms places"]
) -> Float64[np.ndarray, "rows terms"]:
    """(-1)^|S and T| for every mask S and set T.

    Args:
        masks: S.
        sets: T, filled up with the number of players.
    """
    signs = np.ones((masks.shape[1] + 1, len(masks)), dtype=np.int8)  # a row is a player
    signs[:-1][masks.T] = -1
    product = signs[sets[:, 0]] if sets.shape[1] else np.ones((len(sets), len(masks)), np.int8)
    for place in range(1, sets.shape[1]):
        deep = np.flatnonzero(sets[:, place] < masks.shape[1])  # most sets are small
        product[deep] *= signs[sets[deep, place]]
    return product.T.astype(np.float64)


def summed(
    sets: Int[np.ndarray, "terms places"], values: Float64[np.ndarray, " terms"], players: int
) -> Spectrum:
    """A spectrum from coefficients of which several may be of the same set.

    Args:
        sets: filled up with the number of players, in rising order.
        values: what is to be added up.
        players: n.
    """
    words = np.append(_WORDS[:players], 0)
    key = np.bitwise_xor.reduce(words[sets], axis=1) if sets.shape[1] else np.zeros(len(sets), int)
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    return Spectrum(sets[first], np.bincount(place.ravel(), values, len(first)), players)
