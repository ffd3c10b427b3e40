"""From nearly zero to zero: terms that an interior point leaves tiny, and that are none."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.interactions.solver.programme import Best, Programme
from unmask.lattice import sizes

RIDGE = 1e-12
ROUNDS = 10
ROUNDING = 2e-14
RANK = 1e-13
WALKS = 400
"""Directions beyond which it stays amid the equally sparse; each costs one pass over them all."""
LOSS = 1e-8
NEAR = 1e-4
"""Share of the noise's box at whose end a noise counts as being at the wall."""


def settle(best: Best, precision: float) -> None:
    """Set the terms that are zero in the limit to zero, and move the others to make up for it.

    Which are zero the dual vector tells: where a term is zero, its limit is not reached. The
    others move as little as possible. If many sets of terms are equally sparse, the interior
    point lies amid them, with all their terms; from there `_to_corner` goes to one with as few
    terms as equations. What comes out is taken if the game is still matched to the last digits
    and the sum has not become larger than what was proven allows.

    Args:
        best: what an interior point method found.
        precision: the gap that was asked for.
    """
    problem = best.problem
    x = problem.and_terms(best.y, best.q)
    size = (x.abs() + best.y.abs()).mean(-1, keepdim=True)
    silent = x.abs() < size * (problem.and_cost - best.dual.abs())
    used = best.y.abs() >= size * (problem.or_cost - problem.on_or(best.dual).abs())
    used &= best.y != 0
    for row in range(len(x)):
        own = problem.rows(slice(row, row + 1))
        at = _Terms(best.y[row] * used[row], None, silent[row], used[row])
        if best.q is not None and float(problem.noise[row]) > 0:
            at = replace(at, q=_pressed(best.q[row], own.noise[0]))
        at = _cleaned(own, at)
        if at is None or not _take(best, row, at, precision):
            continue
        corner = _to_corner(own, at)
        corner = None if corner is at else _cleaned(own, corner)
        if corner is not None:
            _take(best, row, corner, precision)


@dataclass(frozen=True)
class _Terms:
    """Terms of one game, and which of them are zero: x where silent, y where not used."""

    y: Float[Tensor, " coalitions"]
    q: Float[Tensor, " coalitions"] | None
    silent: Bool[Tensor, " coalitions"]
    used: Bool[Tensor, " coalitions"]

    def moving(self, noise: Float[Tensor, ""]) -> Bool[Tensor, " coalitions"]:
        """Where the noise is not at a wall of its box."""
        if self.q is None:
            return torch.zeros_like(self.used)
        moving = self.q.abs() < noise
        moving[0] = False
        return moving

    def x(self, problem: Programme) -> Float[Tensor, " coalitions"]:
        return problem.and_terms(self.y[None], None if self.q is None else self.q[None])[0]


def _pressed(q: Float[Tensor, " coalitions"], noise: Float[Tensor, ""]) -> Tensor:
    """The noise with what is nearly at a wall put to it."""
    q = torch.where(noise - q.abs() < NEAR * noise, q.sign() * noise, q)
    q[0] = 0
    return q


def _cleaned(problem: Programme, at: _Terms) -> _Terms | None:
    """The nearest terms whose silent part is zero to the last digits; None if there are none."""
    moving = at.moving(problem.noise[0])
    solve = _Mover(problem, at.silent, at.used, moving)
    if not solve.possible:
        return None
    before = dust = torch.inf
    for _ in range(ROUNDS):
        x = at.x(problem)
        dust = float(x[at.silent].abs().amax()) if at.silent.any() else 0.0
        if dust == 0 or dust > before / 2:
            break
        before = dust
        own, noise = solve(-x[at.silent])
        at = replace(at, y=at.y.masked_scatter(at.used, at.y[at.used] + own))
        if at.q is not None:
            at = replace(at, q=at.q.masked_scatter(moving, at.q[moving] + noise))
    return at if dust <= ROUNDING * float(problem.w.abs().amax()) else None


def _take(best: Best, row: int, at: _Terms, precision: float) -> bool:
    problem = best.problem.rows(slice(row, row + 1))
    if at.q is not None:
        if bool((at.q.abs() > problem.noise[0] * (1 + 1e-12)).any()):
            return False
        at = replace(at, q=at.q.clamp(-problem.noise[0], problem.noise[0]))
    cost = at.x(problem).abs()[~at.silent] @ problem.and_cost[~at.silent]
    cost = cost + at.y.abs() @ problem.or_cost
    # Half of what was not proven may be lost, or else a digit that nobody asked for.
    allowed = torch.maximum(best.upper[row] - best.lower[row], min(precision, LOSS) * cost)
    if cost > best.upper[row] + 0.5 * allowed:
        return False
    best.y[row], best.silent[row], best.upper[row] = at.y, at.silent, cost
    if best.q is not None and at.q is not None:
        best.q[row] = at.q
    return True


def _to_corner(problem: Programme, at: _Terms) -> _Terms:
    """Walk along directions in which nothing silent sounds, until a term or a wall is met.

    Each walk ends one direction. They start towards lower orders, among the equally sparse.
    """
    noise = problem.noise[0]
    moving = at.moving(noise)
    loud = ~at.silent
    loud[0] = False
    quiet = _Mover(problem, at.silent, at.used, moving).matrix
    if quiet.shape[1] > quiet.shape[0] + WALKS:
        return at
    values, vectors = torch.linalg.eigh(quiet.T @ quiet)
    paths = vectors[:, values < RANK * max(1.0, float(values[-1:].sum()))]
    if paths.shape[1] == 0 or paths.shape[1] > WALKS:
        return at
    paths = torch.cat([paths, _Mover(problem, loud, at.used, moving).matrix @ paths])
    q = at.y.new_zeros(0) if at.q is None else at.q[moving]
    place = torch.cat([at.y[at.used], q, at.x(problem)[loud]])
    terms = torch.ones_like(place, dtype=torch.bool)
    terms[int(at.used.sum()) : int(at.used.sum()) + len(q)] = False
    size = sizes(problem.players).to(place)
    order = torch.cat([problem.players - size[at.used], torch.zeros_like(q), size[loud]])
    heavy = order * place.sign()
    stopped = torch.zeros_like(terms)
    while paths.shape[1] > 0:
        downhill = paths.T @ heavy
        if float(downhill.norm()) > 1e-9 * float(heavy.norm()):
            direction = -paths @ downhill
        else:
            direction = paths[:, 0]
        moves = (direction.abs() > 1e-7 * direction.abs().amax()) & ~stopped
        wall = torch.where(terms, 0, noise * direction.sign())
        towards = moves & (~terms | (place * direction < 0))
        if not towards.any():
            direction, wall = -direction, -wall
            towards = moves & (~terms | (place * direction < 0))
            if not towards.any():
                break
        reach = torch.where(towards, (wall - place) / torch.where(towards, direction, 1), torch.inf)
        first = int(reach.argmin())
        place = place + reach[first] * direction
        place[first] = wall[first]
        stopped[first] = True
        # A reflection turns the first path to what moves this entry; the others leave it alone.
        turn = paths[first].clone()
        turn[0] += turn.norm() * (1 if turn[0] >= 0 else -1)
        paths = (paths - (paths @ turn)[:, None] * (2 / (turn @ turn) * turn))[:, 1:]
    own, free = int(at.used.sum()), len(q)
    y = at.y.masked_scatter(at.used, place[:own])
    used = at.used.masked_scatter(at.used, ~stopped[:own])
    silent = at.silent.masked_scatter(loud, stopped[own + free :])
    if at.q is None:
        return _Terms(y * used, None, silent, used)
    return _Terms(y * used, at.q.masked_scatter(moving, place[own : own + free]), silent, used)


class _Mover:
    """The least change of y and q that makes a given change of the silent entries of x."""

    def __init__(
        self,
        problem: Programme,
        silent: Bool[Tensor, " coalitions"],
        used: Bool[Tensor, " coalitions"],
        moving: Bool[Tensor, " coalitions"],
    ) -> None:
        w = problem.w
        place = torch.arange(w.shape[1], device=w.device)
        rows, own, noise = place[silent][:, None], place[used], place[moving]
        odd = sizes(problem.players).to(w.device)[noise] % 2
        disjoint = (rows & own == 0).to(w)
        signed = (rows & noise == noise).to(w) * (1 - 2 * odd)
        self.matrix = torch.cat([disjoint, signed], dim=1)
        self.parts = (len(own), len(noise))
        self.wide = self.matrix.shape[1] >= self.matrix.shape[0]
        square = self.matrix @ self.matrix.T if self.wide else self.matrix.T @ self.matrix
        if len(square):
            square.diagonal().add_(RIDGE * square.diagonal().mean() + 1e-300)
        self.factor, failed = torch.linalg.cholesky_ex(square)
        self.possible = not bool(failed)

    def __call__(self, change: Float[Tensor, " silent"]) -> tuple[Tensor, ...]:
        if self.wide:
            move = self.matrix.T @ torch.cholesky_solve(change[:, None], self.factor)
        else:
            move = torch.cholesky_solve(self.matrix.T @ change[:, None], self.factor)
        return move[:, 0].split(self.parts)
