r"""The basis in which operators that treat all players alike fall into small blocks.

The sum of several Kronecker powers, say $I + A^{\otimes n} + \beta B^{\otimes n}$, is no Kronecker
power, and where A and B share no eigenvectors nothing diagonalises it. But it does not care which
player is which, and so splits, as the spins of n electrons do, into one small block per total spin,
each repeated many times. Here the players are taken in two or three groups of up to seven. Within a
group the change of basis is one dense orthogonal matrix; the groups' spins are left uncoupled, so
that a block has at most a few hundred rows. Two Kronecker-like passes and a few dozen small matrix
products then apply the inverse of such a sum exactly.
"""

from functools import lru_cache
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh
from torch import Tensor

GROUP = 7
"""Players of a group at most."""


class InverseOfSum:
    r"""$(I + A^{\otimes n} + \beta B^{\otimes n})^{-1}$, symmetric A, B of determinant one.

    In each block a basis is kept that makes $I + A^{\otimes n}$ one and $B^{\otimes n}$ diagonal,
    so that every game may have its own beta.

    Args:
        a: A, 2 x 2, rows the output bit.
        b: B.
        players: n.
        like: a tensor of the type and on the device of those it will be applied to.
    """

    def __init__(self, a: np.ndarray, b: np.ndarray, players: int, like: Tensor) -> None:
        count = -(-players // GROUP)
        self.groups = [(players + i) // count for i in range(count)]  # lowest players first
        self.bases = [like.new_tensor(spin_basis(group)[0]) for group in self.groups]
        order: list[np.ndarray] = []
        self.blocks: list[tuple[Tensor, Tensor]] = []
        layouts = [spin_basis(group)[1] for group in self.groups]
        for parts in product(*layouts):
            place = np.zeros((1, 1), dtype=np.int64)
            powers = np.ones((1, 1)), np.ones((1, 1))
            stride = 1
            for group, (first, copies, width) in zip(self.groups, parts, strict=True):
                own = first + np.arange(copies * width).reshape(copies, width)
                # Rows count the copies, columns the entries of a block; higher groups vary slower.
                place = stride * own[:, None, :, None] + place[None, :, None, :]
                place = place.reshape(-1, width * len(powers[0]))
                stride *= 2**group
                powers = (
                    np.kron(_spin_power(a, group, first, width), powers[0]),
                    np.kron(_spin_power(b, group, first, width), powers[1]),
                )
            order.append(place.ravel())
            values, vectors = eigh(powers[1], np.eye(len(powers[0])) + powers[0])
            self.blocks.append((like.new_tensor(values), like.new_tensor(vectors)))
        self.order = torch.tensor(np.concatenate(order), device=like.device)
        self.lengths = [len(places) for places in order]
        self.back = torch.empty_like(self.order)
        self.back[self.order] = torch.arange(len(self.order), device=like.device)

    def __call__(
        self, v: Float[Tensor, "batch coalitions"], beta: Float[Tensor, "batch 1 1"]
    ) -> Float[Tensor, "batch coalitions"]:
        spins = self._turn(v, forward=True)[:, self.order]
        out = torch.empty_like(spins)
        first = 0
        for (values, vectors), length in zip(self.blocks, self.lengths, strict=True):
            last = first + length
            piece = spins[:, first:last].reshape(len(v), -1, len(values))
            piece = (piece @ vectors / (1 + beta * values)) @ vectors.T
            out[:, first:last] = piece.reshape(len(v), -1)
            first = last
        return self._turn(out[:, self.back], forward=False)

    def _turn(self, v: Tensor, *, forward: bool) -> Tensor:
        out, done = v, 0
        for group, basis in zip(self.groups, self.bases, strict=True):
            matrix = basis if forward else basis.T
            if done == 0:
                out = out.reshape(-1, 2**group) @ matrix.T
            else:
                out = matrix @ out.reshape(-1, 2**group, 2**done)
            done += group
        return out.view(v.shape)


@lru_cache(maxsize=8)
def spin_basis(players: int) -> tuple[np.ndarray, tuple[tuple[int, int, int], ...]]:
    """The orthogonal change of basis, and where each spin stands in it.

    Rows are sorted by spin, then by copy, then by entry. A spin is given as (first row, number of
    copies, number of entries).
    """
    # copies, entries, coalitions: players join one at a time, and each couples up or down.
    states = {0: np.ones((1, 1, 1))}
    for _ in range(players):
        joined: dict[int, list[np.ndarray]] = {}
        for d, state in states.items():
            absent = np.concatenate([state, np.zeros_like(state)], axis=-1)
            present = np.concatenate([np.zeros_like(state), state], axis=-1)
            up = np.zeros((len(state), d + 2, absent.shape[-1]))
            k = np.arange(d + 1)[:, None]
            up[:, :-1] += np.sqrt((d + 1 - k) / (d + 1)) * absent
            up[:, 1:] += np.sqrt((k + 1) / (d + 1)) * present
            joined.setdefault(d + 1, []).append(up)
            if d > 0:
                k = np.arange(d)[:, None]
                down = np.sqrt((d - k) / (d + 1)) * present[:, :-1]
                down -= np.sqrt((k + 1) / (d + 1)) * absent[:, 1:]
                joined.setdefault(d - 1, []).append(down)
        states = {d: np.concatenate(parts) for d, parts in joined.items()}
    rows, layout, first = [], [], 0
    for d in sorted(states):
        copies = len(states[d])
        rows.append(states[d].reshape(-1, 2**players))
        layout.append((first, copies, d + 1))
        first += copies * (d + 1)
    return np.concatenate(rows), tuple(layout)


def _spin_power(matrix: np.ndarray, players: int, first: int, width: int) -> np.ndarray:
    """The block of a Kronecker power that belongs to one spin, read off its first copy."""
    power = np.ones((1, 1))
    for _ in range(players):
        power = np.kron(matrix, power)
    rows = spin_basis(players)[0][first : first + width]
    return rows @ power @ rows.T
