r"""The derivative of the least L1 norm by the values of the game.

In the letters of `programme`, the best dual vector $\lambda$ proves the norm, and as $w = V v$, it
does so by a weight for each coalition's value:

$$
L = \langle \lambda, w \rangle = \langle u, v \rangle, \qquad u = V^\top \lambda
$$

The limits of $\lambda$ do not depend on the game. So the same u bounds the norm of any other game
from below, and is a subgradient of L; the derivative, where no other u is as good.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from unmask.interactions.solver.programme import SIGNED, programme
from unmask.interactions.solver.sparsest import sparsest
from unmask.lattice import transform


@dataclass(frozen=True)
class Proven:
    """The strength of terms of some games, and what it hangs on.

    Args:
        l1: the L1 norm of the terms, per game.
        weight: u, what each coalition's value adds to it.
    """

    l1: Float[Tensor, " batch"]
    weight: Float[Tensor, "batch coalitions"]


def of_sparsest(
    tables: Float[Tensor, "batch coalitions"], *, precision: float | None = None, steps: int = 5000
) -> Proven:
    """Of the sparsest AND-OR terms. <u, v> falls short of L by no more than the gap reached.

    Args:
        tables: values of all coalitions in lattice order, one game per row.
        precision: the gap at which to stop; None for 1e-6 up to 10 players and 1e-2 beyond.
        steps: iterations after which to stop in any case.
    """
    players = tables.shape[1].bit_length() - 1
    tables = tables.double()
    best = sparsest(
        tables - tables[:, :1],
        weights=tables.new_ones(players + 1),
        noise=tables.new_zeros(len(tables)),
        precision=precision,
        steps=steps,
    )
    return Proven(best.upper, transform(best.dual, SIGNED.T))


def of_ands(tables: Float[Tensor, "batch coalitions"]) -> Proven:
    """Of the AND terms alone, which are what they are: the signs of the terms are the proof.

    Args:
        tables: values of all coalitions in lattice order, one game per row.
    """
    players = tables.shape[1].bit_length() - 1
    tables = tables.double()
    signed = programme(
        tables - tables[:, :1], tables.new_ones(players + 1), tables.new_zeros(len(tables))
    ).w
    return Proven(signed.abs().sum(1), transform(signed.sign(), SIGNED.T))
