"""Douglas-Rachford splitting for several networks at once: only the shrinking couples them."""

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.interactions.solver.joint_programme import JointBest, JointProgramme, shrunk
from unmask.interactions.solver.permutation_basis import InverseOfSum
from unmask.interactions.solver.programme import DISJOINT, SIGNED
from unmask.interactions.solver.splitting import (
    EIGENBASIS,
    GOLDEN,
    RELAXATION,
    THRESHOLD,
    check_points,
)
from unmask.lattice import sizes, transform

RETUNED = (30, 100, 300, 1000, 3000)
"""With noise, the two scales are set anew after these iterations."""


def joint_splitting(
    problem: JointProgramme, best: JointBest, *, precision: float, steps: int
) -> None:
    """Shrink all networks together and project each for itself, until the gap is reached.

    The projected terms reproduce every game in every iteration, so that stopping early costs
    sparsity, never faithfulness. Inputs leave when their gap is reached; the cheapest logics and
    highest bounds go to `best`.

    Args:
        problem: the programmes.
        best: of the same inputs.
        precision: gap at which an input is done.
        steps: the most iterations.
    """
    rows = (best.gap > precision).nonzero()[:, 0]
    if not len(rows):
        return
    walk = _Walk(problem.rows(rows))
    checks = check_points(steps)
    for step in range(1, steps + 1):
        walk.step()
        if step in checks:
            best.offer(rows, walk.near[1], walk.noise(walk.near))
            if walk.noise(walk.near) is not None:
                best.offer(rows, walk.short[1], walk.noise(walk.short))
            best.short[:, rows] = walk.short[:2]
            for dual in walk.duals():
                best.offer_bound(rows, dual)
            keep = best.gap[rows] > precision
            if not keep.any():
                return
            if not keep.all():
                rows = rows[keep]
                walk.keep(keep)
        if step in RETUNED and walk.ratio is not None:
            walk.retune()


class _Walk:
    """Where the splitting stands.

    Args:
        problem: the programmes.
    """

    def __init__(self, problem: JointProgramme) -> None:
        self.problem = problem
        w = problem.w
        parts = 3 if problem.tolerant else 2
        self.ratio = torch.ones_like(w[..., :1]) if problem.tolerant else None
        self.coupling = _Coupling(problem, self.ratio)
        # An OR of nobody and an AND of nobody are no terms, and cost nothing.
        self.live = torch.ones(2, 1, 1, w.shape[-1], dtype=w.dtype, device=w.device)
        self.live[0, ..., 0] = 0
        self.live[1, ..., -1] = 0
        self.z = self.coupling.project(w.new_zeros(parts, *w.shape))
        self.tau = self.z[:2].abs().mean((0, 2, 3))[:, None, None]
        if self.ratio is None:
            self.tau = self.tau * THRESHOLD
        self.near = self.short = self.z
        self._listen()

    def step(self) -> None:
        """One iteration: shrink, reflect, project, and go on from there."""
        short = [shrunk(self.z[:2], self.tau * self.live, self.problem.alpha)]
        if self.ratio is not None:
            wall = self.problem.noise[..., None]
            noise = self.z[2:].clamp(-wall, wall)
            noise[..., 0] = 0
            short.append(noise)
        self.short = torch.cat(short)
        self.near = self.coupling.project(2 * self.short - self.z)
        move = self.near - self.short
        self.last = self.z[0] - self.short[0] + move[0]
        self.pull += self.last
        self.heard += 1
        self.z = self.z + RELAXATION * move

    def noise(self, at: Tensor) -> Tensor | None:
        return None if self.ratio is None else at[2]

    def duals(self) -> tuple[Tensor, Tensor]:
        """What the projection takes away is, up to scale, a dual vector; and so is its mean."""
        found = self.pull / self.heard, self.last
        self._listen()
        return found

    def keep(self, keep: Tensor) -> None:
        """Go on with some of the inputs."""
        self.problem = self.problem.rows(keep)
        self.z, self.near, self.short = self.z[:, keep], self.near[:, keep], self.short[:, keep]
        self.tau = self.tau[keep]
        if self.ratio is not None:
            self.ratio = self.ratio[keep]
        self.coupling = _Coupling(self.problem, self.ratio, self.coupling.inverse)
        self._listen()

    def retune(self) -> None:
        """Scales by which terms and noise are as large as their duals, and z in these scales.

        As of a single network, in `tolerant_splitting`. The terms share a scale over all networks,
        for they are shrunk together; the noise has one for each.
        """
        assert self.ratio is not None
        dual = self.z - self.short
        terms = _size(self.near[:2], (0, 2, 3)) / _size(dual[:2], (0, 2, 3)) * self.tau
        share = _size(self.short[2], (2,)) / _size(dual[2], (2,)) * self.tau * self.ratio
        tau = (terms / 2).clamp(self.tau / 100, self.tau * 100)
        ratio = (share / terms).pow(0.75).clamp(1e-6, 1e6)
        longer = tau / self.tau
        apart = longer * ratio / self.ratio
        self.z = self.short + torch.cat([longer * dual[:2], apart * dual[2:]])
        self.tau, self.ratio = tau, ratio
        self.coupling = _Coupling(self.problem, ratio, self.coupling.inverse)
        self._listen()

    def _listen(self) -> None:
        self.pull, self.last, self.heard = torch.zeros_like(self.z[0]), self.z[0], 0


def _size(part: Tensor, axes: tuple[int, ...]) -> Tensor:
    size = part.square().mean(axes).sqrt().clamp_min(1e-30)
    return size.view(len(size), -1, 1)


class _Coupling:
    """The projection on all (x, y) with x = w + D y, or (x, y, q) with x = w + D y + V q.

    What is off in each row is spread over the parts by the inverse of $I + D^2 + r V V^\\top$.
    Without noise that is a number per entry in the eigenbasis of D, with it one small block per
    spin. The row of the empty coalition is not asked for, and its noise is zero: two corrections of
    rank one.
    """

    def __init__(
        self,
        problem: JointProgramme,
        ratio: Float[Tensor, "inputs networks 1"] | None,
        inverse: InverseOfSum | None = None,
    ) -> None:
        self.w, self.ratio, self.inverse = problem.w, ratio, inverse
        players = problem.players
        if ratio is None:
            size = sizes(players).to(self.w.device)
            eigenvalues = (GOLDEN ** (players - size).to(self.w)) * (
                (-1 / GOLDEN) ** size.to(self.w)
            )
            self.divisor = 1 / (1 + eigenvalues**2)
        else:
            if inverse is None:
                self.inverse = InverseOfSum(
                    DISJOINT @ DISJOINT.T, SIGNED @ SIGNED.T, players, self.w
                )
            share = self._spread(torch.ones_like(self.w))
            left = (ratio / (1 - ratio * share.sum(-1, keepdim=True))).sqrt()
            self.ones = share * left
        first = torch.zeros_like(self.w)
        first[..., 0] = 1
        first = self._without_ones(first)
        self.first = first / first[..., :1]

    def project(
        self, z: Float[Tensor, "parts inputs networks coalitions"]
    ) -> Float[Tensor, "parts inputs networks coalitions"]:
        off = z[0] - self.w - transform(z[1], DISJOINT)
        if self.ratio is not None:
            off -= transform(z[2], SIGNED)
        off[..., 0] = 0
        off = self._without_ones(off)
        off -= off[..., :1] * self.first
        moves = [-off, transform(off, DISJOINT)]
        if self.ratio is not None:
            moves.append(self.ratio * transform(off, SIGNED.T))
        near = z + torch.stack(moves)
        near[0, ..., 0] = 0
        near[1, ..., -1] = 0
        near[2:, ..., 0] = 0
        return near

    def _without_ones(self, v: Tensor) -> Tensor:
        out = self._spread(v)
        if self.ratio is None:
            return out
        return out + (v * self.ones).sum(-1, keepdim=True) * self.ones

    def _spread(self, v: Tensor) -> Tensor:
        if self.ratio is None:
            return transform(self.divisor * transform(v, EIGENBASIS), EIGENBASIS)
        assert self.inverse is not None
        flat = self.inverse(v.flatten(0, 1), self.ratio.flatten(0, 1)[..., None])
        return flat.view_as(v)
