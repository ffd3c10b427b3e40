"""Codes that tell a small set of players from the parities of a few larger ones."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from unmask.interactions.sparse.galois import Field, field_of

_LOOKED_UP = 2**24
"""Table entries that are looked up at a time."""


@dataclass(frozen=True)
class Code:
    r"""The parity checks of a BCH code that corrects t errors, shortened to n players.

    $$
    s_j(T) = \sum_{i \in T} \alpha^{(2j-1)\, i}, \qquad j = 1, \dots, t
    $$

    The bits of these t sums in the field of 2^m elements are the parities of m t sets of players
    with T. No two sets of at most t players have the same.

    Args:
        field: of 2^m elements, more than there are players.
        players: n.
        correct: t.
    """

    field: Field
    players: int
    correct: int

    def checks(self) -> Bool[np.ndarray, "bits players"]:
        """The sets whose parities are asked for, one per row."""
        odd = 2 * np.arange(self.correct) + 1
        elements = self.field.powers[np.outer(odd, np.arange(self.players)) % self.field.units]
        bits = elements[:, None, :] >> np.arange(self.field.m)[:, None] & 1
        return bits.reshape(-1, self.players).astype(bool)

    def decoded(
        self, parities: Bool[np.ndarray, "words bits"]
    ) -> tuple[Bool[np.ndarray, "words players"], Bool[np.ndarray, " words"]]:
        """The set of at most t players with these parities, and whether there is one.

        By the algorithm of Berlekamp and Massey for a polynomial whose roots tell the players, and
        trying out all of them.
        """
        locator, degree = self._locators(self._syndromes(parities))
        sets = self._roots(locator)
        return sets, (degree <= self.correct) & (sets.sum(1) == degree)

    def _syndromes(self, parities: Bool[np.ndarray, "words bits"]) -> Int[np.ndarray, "words sums"]:
        """s_1 to s_2t; those of even number are the squares of others."""
        weights = 1 << np.arange(self.field.m)
        odd = parities.reshape(len(parities), self.correct, self.field.m) @ weights
        sums = np.zeros((len(parities), 2 * self.correct + 1), dtype=np.int64)
        sums[:, 1::2] = odd
        for i in range(2, 2 * self.correct + 1, 2):
            sums[:, i] = self.field.times(sums[:, i // 2], sums[:, i // 2])
        return sums[:, 1:]

    def _locators(
        self, sums: Int[np.ndarray, "words sums"]
    ) -> tuple[Int[np.ndarray, "words coefficients"], Int[np.ndarray, " words"]]:
        """The shortest recurrences that the sums obey, and their lengths."""
        words, steps = sums.shape
        times, over = self.field.times, self.field.over
        here = np.zeros((words, steps + 1), dtype=np.int64)
        here[:, 0] = 1
        before, missed = here.copy(), np.ones(words, dtype=np.int64)
        length = np.zeros(words, dtype=np.int64)
        for i in range(steps):
            before = np.roll(before, 1, axis=1)
            before[:, 0] = 0
            terms = times(here[:, : i + 1], sums[:, i::-1])
            off = np.bitwise_xor.reduce(terms, axis=1)
            changed = here ^ times(over(off, missed)[:, None], before)
            longer = (off != 0) & (2 * length <= i)
            before = np.where(longer[:, None], here, before)
            missed = np.where(longer, off, missed)
            length = np.where(longer, i + 1 - length, length)
            here = np.where((off != 0)[:, None], changed, here)
        return here, length

    def _roots(
        self, locator: Int[np.ndarray, "words coefficients"]
    ) -> Bool[np.ndarray, "words players"]:
        """The players i for which the inverse of alpha^i is a root."""
        units = self.field.units
        powers = -np.outer(np.arange(self.correct + 1), np.arange(self.players)) % units
        found = np.zeros((len(locator), self.players), dtype=bool)
        step = max(1, _LOOKED_UP // (self.players * (self.correct + 1)))
        for start in range(0, len(locator), step):
            some = locator[start : start + step, : self.correct + 1]
            value = np.zeros((len(some), self.players), dtype=np.int64)
            for j in range(self.correct + 1):
                # Written out, since the exponents of the powers are known.
                term = self.field.powers[self.field.exponent[some[:, j, None]] + powers[j]]
                value ^= np.where(some[:, j, None] == 0, 0, term)
            found[start : start + step] = value == 0
        return found


def code_for(players: int, correct: int) -> Code:
    """A code for so many players.

    Args:
        players: n.
        correct: players of a set at most.
    """
    return Code(field_of(max(3, players.bit_length())), players, correct)
