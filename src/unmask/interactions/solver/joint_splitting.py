"""Douglas-Rachford splitting for several networks at once: only the shrinking couples them."""

import torch
from torch import Tensor

from unmask.interactions.solver.joint_programme import JointBest, JointProgramme, shrunk
from unmask.interactions.solver.permutation_basis import InverseOfSum
from unmask.interactions.solver.splitting import RELAXATION, THRESHOLD, Exact, check_points
from unmask.interactions.solver.tolerant_splitting import RETUNED, Graph


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
        self.inverse: InverseOfSum | None = None
        self.exact = self._coupled()
        # An OR of nobody and an AND of nobody are no terms, and cost nothing.
        self.live = torch.ones(2, 1, 1, w.shape[-1], dtype=w.dtype, device=w.device)
        self.live[0, ..., 0] = 0
        self.live[1, ..., -1] = 0
        self.z = self._projected(w.new_zeros(parts, *w.shape)).clone()
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
        self.near = self._projected(2 * self.short - self.z)
        move = self.near - self.short
        self.last = self.z[0] - self.short[0] + move[0]
        self.pull += self.last
        self.z = self.z + RELAXATION * move

    def noise(self, at: Tensor) -> Tensor | None:
        return None if self.ratio is None else at[2]

    def duals(self) -> tuple[Tensor, Tensor]:
        """What the projection takes away is, up to scale, a dual vector; and so is its sum."""
        found = self.pull, self.last
        self._listen()
        return found

    def keep(self, keep: Tensor) -> None:
        """Go on with some of the inputs."""
        self.problem = self.problem.rows(keep)
        self.z, self.near, self.short = self.z[:, keep], self.near[:, keep], self.short[:, keep]
        self.tau = self.tau[keep]
        if self.ratio is not None:
            self.ratio = self.ratio[keep]
        self.exact = self._coupled()
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
        self.exact = self._coupled()
        self._listen()

    def _coupled(self) -> Exact | Graph:
        """The projection of every network on every input, each for itself."""
        w = self.problem.w.flatten(0, 1)
        if self.ratio is None:
            return Exact(w)
        graph = Graph(w, self.ratio.flatten(0, 1), self.inverse)
        self.inverse = graph.inverse
        return graph

    def _projected(self, z: Tensor) -> Tensor:
        """The nearest exact terms, in a place that the next call may write over."""
        return self.exact.project(z.flatten(1, 2)).view_as(z)

    def _listen(self) -> None:
        self.pull, self.last = torch.zeros_like(self.z[0]), self.z[0]


def _size(part: Tensor, axes: tuple[int, ...]) -> Tensor:
    size = part.square().mean(axes).sqrt().clamp_min(1e-30)
    return size.view(len(size), -1, 1)
