"""Finite fields, by hand and by their axioms."""

import numpy as np
import pytest

from unmask.interactions.sparse.galois import LARGEST, field_of


def product(a, b, polynomial, m):
    """Of two polynomials over the field of two, bit by bit."""
    total = 0
    for i in range(m):
        if b >> i & 1:
            total ^= a << i
    for i in range(2 * m, m - 1, -1):
        if total >> i & 1:
            total ^= polynomial << (i - m)
    return total


def test_the_field_of_eight_by_hand():
    # x^3 = x + 1, so that the powers of x are 1, x, x^2, x+1, x^2+x, x^2+x+1, x^2+1.
    field = field_of(3)
    assert field.powers[:7].tolist() == [1, 2, 4, 3, 6, 7, 5]
    assert int(field.times(np.array(6), np.array(5))) == 3  # x^4 x^6 = x^10 = x^3
    assert int(field.over(np.array(3), np.array(5))) == 6
    assert int(field.times(np.array(0), np.array(5))) == 0


@pytest.mark.parametrize(("m", "polynomial"), [(4, 0b10011), (8, 0b100011101)])
def test_products_are_those_of_polynomials(m, polynomial):
    field = field_of(m)
    a, b = np.random.default_rng(0).integers(0, 2**m, (2, 300))
    wanted = [product(int(x), int(y), polynomial, m) for x, y in zip(a, b, strict=True)]
    assert field.times(a, b).tolist() == wanted


@pytest.mark.parametrize("m", range(3, LARGEST + 1))
def test_the_powers_run_through_all_elements(m):
    field = field_of(m)
    assert sorted(field.powers[: field.units].tolist()) == list(range(1, 2**m))
    a = np.arange(1, 2**m)
    assert (field.times(a, field.over(np.ones_like(a), a)) == 1).all()
