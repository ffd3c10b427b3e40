"""Arithmetic in the fields of 2^m elements, many numbers at a time."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int

_POLYNOMIALS = {
    3: 0b1011,
    4: 0b10011,
    5: 0b100101,
    6: 0b1000011,
    7: 0b10001001,
    8: 0b100011101,
    9: 0b1000010001,
    10: 0b10000001001,
    11: 0b100000000101,
    12: 0b1000001010011,
    13: 0b10000000011011,
    14: 0b100010001000011,
}
"""Primitive over the field of two: the powers of x run through all elements but zero."""

LARGEST = max(_POLYNOMIALS)
"""The largest m."""

Elements = Int[np.ndarray, "..."]


@dataclass(frozen=True)
class Field:
    """The field of 2^m elements; a number's bits are the coefficients of a polynomial.

    Args:
        m: bits of an element.
        powers: of the element x, twice around, so that exponents need no wrapping.
        exponent: the power that gives each element; of zero it means nothing.
    """

    m: int
    powers: Elements
    exponent: Elements

    @property
    def units(self) -> int:
        """Elements that are not zero."""
        return 2**self.m - 1

    def times(self, a: Elements, b: Elements) -> Elements:
        """Products."""
        product = self.powers[self.exponent[a] + self.exponent[b]]
        return np.where((a == 0) | (b == 0), 0, product)

    def over(self, a: Elements, b: Elements) -> Elements:
        """Quotients; what is divided by zero means nothing."""
        quotient = self.powers[self.exponent[a] - self.exponent[b] + self.units]
        return np.where(a == 0, 0, quotient)


@lru_cache
def field_of(m: int) -> Field:
    """The field of 2^m elements.

    Args:
        m: from 3 to 14.
    """
    powers, element = [], 1
    for _ in range(2**m - 1):
        powers.append(element)
        element <<= 1
        if element >> m:
            element ^= _POLYNOMIALS[m]
    exponent = np.zeros(2**m, dtype=np.int64)
    exponent[powers] = np.arange(2**m - 1)
    return Field(m, np.array(powers * 2 + powers[:1]), exponent)
