"""Strength by order, against plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import tensors
from unmask.interactions.terms.orders import mean_order, order_shares, order_sums, total_variation


@st.composite
def stacks(draw):
    players = draw(st.integers(1, 4))
    return draw(tensors(draw(st.integers(1, 3)), 2, 2**players))


@given(stacks())
def test_sums_and_shares_are_those_of_plain_loops(stack):
    stack[..., 0] = 0
    positive, negative = order_sums(stack)
    shares, centres = order_shares(stack), mean_order(order_shares(stack))
    players = stack.shape[-1].bit_length() - 1
    for row, kinds in enumerate(stack.tolist()):
        up, down = [0.0] * (players + 1), [0.0] * (players + 1)
        for effects in kinds:
            for place, effect in enumerate(effects):
                order = bin(place).count("1")
                up[order] += max(effect, 0)
                down[order] += min(effect, 0)
        assert positive[row].tolist() == pytest.approx(up[1:])
        assert negative[row].tolist() == pytest.approx(down[1:])
        total = sum(up) - sum(down)
        if total > 0:
            strength = [(a - b) / total for a, b in zip(up, down, strict=True)]
            assert shares[row].tolist() == pytest.approx(strength[1:])
            centre = sum(k * part for k, part in enumerate(strength))
            assert float(centres[row]) == pytest.approx(centre)
        else:
            assert shares[row].isnan().all()
            assert math.isnan(float(centres[row]))


def test_total_variation_is_what_has_to_move():
    one = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert total_variation(one, torch.tensor([0.5, 0.25, 0.25])).tolist() == [0.25, 0.75]
    assert total_variation(one[0], one[0]) == 0
