import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import tables, tensors
from unmask.lattice import (
    MIRROR,
    MOEBIUS,
    WALSH,
    ZETA,
    coalitions,
    indices,
    sizes,
    transform,
)


def subsets(players):
    """Coalitions as sets, in lattice order."""
    return [frozenset(i for i in range(players) if place >> i & 1) for place in range(2**players)]


def dense(name, players):
    """The transform written out from its definition, entry by entry."""
    everyone = frozenset(range(players))
    entry = {
        "zeta": lambda s, t: float(t <= s),
        "moebius": lambda s, t: float((-1) ** len(s - t)) if t <= s else 0.0,
        "mirror": lambda s, t: float(t == everyone - s),
        "walsh": lambda s, t: float((-1) ** len(s & t)),
    }[name]
    every = subsets(players)
    return torch.tensor([[entry(s, t) for t in every] for s in every], dtype=torch.float64)


MATRICES = {"zeta": ZETA, "moebius": MOEBIUS, "mirror": MIRROR, "walsh": WALSH}


@pytest.mark.parametrize("players", range(9))
@pytest.mark.parametrize("name", MATRICES)
def test_transforms_are_their_definitions(name, players):
    v = torch.randn(
        3, 2**players, dtype=torch.float64, generator=torch.Generator().manual_seed(players)
    )
    expected = v @ dense(name, players).T
    assert (transform(v, MATRICES[name]) - expected).abs().max() <= 1e-12 * expected.abs().max()


@given(tables(1, 6), st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_any_matrix_is_applied_along_every_player(v, entries):
    matrix = np.array(entries).reshape(2, 2)
    power = np.ones((1, 1))
    for _ in range(len(v).bit_length() - 1):
        power = np.kron(matrix, power)
    assert torch.allclose(transform(v, matrix), torch.tensor(power) @ v, atol=1e-9)


@pytest.mark.parametrize("players", [1, 6, 7, 12, 13, 18])
def test_zeta_undoes_moebius(players):
    v = torch.randn(2**players, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    back = transform(transform(v, MOEBIUS), ZETA)
    assert (back - v).abs().max() <= 1e-12 * v.abs().max()


@given(tables(1, 6))
def test_transforms_of_composed_matrices_are_composed_transforms(v):
    both = transform(transform(v, MIRROR), MOEBIUS)
    assert torch.allclose(transform(v, MOEBIUS @ MIRROR), both, atol=1e-12)
    assert torch.equal(transform(v, MIRROR), v.flip(-1))
    assert torch.allclose(transform(transform(v, WALSH), WALSH), v * len(v), atol=1e-10)


@given(st.data())
def test_transforms_of_a_batch_are_those_of_its_rows(data):
    v = data.draw(tensors(2, 3, 16))
    rows = torch.stack([transform(row, MOEBIUS) for row in v.view(6, 16)]).view(2, 3, 16)
    assert torch.allclose(transform(v, MOEBIUS), rows, atol=1e-12)


@pytest.mark.parametrize("players", [3, 8, 13])
def test_transforms_leave_their_input_and_do_not_mind_its_strides(players):
    v = torch.randn(2**players, 3, dtype=torch.float64).T
    before = v.clone()
    assert torch.equal(transform(v, MOEBIUS), transform(v.contiguous(), MOEBIUS))
    assert torch.equal(v, before)
    assert transform(v[:0], MOEBIUS).shape == (0, 2**players)


@pytest.mark.parametrize("players", [3, 8, 13])
def test_transforms_have_the_gradient_of_the_transposed_matrix(players):
    v = torch.randn(2, 2**players, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 2**players, dtype=torch.float64)
    (transform(v, MOEBIUS) * weight).sum().backward()
    assert v.grad is not None
    assert torch.allclose(v.grad, transform(weight, MOEBIUS.T), atol=1e-10)


def test_what_is_kept_from_inference_serves_under_autograd():
    odd = np.array([[1.0, 0.25], [0.125, 1.0]])  # asked for nowhere else, so not kept yet
    with torch.inference_mode():
        transform(torch.ones(8), odd)
    v = torch.ones(8, requires_grad=True)
    transform(v, odd).sum().backward()
    assert v.grad is not None


def test_coalitions_count_in_binary():
    masks = coalitions(4)
    assert masks.shape == (16, 4)
    for place, mask in enumerate(masks.tolist()):
        assert mask == [bool(place >> i & 1) for i in range(4)]
    assert coalitions(0).shape == (1, 0)


@given(st.integers(1, 10))
def test_indices_and_sizes_follow_the_coalitions(players):
    masks = coalitions(players)
    assert indices(masks).tolist() == list(range(2**players))
    assert sizes(players).tolist() == [place.bit_count() for place in range(2**players)]
    assert indices(masks.view(2, -1, players)).shape == (2, 2 ** (players - 1))


@pytest.mark.parametrize("length", [0, 3, 12])
def test_a_table_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match=rf"2\^n values, but the last axis has {length}"):
        transform(torch.zeros(length), MOEBIUS)
