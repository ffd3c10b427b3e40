"""An interior point method: many digits, for few players."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.interactions.solver.cholesky import factored
from unmask.interactions.solver.programme import DISJOINT, SIGNED, Best, Programme
from unmask.lattice import ZETA, sizes, transform

STEPS = 60
"""Iterations after which it gives up; 7 to 25 are the rule."""
CORRECTIONS = 25
"""Steps of conjugate gradients that clean a linear solve."""
PATIENCE = 6
"""Iterations without a gain after which a row has reached what the numbers allow."""
TO_BOUNDARY = 0.9995
"""Share of the way to the nearest wall that a step may go."""


@dataclass
class _Point:
    """Where the method stands. The first axis of p and s is x+, x-, y+, y-.

    Args:
        p: the parts of x and y, all positive.
        s: their reduced costs, all positive.
        dual: the multiplier of x = w + D y + V q.
        q: the noise, strictly inside its box.
        z: multipliers of the box's two walls, q >= -kappa and q <= kappa.
    """

    p: Float[Tensor, "4 batch coalitions"]
    s: Float[Tensor, "4 batch coalitions"]
    dual: Float[Tensor, "batch coalitions"]
    q: Float[Tensor, "batch coalitions"]
    z: Float[Tensor, "2 batch coalitions"]


def interior_point(problem: Programme, best: Best, *, precision: float, steps: int = STEPS) -> None:
    r"""Follow the central path to the sparsest terms (Mehrotra's predictor and corrector).

    A step solves one dense system of $2^n$ unknowns. Its matrix needs no matrix product: as
    $D$ asks whether two coalitions are disjoint and $V$ whether one holds the other,

    $$
    \bigl(\operatorname{diag} t_x + D \operatorname{diag} t_y D^\top
          + V \operatorname{diag} t_q V^\top\bigr)_{L L'}
    = \delta_{L L'} t_x(L) + g_y(L \cup L') + g_q(L \cap L')
    $$

    with $g_y$ and $g_q$ two transforms. Rows leave when their gap is reached; the best terms and
    bounds go to `best`.

    Args:
        problem: several programmes.
        best: of the same rows.
        precision: gap at which a row is done.
        steps: the most iterations.
    """
    rows = torch.arange(len(problem.w), device=problem.w.device)
    scale = problem.w[:, 1:].abs().mean(-1, keepdim=True)
    system = _System(problem, scale)
    point = system.start()
    reached, idle = best.gap.clone(), torch.zeros_like(rows)
    for _ in range(steps):
        keep = (best.gap[rows] > precision) & (idle[rows] < PATIENCE)
        if not keep.any():
            return
        if not keep.all():
            rows, system, point = rows[keep], system.rows(keep), _rows(point, keep)
        if not system.step(point):
            return
        best.offer(
            rows,
            (point.p[2] - point.p[3]) * system.scale,
            point.q * system.scale if system.tolerant else None,
        )
        best.offer_bound(rows, point.dual)
        idle = torch.where(best.gap < 0.9 * reached, 0, idle + 1)
        reached = torch.minimum(reached, best.gap)


def _rows(point: _Point, keep: Bool[Tensor, " batch"]) -> _Point:
    return _Point(
        point.p[:, keep], point.s[:, keep], point.dual[keep], point.q[keep], point.z[:, keep]
    )


class _System:
    """The scaled programme and its Newton steps."""

    def __init__(self, problem: Programme, scale: Float[Tensor, "batch 1"]) -> None:
        self.problem, self.scale = problem, scale
        self.w = problem.w / scale
        self.noise = problem.noise[:, None] / scale
        self.tolerant = problem.tolerant
        players, device = problem.players, problem.w.device
        size = sizes(players).to(device)
        some = size > 0
        several = size < players - 1  # the mirrored coalition of an OR has two players or more
        self.live = torch.stack([some, some, several, several])[:, None]
        self.open = some  # coalitions whose value may be off
        self.c = torch.stack([problem.and_cost] * 2 + [problem.or_cost] * 2)[:, None]
        place = torch.arange(2**players, device=device)
        self.union = place[:, None] | place
        self.common = place[:, None] & place
        self.count = 2 * int(some.sum()) + 2 * int(several.sum())
        if self.tolerant:
            self.count += 2 * int(some.sum())

    def rows(self, keep: Bool[Tensor, " batch"]) -> "_System":
        return _System(self.problem.rows(keep.nonzero()[:, 0]), self.scale[keep])

    def start(self) -> _Point:
        """A point well inside, whatever the game: L1 of size one around the AND terms."""
        zero = torch.zeros_like(self.w)
        p = torch.stack([self.w.clamp_min(0), (-self.w).clamp_min(0), zero, zero]) + 1
        s = self.c.expand_as(p).clone()
        return _Point(
            torch.where(self.live, p, 0),
            torch.where(self.live, s, 0),
            zero.clone(),
            zero.clone(),
            torch.ones(2, *self.w.shape, dtype=p.dtype, device=p.device) * self.open,
        )

    def step(self, at: _Point) -> bool:
        """Go one step; False when the numbers have no more to give."""
        walls = torch.stack([self.noise + at.q, self.noise - at.q])
        t = _over(at.p, at.s)
        tq = _over(self.open.to(t), _over(at.z, walls).sum(0)) if self.tolerant else None
        solve = _Normal(self, t[0] + t[1], t[2] + t[3], tq)
        if solve.factor is None:
            return False
        missing = self.w - self._apply(at.p, at.q)
        missing[:, 0] = 0
        unpriced = torch.where(self.live, self.c - self._price(at.dual) - at.s, 0)
        unboxed = self._seen(at.dual)  # the part of the noise's own equation that the walls lack
        unboxed = at.z[0] - at.z[1] - unboxed
        mu = self._mu(at.p, at.s, walls, at.z)

        def newton(rc: Tensor, rz: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
            push = _over(rc - at.p * unpriced, at.s)
            right = missing - self._apply(push, None)
            pull = torch.zeros_like(at.q)
            if tq is not None:
                wall = _over(rz, walls)
                pull = tq * (unboxed + wall[0] - wall[1])
                right = right + transform(pull, SIGNED)
            right[:, 0] = 0
            dual = solve(right)
            p = push + t * torch.where(self.live, self._price(dual), 0)
            s = _over(rc - at.s * p, at.p)
            q = pull
            z = torch.zeros_like(at.z)
            if tq is not None:
                q = pull - tq * self._seen(dual)
                z = _over(rz - at.z * torch.stack([q, -q]), walls)
            return p, s, dual, q, z

        # First straight at the goal, to see how far that leads; then with what it taught.
        zero = torch.zeros_like(walls)
        p, s, _, q, z = newton(-at.p * at.s, -walls * at.z if self.tolerant else zero)
        a, b = self._reach(at, walls, p, s, q, z)
        moved = torch.stack([q, -q])
        mu_there = self._mu(at.p + a * p, at.s + b * s, walls + a * moved, at.z + b * z)
        target = (mu_there / mu) ** 3 * mu
        rc = torch.where(self.live, target[:, None] - at.p * at.s - p * s, 0)
        rz = (target[:, None] - walls * at.z - moved * z) * self.open if self.tolerant else zero
        p, s, dual, q, z = newton(rc, rz)
        a, b = self._reach(at, walls, p, s, q, z)
        if not (a.isfinite().all() and b.isfinite().all() and dual.isfinite().all()):
            return False
        at.p, at.q = at.p + a * p, at.q + a * q
        at.s, at.dual, at.z = at.s + b * s, at.dual + b * dual, at.z + b * z
        return bool((torch.maximum(a, b) > 1e-8).any())

    def _apply(self, p: Tensor, q: Tensor | None) -> Tensor:
        """x - D y - V q."""
        out = p[0] - p[1] - transform(p[2] - p[3], DISJOINT)
        if q is not None and self.tolerant:
            out = out - transform(q, SIGNED)
        return out

    def _price(self, dual: Tensor) -> Tensor:
        """The transpose of `_apply` on the four parts."""
        on_or = transform(dual, DISJOINT)
        return torch.stack([dual, -dual, -on_or, on_or])

    def _seen(self, dual: Tensor) -> Tensor:
        return transform(dual, SIGNED.T) * self.open if self.tolerant else torch.zeros_like(dual)

    def _mu(self, p: Tensor, s: Tensor, walls: Tensor, z: Tensor) -> Tensor:
        total = (p * s).sum((0, -1))
        if self.tolerant:
            total = total + (walls * z * self.open).sum((0, -1))
        return total / self.count

    def _reach(self, at, walls, p, s, q, z) -> tuple[Tensor, Tensor]:
        """How far the primal and the dual may go before the first wall, per row."""
        primal = _wall(at.p, p)
        dual = _wall(at.s, s)
        if self.tolerant:
            primal = torch.minimum(primal, _wall(walls, torch.stack([q, -q])))
            dual = torch.minimum(dual, _wall(at.z, z))
        return primal[:, None], dual[:, None]


class _Normal:
    """The normal equations of one step: a Cholesky factor, cleaned by conjugate gradients.

    Near the solution the matrix is close to singular. Its diagonal is brought to one first, a
    little is added until the factor exists, and the factor then only preconditions the exact
    operator.
    """

    def __init__(self, system: _System, tx: Tensor, ty: Tensor, tq: Tensor | None) -> None:
        self.tx, self.ty, self.tq = tx.clone(), ty, tq
        self.tx[:, 0] = 1
        # An OR counts for L and L' if it is disjoint from both, that is from their union.
        matrix = transform(ty, DISJOINT)[:, system.union]
        if tq is not None:
            matrix += transform(tq, ZETA)[:, system.common]
        matrix[:, 0] = 0
        matrix[:, :, 0] = 0
        matrix.diagonal(dim1=-2, dim2=-1).add_(self.tx)
        self.unit = matrix.diagonal(dim1=-2, dim2=-1).rsqrt()
        matrix *= self.unit[:, :, None]
        matrix *= self.unit[:, None]
        self.factor = factored(matrix)

    def __call__(self, right: Float[Tensor, "batch coalitions"]) -> Tensor:
        """Solve, to a relative residual of 1e-11 if the numbers allow it."""
        x = self._rough(right)
        residual = right - self._exact(x)
        goal = 1e-11 * right.norm(dim=-1)
        direction = step = self._rough(residual)
        power = (residual * step).sum(-1)
        for _ in range(CORRECTIONS):
            if (residual.norm(dim=-1) <= goal).all():
                break
            image = self._exact(direction)
            length = _over(power, (direction * image).sum(-1))[:, None]
            length = torch.where(residual.norm(dim=-1, keepdim=True) <= goal[:, None], 0, length)
            x = x + length * direction
            residual = residual - length * image
            step = self._rough(residual)
            before, power = power, (residual * step).sum(-1)
            direction = step + _over(power, before)[:, None] * direction
        return x

    def _rough(self, right: Tensor) -> Tensor:
        assert self.factor is not None
        return self.factor(right * self.unit) * self.unit

    def _exact(self, v: Tensor) -> Tensor:
        out = self.tx * v + transform(self.ty * transform(v, DISJOINT), DISJOINT)
        if self.tq is not None:
            out = out + transform(self.tq * transform(v, SIGNED.T), SIGNED)
        out[:, 0] = v[:, 0]
        return out


def _over(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and zero where b is, which marks what is not part of the problem."""
    return torch.where(b == 0, 0, a / torch.where(b == 0, 1, b))


def _wall(at: Float[Tensor, "parts batch m"], step: Tensor) -> Float[Tensor, " batch"]:
    ratio = torch.where(step < 0, -at / step.clamp_max(-1e-300), torch.inf)
    return (TO_BOUNDARY * ratio.amin((0, -1))).clamp_max(1)
