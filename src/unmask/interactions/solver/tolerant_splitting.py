"""Douglas-Rachford splitting when the logic may be off by a little noise."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.interactions.solver.permutation_basis import InverseOfSum
from unmask.interactions.solver.programme import DISJOINT, SIGNED, Best, Programme
from unmask.interactions.solver.splitting import RELAXATION, check_points, least_squares, nearer
from unmask.lattice import transform

RETUNED = (30, 100, 300, 1000, 3000)
"""After these iterations the two scales are set anew, by the sizes of the terms and the noise."""


def tolerant_splitting(
    problem: Programme,
    best: Best,
    *,
    precision: float,
    steps: int,
    start: Float[Tensor, "batch coalitions"] | None = None,
) -> None:
    """Shrink x and y, press q into its box, and project all three, until the gap is reached.

    Args:
        problem: several programmes with noise.
        best: of the same rows.
        precision: gap at which a row is done.
        steps: the most iterations.
        start: y of a logic of similar games.
    """
    rows = torch.arange(len(problem.w), device=problem.w.device)
    zero = torch.zeros_like(problem.w)
    scales = _Scales(
        least_squares(problem).abs().mean((0, -1))[:, None], torch.ones_like(problem.w[:, :1])
    )
    graph = Graph(problem.w, scales.ratio)
    z = graph.project(torch.stack([zero] * 3))
    if start is not None:
        begin = torch.stack([problem.and_terms(start), start, zero])
        z = torch.where(nearer(problem, start, z[1]), begin, z)
    wall = _wall(problem, scales)
    checks = check_points(steps)
    pull = zero

    for step in range(1, steps + 1):
        inside = z.clamp(-wall, wall)
        short = torch.cat([z[:2] - inside[:2], inside[2:]])
        near = graph.project(2 * short - z)
        last = near[0] - z[0] + 2 * inside[0]
        pull = pull + last
        look = step in checks
        if look:
            best.offer(rows, near[1], near[2])
            best.offer(rows, short[1], short[2])
            best.offer_bound(rows, pull)  # of a dual vector only the direction counts
            best.offer_bound(rows, last)
            keep = best.gap[rows] > precision
            if not keep.any():
                return
            if not keep.all():
                near, z, short = near[:, keep], z[:, keep], short[:, keep]
                rows, scales = rows[keep], scales.rows(keep)
                graph = Graph(problem.w[rows], scales.ratio, graph.inverse)
        z = z + RELAXATION * (near - short)
        if step in RETUNED:
            z, scales = _retuned(z, near, short, scales)
            graph = Graph(problem.w[rows], scales.ratio, graph.inverse)
        if look or step in RETUNED:
            wall = _wall(problem.rows(rows), scales)
            pull = torch.zeros_like(z[0])


@dataclass(frozen=True)
class _Scales:
    """How far a unit of the dual moves a term, and how much further it moves the noise."""

    terms: Float[Tensor, "batch 1"]
    ratio: Float[Tensor, "batch 1"]

    def rows(self, keep: Tensor) -> "_Scales":
        return _Scales(self.terms[keep], self.ratio[keep])


def _retuned(z: Tensor, near: Tensor, short: Tensor, old: _Scales) -> tuple[Tensor, _Scales]:
    """Scales by which terms and noise are as large as their duals, and z in these scales.

    Half of that for the terms and a power below one for the noise: the full step is right where
    the noise matters little and far too long where it explains nearly everything.
    """
    dual = z - short
    own = _size(near[:2]) / (_size(dual[:2]) / old.terms)
    noise = _size(short[2:]) / (_size(dual[2:]) / (old.terms * old.ratio))
    new = _Scales(
        (own / 2).clamp(old.terms / 100, old.terms * 100),
        (noise / own).pow(0.75).clamp(1e-6, 1e6),
    )
    longer = new.terms / old.terms
    parts = torch.stack([longer, longer, longer * new.ratio / old.ratio])
    return short + parts * dual, new


def _size(part: Float[Tensor, "parts batch coalitions"]) -> Float[Tensor, "batch 1"]:
    return part.square().mean((0, -1)).sqrt().clamp_min(1e-30)[:, None]


def _wall(problem: Programme, scales: _Scales) -> Float[Tensor, "3 batch coalitions"]:
    """How much is taken off x and y, and how far q may go."""
    wall = torch.stack(
        [
            scales.terms * problem.and_cost,
            scales.terms * problem.or_cost,
            problem.noise[:, None].expand_as(problem.w),
        ]
    )
    wall[2, :, 0] = 0
    return wall


class Graph:
    """The projection on all (x, y, q) with x = w + D y + V q, less the three entries of nobody.

    Args:
        w: of the programmes.
        ratio: of the scales, by which distances in q count less.
        inverse: that of another such projection of as many players.
    """

    def __init__(
        self,
        w: Float[Tensor, "batch coalitions"],
        ratio: Float[Tensor, "batch 1"],
        inverse: InverseOfSum | None = None,
    ) -> None:
        self.w, self.ratio = w, ratio
        if inverse is None:
            players = w.shape[-1].bit_length() - 1
            inverse = InverseOfSum(DISJOINT @ DISJOINT.T, SIGNED @ SIGNED.T, players, w)
        self.inverse = inverse
        # Without noise on the empty coalition the matrix of all ones leaves the system (one rank),
        # without an empty row its first unknown does (another).
        share = self.inverse(torch.ones_like(self.w), ratio[..., None])
        self.correction = share * (ratio / (1 - ratio * share.sum(-1, keepdim=True))).sqrt()
        first = torch.zeros_like(self.w)
        first[:, 0] = 1
        first = self._without_ones(first)
        self.first = first / first[:, :1]

    def _without_ones(self, v: Tensor) -> Tensor:
        out = self.inverse(v, self.ratio[..., None])
        return out + (v * self.correction).sum(-1, keepdim=True) * self.correction

    def project(
        self, z: Float[Tensor, "3 batch coalitions"]
    ) -> Float[Tensor, "3 batch coalitions"]:
        off = z[0] - self.w - transform(z[1], DISJOINT) - transform(z[2], SIGNED)
        off[:, 0] = 0
        off = self._without_ones(off)
        off = off - off[:, :1] * self.first
        noise = self.ratio * transform(off, SIGNED.T)
        near = z + torch.stack([-off, transform(off, DISJOINT), noise])
        near[0, :, 0] = 0
        near[1, :, -1] = 0
        near[2, :, 0] = 0
        return near
