r"""The linear programme whose solution is the sparsest AND-OR logic of a game.

Write the AND terms as $x_L = (-1)^{|L|} I_\wedge(L)$, and the OR terms with their coalition
mirrored, $y_S = I_\vee(N \setminus S)$. With $w = V v$ and the noise q, a logic reproduces the game
v + q on every coalition exactly if

$$
x = w + D y + V q, \qquad D = \begin{pmatrix} 1 & 1 \\ 1 & 0 \end{pmatrix}^{\otimes n}, \quad
V = \begin{pmatrix} 1 & 0 \\ 1 & -1 \end{pmatrix}^{\otimes n}
$$

in all rows but that of the empty coalition. So y (and q) may be chosen freely, and x follows: any
choice is a logic of the network, and the only question is how sparse it is. As the OR and the AND
of a single player are the same thing, y is zero there in what we return.

Every number vector $\lambda$ that keeps $|\lambda_L| \le c_L$ and $|(D \lambda)_S| \le c_S$ proves
that no logic at all has a smaller cost than $\langle \lambda, w \rangle - \kappa \lVert V^\top
\lambda \rVert_1$. Any vector can be scaled until it keeps them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.lattice import sizes, transform

DISJOINT = np.array([[1, 1], [1, 0]])
"""1 where two coalitions share no player."""
SIGNED = np.array([[1, 0], [1, -1]])
"""The Moebius transform, its odd rows negated; its own inverse."""


class Coupled:
    """What holds of one network's logic by itself: x = w + D y + V q.

    Each table of w is one network's on one input, whatever the axes before the last.
    """

    w: Float[Tensor, "*batch coalitions"]
    noise: Float[Tensor, "*batch"]

    @property
    def players(self) -> int:
        return self.w.shape[-1].bit_length() - 1

    @property
    def tolerant(self) -> bool:
        return bool((self.noise > 0).any())

    def merged(self, y: Float[Tensor, "*batch coalitions"]) -> Float[Tensor, "*batch coalitions"]:
        """y without the ORs of one player or of nobody; their effect goes over to x."""
        return y.masked_fill(_alone(self.players, y.device), 0)

    def and_terms(
        self,
        y: Float[Tensor, "*batch coalitions"],
        q: Float[Tensor, "*batch coalitions"] | None = None,
    ) -> Float[Tensor, "*batch coalitions"]:
        """The x that goes with y and q."""
        x = self.w + transform(y, DISJOINT)
        if q is not None:
            x += transform(q, SIGNED)
        x[..., 0] = 0
        return x


@dataclass(frozen=True)
class Programme(Coupled):
    """One such programme per row of w, all with the same costs.

    Args:
        w: signed dividends of the games; zero at the empty coalition.
        and_cost: c of the entries of x; zero at the empty coalition, which is no term.
        or_cost: c of the entries of y, in the mirrored order of y; zero at its last entry, the
            OR of nobody.
        noise: kappa, how far v + q may be from v, per row; q of the empty coalition is zero.
    """

    w: Float[Tensor, "batch coalitions"]
    and_cost: Float[Tensor, " coalitions"]
    or_cost: Float[Tensor, " coalitions"]
    noise: Float[Tensor, " batch"]

    def rows(self, index: Int[Tensor, " rows"] | slice) -> "Programme":
        return Programme(self.w[index], self.and_cost, self.or_cost, self.noise[index])

    def cost(
        self,
        y: Float[Tensor, "batch coalitions"],
        q: Float[Tensor, "batch coalitions"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """The weighted L1 norm of all terms."""
        y = self.merged(y)
        return self.and_terms(y, q).abs() @ self.and_cost + y.abs() @ self.or_cost

    def on_or(self, dual: Float[Tensor, "batch coalitions"]) -> Float[Tensor, "batch coalitions"]:
        """What a dual vector says of the OR terms: D lambda."""
        return transform(dual, DISJOINT)

    def certificate(
        self, dual: Float[Tensor, "batch coalitions"]
    ) -> Float[Tensor, "batch coalitions"]:
        """The dual vector, scaled until it touches the first of its limits."""
        dual = dual.clone()
        dual[:, 0] = 0
        if self.players == 0:
            return dual
        on_or = self.on_or(dual)[:, :-1].abs() / self.or_cost[:-1]
        on_and = dual[:, 1:].abs() / self.and_cost[1:]
        scale = torch.maximum(on_or.amax(-1, keepdim=True), on_and.amax(-1, keepdim=True))
        return dual / scale.clamp_min(torch.finfo(scale.dtype).tiny)

    def bound(self, certificate: Float[Tensor, "batch coalitions"]) -> Float[Tensor, " batch"]:
        """A cost that no logic goes below, proven by a dual vector within its limits."""
        value = (certificate * self.w).sum(-1)
        if self.tolerant:
            spent = transform(certificate, SIGNED.T)[:, 1:].abs().sum(-1)
            value -= self.noise * spent
        return value.clamp_min(0)


def programme(
    values: Float[Tensor, "batch coalitions"],
    weights: Float[Tensor, " orders"],
    noise: Float[Tensor, " batch"],
) -> Programme:
    """The programme of games whose empty coalition is worth zero, with a weight per order."""
    players = values.shape[-1].bit_length() - 1
    w = transform(values, SIGNED)
    w[:, 0] = 0
    and_cost = weights.to(values)[sizes(players).to(values.device)]
    and_cost[0] = 0
    return Programme(w, and_cost, and_cost.flip(0), noise)


class Best:
    """The sparsest logic and the highest bound met so far, per row of a programme.

    `silent` marks entries of x that are zero but for rounding.
    """

    def __init__(self, problem: Programme) -> None:
        self.problem = problem
        self.y = torch.zeros_like(problem.w)
        self.q = torch.zeros_like(problem.w) if problem.tolerant else None
        self.dual = torch.zeros_like(problem.w)
        self.silent = torch.zeros_like(problem.w, dtype=torch.bool)
        self.upper = problem.cost(self.y)
        self.lower = torch.zeros_like(self.upper)

    @property
    def gap(self) -> Float[Tensor, " batch"]:
        """(upper - lower) / upper; rounding can take neither below zero."""
        tiny = torch.finfo(self.upper.dtype).tiny
        return ((self.upper - self.lower) / self.upper.clamp_min(tiny)).clamp_min(0)

    def part(self, rows: Int[Tensor, " rows"]) -> "Best":
        """The same for some rows, apart."""
        own = Best(self.problem.rows(rows))
        own.y, own.dual, own.silent = self.y[rows], self.dual[rows], self.silent[rows]
        own.upper, own.lower = self.upper[rows], self.lower[rows]
        if self.q is not None and own.q is not None:
            own.q = self.q[rows]
        return own

    def put(self, rows: Int[Tensor, " rows"], own: "Best") -> None:
        """Take back what `part` gave out."""
        self.y[rows], self.dual[rows], self.silent[rows] = own.y, own.dual, own.silent
        self.upper[rows], self.lower[rows] = own.upper, own.lower
        if self.q is not None and own.q is not None:
            self.q[rows] = own.q

    def offer(
        self,
        rows: Int[Tensor, " rows"],
        y: Float[Tensor, "rows coalitions"],
        q: Float[Tensor, "rows coalitions"] | None = None,
    ) -> None:
        """Keep these terms where they are sparser. The noise is pressed into its box first."""
        problem = self.problem.rows(rows)
        y = problem.merged(y)
        if q is not None:
            q = q.clamp(-problem.noise[:, None], problem.noise[:, None])
            q[:, 0] = 0
        cost = problem.cost(y, q)
        better = cost < self.upper[rows]
        chosen = rows[better]
        self.y[chosen], self.silent[chosen] = y[better], False
        if q is not None and self.q is not None:
            self.q[chosen] = q[better]
        self.upper[chosen] = cost[better]

    def offer_bound(
        self, rows: Int[Tensor, " rows"], dual: Float[Tensor, "rows coalitions"]
    ) -> None:
        """Keep what this dual vector proves where it is more."""
        problem = self.problem.rows(rows)
        certificate = problem.certificate(dual)
        bound = problem.bound(certificate)
        better = bound > self.lower[rows]
        chosen = rows[better]
        self.dual[chosen] = certificate[better]
        self.lower[chosen] = bound[better]

    def and_terms(self) -> Float[Tensor, "batch coalitions"]:
        """The x of the sparsest logic."""
        return self.problem.and_terms(self.y, self.q).masked_fill(self.silent, 0)


def _alone(players: int, device: torch.device) -> Bool[Tensor, " coalitions"]:
    """Where y, in its mirrored order, belongs to at most one player."""
    return (sizes(players) >= players - 1).to(device)
