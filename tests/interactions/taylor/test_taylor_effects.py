from itertools import product
from math import factorial, prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from exhibits import exhibit
from strategies import numbers, relu_network, tensors
from unmask import features, logit, loss, masked
from unmask.interactions import and_interaction, by_support, taylor_effects
from unmask.planted import Polynomial, polynomial_terms, taylor_terms

F = Polynomial({(1, 0, 0): 2.0, (0, 2, 0): 1.0, (1, 1, 0): 3.0, (2, 1, 1): 1.0})
X = torch.tensor([[1.0, 2.0, 3.0], [2.0, -1.0, 0.5]], dtype=torch.float64)
ZERO = torch.zeros(3, dtype=torch.float64)


def by_degrees(found, row=0):
    return dict(zip(map(tuple, found.degrees.tolist()), found.effects[row].tolist(), strict=True))


def test_the_fixture():
    found = taylor_effects(logit(F, 0), X, baseline=ZERO, degree=4)
    effects = {kappa: effect for kappa, effect in by_degrees(found).items() if effect}
    assert effects == {(1, 0, 0): 2, (0, 2, 0): 4, (1, 1, 0): 6, (2, 1, 1): 6}
    assert found.left.tolist() == [0, 0]
    assert by_support(found)[0].tolist() == [0, 2, 4, 6, 0, 0, 0, 6]
    assert len(found.degrees) == 35  # C(3 + 4, 4)


@settings(max_examples=25)
@given(
    terms=st.dictionaries(st.tuples(*[st.integers(0, 2)] * 3), numbers(), min_size=1, max_size=4),
    x=tensors(3),
    b=tensors(3),
)
def test_polynomials_about_any_point(terms, x, b):
    f = Polynomial({**terms, (1, 0, 0): 1.0})
    found = taylor_effects(logit(f, 0), x[None], baseline=b, degree=6)
    truth = taylor_terms(f, x, b)
    # What is added and taken away may be far larger than what is left.
    reach = [1 + abs(a) + 2 * abs(c) for a, c in zip(x.tolist(), b.tolist(), strict=True)]
    scale = max(
        abs(c) * prod(r**k for r, k in zip(reach, kappa, strict=True))
        for kappa, c in f.terms.items()
    )
    for kappa, effect in by_degrees(found).items():
        assert effect == pytest.approx(truth.get(kappa, 0.0), abs=1e-11 * scale)
    assert abs(float(found.left)) <= 1e-10 * scale
    planted = polynomial_terms(f, x, b)
    for members, effect in zip(planted.members.tolist(), planted.effects.tolist(), strict=True):
        place = sum(2**i for i, member in enumerate(members) if member)
        assert float(by_support(found)[0, place]) == pytest.approx(effect, abs=1e-10 * scale)


def test_effects_of_a_support_are_dividends():
    """The bridge: psi and J are the Moebius transform of the masked game."""
    b = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    found = taylor_effects(logit(F, 0), X, baseline=b, degree=4)
    for row in range(2):
        terms = and_interaction(masked(logit(F, 0), X[row], features(3), b))
        assert by_support(found)[row, 1:].tolist() == pytest.approx(terms.effects.tolist())


def test_a_product_of_functions_whose_series_is_known():
    """exp(x) (1 + sin(y)) about (a, b): every derivative is written down by hand."""
    a, b = 0.3, -0.7
    score = logit(lambda x: x[:, 0].exp() * (1 + x[:, 1].sin()), 0)
    x = torch.tensor([[0.5, -0.2]], dtype=torch.float64)
    at = torch.tensor([a, b], dtype=torch.float64)
    found = by_degrees(taylor_effects(score, x, baseline=at, degree=5))
    sine = [torch.sin, torch.cos, lambda t: -torch.sin(t), lambda t: -torch.cos(t)]
    for i, j in product(range(6), range(6)):
        if i + j <= 5:
            of_y = float(sine[j % 4](at[1])) + (j == 0)
            exact = float(at[0].exp()) * of_y * 0.2**i * 0.5**j / factorial(i) / factorial(j)
            assert found[i, j] == pytest.approx(exact, rel=1e-9)


def test_what_the_expansion_misses_falls_with_the_degree():
    network = relu_network([4, 6, 3], 0, kink=nn.Tanh)
    score = logit(network, 1)
    x = 0.4 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double()
    left = [
        taylor_effects(score, x, baseline=torch.zeros(4), degree=degree).left.abs().max()
        for degree in (1, 3, 5)
    ]
    assert left[0] > 5 * left[1] > 25 * left[2]


def test_a_network_of_kinks_has_no_terms_beyond_the_first_degree():
    network = relu_network([4, 6, 3], 0)
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).double()
    found = taylor_effects(logit(network, 1), x, baseline=torch.ones(4), degree=3)
    assert (found.effects[:, found.degrees.sum(1) > 1] == 0).all()
    assert (found.left.abs() > 1e-3).all()


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_batches_change_nothing(batch_size):
    network = relu_network([3, 6, 3], 2, kink=nn.Tanh)
    score = loss(network, torch.tensor([0, 2]))  # one class per input
    whole = taylor_effects(score, X, baseline=ZERO, degree=3)
    parts = taylor_effects(score, X, baseline=ZERO, degree=3, batch_size=batch_size)
    assert torch.allclose(whole.effects, parts.effects, rtol=1e-12, atol=1e-14)
    for row, label in enumerate((0, 2)):
        alone = taylor_effects(loss(network, label), X[row : row + 1], baseline=ZERO, degree=3)
        assert torch.allclose(alone.effects[0], whole.effects[row], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["breast_cancer", "adult"])
def test_real_networks_to_first_degree(name):
    """Their first derivatives are those of autograd."""
    subject = exhibit(name)
    x, baseline = torch.stack(subject.inputs[:3]), subject.baseline(0)
    score = subject.score(subject.model, 1)
    found = taylor_effects(score, x, baseline=baseline, degree=1)
    point = baseline[None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(point).sum(), point)
    expected = ((x - baseline) * gradient).double()
    assert torch.allclose(found.effects[:, 1:], expected, rtol=1e-5, atol=1e-6)
    assert all(p.grad is None for p in subject.model.parameters())


def test_half_precision():
    network = relu_network([3, 6, 3], 2, kink=nn.Tanh, dtype=torch.bfloat16)
    x = X.to(torch.bfloat16)
    found = taylor_effects(logit(network, 0), x, baseline=ZERO, degree=2)
    assert found.effects.dtype == torch.float64
    assert found.effects.isfinite().all()


def test_bad_input():
    score = logit(F, 0)
    with pytest.raises(ValueError, match=r"rows of a table, \[batch, columns\]"):
        taylor_effects(score, X[None], baseline=ZERO, degree=2)
    with pytest.raises(ValueError, match="Give at least 1"):
        taylor_effects(score, X, baseline=ZERO, degree=0)
    wide = logit(lambda x: x.sum(1), 0)
    with pytest.raises(ValueError, match="fewer columns"):
        taylor_effects(wide, torch.ones(1, 60), baseline=torch.zeros(60), degree=4)
    root = logit(lambda x: x.sqrt().sum(1), 0)
    with pytest.raises(ValueError, match="Expand about a point where the model is smooth"):
        taylor_effects(root, X, baseline=ZERO, degree=1)
    with pytest.raises(ValueError, match="any differentiable path"):
        taylor_effects(logit(lambda x: x.detach().sum(1), 0), X, baseline=ZERO, degree=1)
    with pytest.raises(ValueError, match="one baseline here"):
        taylor_effects(score, X, baseline=X, degree=1)
