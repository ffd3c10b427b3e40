"""KernelSHAP: Shapley values by weighted regression on drawn coalitions."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import comb, log

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.game import Game
from unmask.methods.saliency.shapley.budget import exactly, rounds
from unmask.methods.saliency.shapley.paired_coalitions import PairedCoalitions, odd_part
from unmask.results import Attribution

_AT_ONCE = 2**14
"""Pairs whose rows of the regression are in memory together."""
_TRIES = 50
"""Draws of so few pairs that they may not tell all players apart."""


@method("lundberg2017unified", "covert2021improving", axioms=("completeness", "linearity"))
def kernel_shap(
    game: Game,
    *,
    samples: int | None = None,
    error: float | None = None,
    generator: torch.Generator | None = None,
) -> Attribution:
    r"""Fit a game by a sum over its players, on coalitions drawn at random.

    $$
    \min_\phi \sum_S \frac{n - 1}{\binom{n}{|S|}\,|S|\,(n - |S|)}
    \Bigl( v(S) - v(\emptyset) - \sum_{i \in S} \phi_i \Bigr)^2
    \quad \text{such that} \quad \sum_i \phi_i = v(N) - v(\emptyset)
    $$

    Over all coalitions the solution is the Shapley value. Here the sum is estimated: coalitions
    are drawn by size in proportion to their weight, whole sizes where the samples suffice, each
    with its complement and none twice. The values always sum to v(N) - v(empty), and of an
    additive game they are exact. A player that never matters may get a little, by chance.

    The standard errors are those of a regression on a sample of a finite population; below 4 n + 2
    coalitions they cannot be told and are None. Where all 2^n coalitions cost no more than
    `samples`, they are all evaluated and the errors are zero.

    Of the same samples `shapley_values` makes more, at the price of a computation that grows with
    their cube; take this one where the model is so fast that this matters.

    Args:
        game: v.
        samples: coalitions to evaluate at most, 2 n + 2048 if not given; with a wanted error 2^20.
        error: the largest standard error that is wanted; coalitions are added until it is reached.
        generator: source of randomness.

    >>> game = Game(lambda own: 3.0 * own[:, 0] - 1.0 * own[:, 7], tuple("abcdefgh"))
    >>> found = kernel_shap(game, samples=40)
    >>> found.values.abs().round(decimals=6).tolist()
    [[3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]
    >>> found.evaluations
    40
    """
    return _fitted(game, samples, error, generator, lambda s, n: 1 / (s * (n - s)))


@method("musco2025provably", axioms=("completeness", "linearity"))
def leverage_shap(
    game: Game,
    *,
    samples: int | None = None,
    error: float | None = None,
    generator: torch.Generator | None = None,
) -> Attribution:
    r"""Fit a game by a sum over its players, on as many coalitions of every size.

    $$
    \min_\phi \sum_S \frac{n - 1}{\binom{n}{|S|}\,|S|\,(n - |S|)}
    \Bigl( v(S) - v(\emptyset) - \sum_{i \in S} \phi_i \Bigr)^2
    \quad \text{such that} \quad \sum_i \phi_i = v(N) - v(\emptyset)
    $$

    The regression is that of `kernel_shap`, and so is all that is said there. But coalitions are
    drawn by their leverage, how much each decides about the solution, which is the same for every
    size taken together. With many players that is more accurate than drawing by weight, which
    spends most samples on the smallest and the largest coalitions.

    Args:
        game: v.
        samples: coalitions to evaluate at most, 2 n + 2048 if not given; with a wanted error 2^20.
        error: the largest standard error that is wanted; coalitions are added until it is reached.
        generator: source of randomness.

    >>> game = Game(lambda own: 3.0 * own[:, 0] - 1.0 * own[:, 7], tuple("abcdefgh"))
    >>> leverage_shap(game, samples=40).values.abs().round(decimals=6).tolist()
    [[3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    return _fitted(game, samples, error, generator, lambda s, n: 1.0)


@dataclass(frozen=True)
class Fit:
    """A regression on pairs of coalitions.

    Args:
        values: of the players.
        variance: of the values; infinite where pairs are too few to tell.
    """

    values: Float[Tensor, " players"]
    variance: Float[Tensor, " players"]


def regression(
    masks: Bool[Tensor, "pairs players"],
    odd: Float[Tensor, " pairs"],
    whole: Float[Tensor, ""],
    stands: Float[Tensor, " pairs"],
) -> Fit:
    r"""Shapley values of the odd part of a game, by weighted regression on some pairs.

    With $z_i = \pm 1$ for players in S and out of it, and $u(S) = (v(S) - v(N \setminus S)) / 2$,
    pairs of coalitions make the regression one of u on z without a constant. The last player is
    eliminated by the constraint, and the Shapley values are twice the coefficients.

    Args:
        masks: one coalition of each pair.
        odd: u.
        whole: u(N).
        stands: the logarithm of how many pairs of the population each stands for.
    """
    n = masks.shape[1]
    # The kernel has a factor of 1 / C(n, s), which beside it is balanced by what a pair stands for.
    kernel = odd.new_tensor([-log(comb(n, s) * max(1, s * (n - s))) for s in range(n + 1)])
    weight = (stands + kernel[masks.sum(1)]).exp()

    parts = [part.split(_AT_ONCE) for part in (masks, odd, weight, stands)]
    gram, target = odd.new_zeros(n, n), odd.new_zeros(n)
    for some, u, w, _ in zip(*parts, strict=True):
        z = _signs(some, odd)
        weighted = (z * w[:, None]).T
        gram += weighted @ z
        target += weighted @ torch.sub(u, z[:, -1], alpha=float(whole))
    free = torch.eye(n, n - 1).to(odd)
    free[-1] = -1  # what moves without a change of the sum
    spread = free @ torch.linalg.pinv(free.T @ gram @ free, hermitian=True, rtol=1e-10) @ free.T
    coefficients = spread @ target
    coefficients[-1] += whole
    if len(masks) < 2 * n:
        return Fit(2 * coefficients, torch.full_like(coefficients, torch.inf))

    # What each pair moves the solution by, had it been left out; whole layers leave nothing open.
    variance = odd.new_zeros(n)
    for some, u, w, represents in zip(*parts, strict=True):
        z = _signs(some, odd)
        pull = z @ spread
        leverage = (pull * z).sum(1) * w
        moved = 2 * w * (u - z @ coefficients) / (1 - leverage).clamp_min(1e-6)
        variance -= (torch.expm1(-represents) * moved.square()) @ pull.square_()
    return Fit(2 * coefficients, variance)


def _signs(
    masks: Bool[Tensor, "pairs players"], like: Float[Tensor, " pairs"]
) -> Float[Tensor, "pairs players"]:
    """1 for those who take part, -1 for the others."""
    return masks.to(like.dtype).mul_(2).sub_(1)


def _fitted(
    game: Game,
    samples: int | None,
    error: float | None,
    generator: torch.Generator | None,
    share: Callable[[int, int], float],
) -> Attribution:
    """Draw, evaluate and fit, until the error is small enough."""
    n = len(game.names)
    turns = rounds(n, samples, error, 2 * n)
    size = next(turns)
    if size == 2**n:
        return exactly(game)
    shares = [share(s, n) for s in range(1, n // 2 + 1)]
    pairs, masks = _telling(n, shares, (size - 2) // 2, admission.drawing(generator))
    # The full coalition and the empty one are a pair too, and all are asked about together.
    whole, odd = odd_part(game, torch.cat([masks.new_ones(1, n), masks])).split((1, len(masks)))
    whole = whole[0]
    while True:
        stands = pairs.represented()[pairs.layer_of(masks).cpu()]
        fit = regression(masks.to(odd.device), odd, whole, stands.to(odd))
        reached = float(fit.variance.max()) ** 0.5 <= (error or 0)
        size = None if reached else next(turns, None)
        if size is None:
            break
        if size == 2**n:
            return exactly(game)
        new = pairs.more((size - 2) // 2)
        masks, odd = torch.cat([masks, new]), torch.cat([odd, odd_part(game, new)])
    return Attribution(
        fit.values[None],
        gap=(2 * whole - fit.values.sum())[None],
        names=game.names,
        evaluations=2 + 2 * len(masks),
        errors=fit.variance.sqrt()[None] if fit.variance.isfinite().all() else None,
    )


def _telling(
    players: int, shares: list[float], count: int, generator: torch.Generator
) -> tuple[PairedCoalitions, Bool[Tensor, "pairs players"]]:
    """Pairs from which all players can be told apart; of few, not every draw can do that."""
    tries = 0
    while True:
        pairs, tries = PairedCoalitions(players, shares, generator), tries + 1
        masks = pairs.more(count)
        if count >= 2 * players:
            return pairs, masks
        z = 2 * masks.double() - 1
        if torch.linalg.matrix_rank(z[:, 1:] - z[:, :1]) == players - 1:
            return pairs, masks
        if tries == _TRIES:
            warnings.warn(
                f"{2 * count + 2} coalitions of {players} players leave the regression without a "
                "single solution, and the shortest is taken. Give more samples.",
                stacklevel=4,
            )
            return pairs, masks
