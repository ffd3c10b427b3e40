r"""The convex programme whose solution is the sparsest logic that several networks share.

Each network has a logic of its own, x = w + D y + V q as in `programme`; what couples them is the
price of a term, which is paid once for all networks and a little more by each that uses it:

$$
\sum_S N(x_S) + N(y_S), \qquad
N(z) = (1 - \alpha) \max_i |z_i| + \alpha \sum_i |z_i|
$$

The unit ball of the dual norm is the sum of balls, $(1 - \alpha) B_1 + \alpha B_\infty$. So a row g
of numbers, one per network, lies in it exactly if what exceeds alpha adds up to at most 1 - alpha,
and its norm is the largest of m ratios:

$$
N^*(g) = \max_{k \le m} \frac{|g|_{(1)} + \dots + |g|_{(k)}}{1 - \alpha + k \alpha}
\le 1
\iff \sum_i \max(|g_i| - \alpha, 0) \le 1 - \alpha
$$

Multiply each network's equation with a vector $\lambda^i$ that is zero at the empty coalition, and
add. As $\langle g, z \rangle \le N^*(g) N(z)$ in every row, vectors whose rows keep
$N^*(\lambda_L) \le 1$ and $N^*((D \lambda)_S) \le 1$ prove that no logics at all cost less than
$\sum_i \langle \lambda^i, w^i \rangle - \kappa_i \lVert V^\top \lambda^i \rVert_1$, the norm
without its entry of the empty coalition, where the noise is zero. Any vectors can be scaled until
they keep both. An OR of a single player is an AND of it, and as N keeps the triangle inequality,
merging the two never costs more.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.interactions.solver.programme import DISJOINT, SIGNED, Coupled
from unmask.lattice import transform


@dataclass(frozen=True)
class JointProgramme(Coupled):
    """One such programme per input, all with the same alpha.

    Args:
        w: signed dividends of the games; zero at the empty coalition.
        alpha: the share of the price that every network pays for itself.
        noise: kappa of each game; q of the empty coalition is zero.
    """

    w: Float[Tensor, "inputs networks coalitions"]
    alpha: float
    noise: Float[Tensor, "inputs networks"]

    def rows(self, index: Tensor) -> "JointProgramme":
        return JointProgramme(self.w[index], self.alpha, self.noise[index])

    def cost(
        self,
        y: Float[Tensor, "inputs networks coalitions"],
        q: Float[Tensor, "inputs networks coalitions"] | None = None,
    ) -> Float[Tensor, " inputs"]:
        """What all terms together cost."""
        y = self.merged(y)
        both = norm(self.and_terms(y, q), self.alpha) + norm(y, self.alpha)
        return both.sum(-1)

    def certificate(
        self, dual: Float[Tensor, "inputs networks coalitions"]
    ) -> Float[Tensor, "inputs networks coalitions"]:
        """The dual vectors, scaled until they touch the first of their limits."""
        dual = dual.clone()
        dual[..., 0] = 0
        on_or = dual_norm(transform(dual, DISJOINT)[..., :-1], self.alpha)
        on_and = dual_norm(dual[..., 1:], self.alpha)
        scale = torch.maximum(on_or.amax(-1), on_and.amax(-1))
        return dual / scale.clamp_min(torch.finfo(scale.dtype).tiny)[:, None, None]

    def bound(
        self, certificate: Float[Tensor, "inputs networks coalitions"]
    ) -> Float[Tensor, " inputs"]:
        """A cost that no logics go below, proven by dual vectors within their limits."""
        value = (certificate * self.w).sum(-1)
        if self.tolerant:
            value -= self.noise * transform(certificate, SIGNED.T)[..., 1:].abs().sum(-1)
        return value.sum(-1).clamp_min(0)


def norm(
    z: Float[Tensor, "*batch networks coalitions"], alpha: float
) -> Float[Tensor, "*batch coalitions"]:
    """N of each row, a row being what all networks say of one coalition."""
    size = z.abs()
    return (1 - alpha) * size.amax(-2) + alpha * size.sum(-2)


def dual_norm(
    g: Float[Tensor, "*batch networks coalitions"], alpha: float
) -> Float[Tensor, "*batch coalitions"]:
    """The largest <g, z> over all z with N(z) = 1, of each row."""
    largest = g.abs().sort(dim=-2, descending=True).values.cumsum(-2)
    used = torch.arange(1, g.shape[-2] + 1).to(g)[:, None]
    return (largest / (1 - alpha + alpha * used)).amax(-2)


def shrunk(
    z: Float[Tensor, "*batch networks coalitions"],
    tau: Float[Tensor, "*batch 1 coalitions"],
    alpha: float,
) -> Float[Tensor, "*batch networks coalitions"]:
    r"""The proximal map of tau N: what is near z and cheap.

    $$
    \operatorname{prox}_{\tau N}(z)
    = \arg\min_u\; \tau N(u) + \tfrac12 \lVert u - z \rVert^2
    $$

    Each number moves towards zero by alpha tau, then the largest of a row are cut to the height
    theta at which (1 - alpha) tau has been taken off in all. The order is allowed, since cutting
    keeps all signs.
    """
    own = alpha * tau
    rest = z - z.clamp(-own, own)
    if alpha == 1:
        return rest
    above = rest.abs().sort(dim=-2, descending=True).values.cumsum(-2) - (1 - alpha) * tau
    count = torch.arange(1, z.shape[-2] + 1).to(z)[:, None]
    theta = (above / count).amax(-2, keepdim=True).clamp_min(0)
    return rest.clamp(-theta, theta)


class JointBest:
    """The cheapest logics and the highest bound met so far, per input of a programme.

    `short` is x and y after the last shrinking, whose zeros tell which terms will vanish; `silent`
    marks entries of x that are zero but for rounding.
    """

    def __init__(self, problem: JointProgramme) -> None:
        self.problem = problem
        self.y = torch.zeros_like(problem.w)
        self.q = torch.zeros_like(problem.w) if problem.tolerant else None
        self.short = torch.zeros_like(torch.stack([problem.w, problem.w]))
        self.silent = torch.zeros_like(problem.w, dtype=torch.bool)
        self.upper = problem.cost(self.y)
        self.lower = torch.zeros_like(self.upper)

    @property
    def gap(self) -> Float[Tensor, " inputs"]:
        """(upper - lower) / upper; rounding can take neither below zero."""
        tiny = torch.finfo(self.upper.dtype).tiny
        return ((self.upper - self.lower) / self.upper.clamp_min(tiny)).clamp_min(0)

    def offer(
        self,
        rows: Tensor,
        y: Float[Tensor, "rows networks coalitions"],
        q: Float[Tensor, "rows networks coalitions"] | None = None,
    ) -> None:
        """Keep these logics where they cost less. The noise is pressed into its box first."""
        problem = self.problem.rows(rows)
        y = problem.merged(y)
        if q is not None:
            q = q.clamp(-problem.noise[..., None], problem.noise[..., None])
            q[..., 0] = 0
        cost = problem.cost(y, q)
        better: Bool[Tensor, " rows"] = cost < self.upper[rows]
        chosen = rows[better]
        self.y[chosen] = y[better]
        if q is not None and self.q is not None:
            self.q[chosen] = q[better]
        self.upper[chosen] = cost[better]

    def offer_bound(self, rows: Tensor, dual: Float[Tensor, "rows networks coalitions"]) -> None:
        """Keep what these dual vectors prove where it is more."""
        problem = self.problem.rows(rows)
        bound = problem.bound(problem.certificate(dual))
        self.lower[rows] = torch.maximum(self.lower[rows], bound)

    def and_terms(self) -> Float[Tensor, "inputs networks coalitions"]:
        """The x of the cheapest logics."""
        return self.problem.and_terms(self.y, self.q).masked_fill(self.silent, 0)
