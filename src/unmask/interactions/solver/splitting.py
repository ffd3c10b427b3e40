r"""Douglas-Rachford splitting: one table or many, two transforms per iteration.

Both halves of a logic live in one eigenbasis. The symmetric orthogonal matrix of the golden ratio,

$$
R = \frac{1}{\sqrt{1 + \varphi^2}} \begin{pmatrix} \varphi & 1 \\ 1 & -\varphi \end{pmatrix},
\qquad
R \begin{pmatrix} 1 & 1 \\ 1 & 0 \end{pmatrix} R = \operatorname{diag}(\varphi, -1/\varphi),
$$

turns the coupling x = w + D y into one number per entry, and is its own inverse. The projection on
all logics that reproduce the game exactly is therefore: transform, scale, transform.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.interactions.solver.programme import Best, Programme
from unmask.lattice import sizes, transform

GOLDEN = (1 + 5**0.5) / 2
EIGENBASIS = np.array([[GOLDEN, 1], [1, -GOLDEN]]) / np.hypot(1, GOLDEN)
RELAXATION = 1.8
THRESHOLD = 4.0
"""The shrinkage, as a multiple of the mean size of the terms of least squares. Of 0.5 to 32, tried
on networks of 10 to 18 players, 2 to 8 do equally well."""


def splitting(
    problem: Programme,
    best: Best,
    *,
    precision: float,
    steps: int,
    start: Float[Tensor, "batch coalitions"] | None = None,
) -> None:
    """Shrink and project in turn until the gap is reached.

    The projected terms are a logic of the game in every iteration, so that stopping early costs
    sparsity, never faithfulness. What the projection takes away is, up to scale, a dual vector;
    its mean over the last iterations proves more than it does alone. Rows leave when their gap
    is reached; the best terms and bounds go to `best`.

    Args:
        problem: several programmes without noise.
        best: of the same rows.
        precision: gap at which a row is done.
        steps: the most iterations.
        start: y of a logic of similar games.
    """
    rows = torch.arange(len(problem.w), device=problem.w.device)
    exact = Exact(problem.w)
    z = least_squares(problem)
    least = z.abs().mean((0, -1))
    if start is not None:
        z = torch.where(
            nearer(problem, start, z[1]), torch.stack([problem.and_terms(start), start]), z
        )
    cost = torch.stack([problem.and_cost, problem.or_cost])[:, None]
    shrink = THRESHOLD * least[:, None] * cost
    checks = check_points(steps)
    clipped, dual = torch.empty_like(z), torch.zeros_like(z[0])
    origin = z[0].clone()

    for step in range(1, steps + 1):
        torch.clamp(z, -shrink, shrink, out=clipped)  # z less this is z after shrinking
        near = exact.project(torch.add(z, clipped, alpha=-2, out=exact.room[0]))
        dual += clipped[0]
        if step in checks:
            best.offer(rows, near[1])
            # Over these iterations z moved by the sum of what the two halves disagreed on. Of a
            # dual vector only the direction counts, so that the sum does for the mean.
            best.offer_bound(rows, dual + (z[0] - origin) / RELAXATION)
            best.offer_bound(rows, near[0] - z[0] + 2 * clipped[0])
            dual.zero_()
            origin = z[0].clone()
            keep = best.gap[rows] > precision
            if not keep.any():
                return
            if not keep.all():
                near, z, clipped, shrink = (
                    near[:, keep],
                    z[:, keep],
                    clipped[:, keep],
                    shrink[:, keep],
                )
                origin, dual, rows = origin[keep], dual[keep], rows[keep]
                exact = Exact(problem.w[rows])
        z.mul_(1 - RELAXATION).add_(near, alpha=RELAXATION).add_(clipped, alpha=RELAXATION)


def least_squares(problem: Programme) -> Float[Tensor, "2 batch coalitions"]:
    """The exact terms of least sum of squares, x and y."""
    return Exact(problem.w).project(torch.stack([torch.zeros_like(problem.w)] * 2))


def nearer(
    problem: Programme,
    start: Float[Tensor, "batch coalitions"],
    other: Float[Tensor, "batch coalitions"],
) -> Bool[Tensor, "batch 1"]:
    """Whether a given y is worth starting from: that of a game of another size leads far away."""
    return (problem.cost(start) < problem.cost(other))[:, None]


def check_points(steps: int) -> set[int]:
    """After which iterations to look at the gap: more seldom as they add up, and at the end."""
    points, at = {steps}, 0
    while at < steps:
        at += max(10, at // 8)
        points.add(at)
    return points


class Exact:
    """The projection on all pairs (x, y) with x = w + D y, apart from the two entries of nobody.

    Args:
        w: of the programmes.
    """

    def __init__(self, w: Float[Tensor, "batch coalitions"]) -> None:
        players = w.shape[-1].bit_length() - 1
        self.room = (torch.stack([w, w]), torch.stack([w, w]))
        size = sizes(players).to(w.device)
        self.coupling = (GOLDEN ** (players - size).to(w)) * ((-1 / GOLDEN) ** size.to(w))
        self.divisor = 1 / (1 + self.coupling**2)
        # Leaving out the empty row of x takes the matrix of all ones from the system: one rank.
        self.ones = transform(torch.ones_like(w[0]), EIGENBASIS)
        share = self.ones * self.divisor
        self.correction = share / (1 - share @ self.ones)
        self.w = transform(w, EIGENBASIS)

    def project(
        self, z: Float[Tensor, "2 batch coalitions"]
    ) -> Float[Tensor, "2 batch coalitions"]:
        """The nearest such pair, in a place that the next call writes over."""
        pair = transform(z, EIGENBASIS, room=self.room)
        x, y = pair
        y.add_(x.sub_(self.w).mul_(self.coupling)).mul_(self.divisor)
        y.addr_(y @ self.ones, self.correction)
        torch.addcmul(self.w, y, self.coupling, out=x)
        near = transform(pair, EIGENBASIS, room=self.room)
        near[0, :, 0] = 0
        near[1, :, -1] = 0
        return near
