import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import numbers, tensors
from unmask import constant, features, logit, masked
from unmask.planted import Polynomial, polynomial_terms, recentred, taylor_terms

F = {(1, 0, 0): 2.0, (0, 2, 0): 1.0, (1, 1, 0): 3.0, (2, 1, 1): 1.0}
X = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


@st.composite
def polynomials(draw):
    degrees = st.tuples(*[st.integers(0, 3)] * 3)
    return Polynomial(draw(st.dictionaries(degrees, numbers(), min_size=1, max_size=5)))


def slow(terms, x):
    total = 0.0
    for kappa, c in terms.items():
        for degree, at in zip(kappa, x, strict=True):
            c *= at**degree
        total += c
    return total


@given(f=polynomials(), x=tensors(3))
def test_a_polynomial_is_the_sum_of_its_terms(f, x):
    assert float(f(x[None])) == pytest.approx(slow(f.terms, x.tolist()), rel=1e-12, abs=1e-9)


@given(f=polynomials(), x=tensors(3), b=tensors(3))
def test_moved_to_another_point_it_is_the_same_function(f, x, b):
    bound = 1e-12 * max(1.0, slow({k: abs(c) for k, c in f.terms.items()}, (x.abs() + b.abs()) + 1))
    assert abs(float(recentred(f, b)((x - b)[None]) - f(x[None]))) <= 10 * bound
    assert abs(sum(taylor_terms(f, x, b).values()) - float(f(x[None]))) <= 10 * bound


def test_the_terms_of_the_fixture():
    f = Polynomial(F)
    assert float(f(X[None])) == 18
    assert taylor_terms(f, X, torch.zeros(3)) == {
        (1, 0, 0): 2.0,
        (0, 2, 0): 4.0,
        (1, 1, 0): 6.0,
        (2, 1, 1): 6.0,
    }


@given(f=polynomials(), x=tensors(3), b=tensors(3))
def test_the_terms_make_the_masked_game(f, x, b):
    game = masked(logit(f, 0), x, features(3), b)
    table = game.table()
    terms = polynomial_terms(f, x, b)
    for place in range(8):
        mask = torch.tensor([[bool(place >> i & 1) for i in range(3)]])
        scale = max(1.0, float(terms.effects.abs().sum()), float(table.abs().max()))
        assert abs(float(terms(mask)) - float(table[place])) <= 1e-11 * scale


def test_derivatives_at_zero():
    f = Polynomial({(3, 1): 1.0, (0, 0): 5.0})
    at = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    value = f(at).sum()
    for column in (0, 0, 0, 1):
        (value,) = torch.autograd.grad(value, at, create_graph=True)
        value = value[0, column]
    assert value.item() == 6
    assert f(constant(at[0])[None]).dtype == torch.float64


@pytest.mark.parametrize("terms", [{}, {(1,): 1.0, (1, 2): 1.0}, {(-1, 0): 1.0}, {(): 1.0}])
def test_what_is_no_polynomial_is_refused(terms):
    with pytest.raises(ValueError, match="same number of degrees of at least 0"):
        Polynomial(terms)
