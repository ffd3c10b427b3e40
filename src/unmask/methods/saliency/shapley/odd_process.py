r"""A Gaussian process for the odd part of a game, whose Shapley values are known.

The Shapley values depend on $u(S) = (v(S) - v(N \setminus S)) / 2$ alone. With $z_i = \pm 1$ for
players in S and out of it, u is taken for a draw of the process with the covariance

$$
K(z, z') = \frac{a_1}{n} \sum_i z_i z'_i + a_2\, \frac{\sinh \sum_i b_i z_i z'_i}{\sinh \sum_i b_i}
           + a_3\, [z = z']
$$

whose parts are a sum over players, the odd half of a squared exponential kernel in which players of
large b take part in many interactions, and a game without any rule. The last is a part of the
game like the others, not noise: its Shapley values count. So once all coalitions are known the
posterior is exact, whatever the parameters; until then it is the best linear guess under them.
"""

from dataclasses import dataclass
from math import comb, log

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from torch import Tensor

from unmask.quadrature import gauss_legendre

_SUM = 10.0
"""a_1, beside a scale for all of K that is read off the data: large, so that sums over players are
hardly held back."""
_LEARNT_FROM = 256
"""Pairs from which the parameters are learnt; more hardly change them and cost their cube."""
_AT_ONCE = 2**12
"""Coalitions that are foretold together."""
_STEPS = 15
_EXPECTED = {"b": (1.0, -4.0, 3.5), "a2": (2.0, -9.0, 4.0), "a3": (4.0, -14.0, 1.0)}
"""Of the logarithm of each parameter: its prior deviation, and the least and the most it may be.
b counts from 2 / n, where sinh bends mildly."""


@dataclass(frozen=True)
class Parameters:
    """What is learnt of a game before its values are guessed.

    Args:
        b: of each player.
        smooth: a_2.
        rough: a_3.
    """

    b: Float[Tensor, " players"]
    smooth: float
    rough: float


@dataclass(frozen=True)
class Posterior:
    """What is known of the Shapley values, and of other coalitions, once some are evaluated.

    Args:
        values: of the players.
        variance: of the values, by how well each evaluated pair is foretold by the others.
        signs: z of the evaluated pairs, the ends first.
        pull: of each on a coalition that it is like; K^-1 u.
        parameters: of the process.
    """

    values: Float[Tensor, " players"]
    variance: Float[Tensor, " players"]
    signs: Float[Tensor, "pairs players"]
    pull: Float[Tensor, " pairs"]
    parameters: Parameters

    def __call__(self, masks: Bool[Tensor, "batch players"]) -> Float[Tensor, " batch"]:
        """The expected u of coalitions that were not evaluated."""
        b, smooth = self.parameters.b, self.parameters.smooth
        parts = [2 * some.to(self.pull) - 1 for some in masks.split(_AT_ONCE)]
        return torch.cat([_smooth(z, self.signs, b, smooth) @ self.pull for z in parts])


def posterior(
    masks: Bool[Tensor, "pairs players"], odd: Float[Tensor, " pairs"], whole: Float[Tensor, ""]
) -> Posterior:
    """Guess the Shapley values from some pairs.

    Args:
        masks: one coalition of each pair, without the full one.
        odd: u of each.
        whole: u of the full coalition.
    """
    n = masks.shape[1]
    signs = torch.cat([odd.new_ones(1, n), 2 * masks.to(odd) - 1])
    odd = torch.cat([whole[None], odd])
    scale = float(odd.abs().max()) or 1.0
    odd = odd / scale
    known = learnt(signs, odd)

    k = _smooth(signs, signs, known.b, known.smooth)
    k.diagonal().add_(known.rough)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(k))
    pull = inverse @ odd
    rough = _shapley_weights(signs)
    like = _shapley_of_kernel(signs, known) + known.rough * rough
    values = like.T @ pull
    values += (2 * odd[0] - values.sum()) / n  # what rounding took off a sum that is certain

    # The rule-less part of what was not evaluated stays as uncertain as it was.
    certain = known.rough * (_shapley_weights_squared(n) - rough.square().sum(0)).clamp_min(0)
    variance = _prior_variance(n, known) - ((like.T @ inverse) * like.T).sum(1)
    # How far each pair is from what the others foretell, beside how far it was expected to be; and
    # the parameters were learnt from the same pairs.
    surprise = (pull.square() / inverse.diagonal()).mean() * (1 + (n + 2) / len(odd)) ** 2
    return Posterior(
        values=scale * values,
        variance=scale**2 * surprise * torch.maximum(variance, certain),
        signs=signs,
        pull=scale * pull,
        parameters=known,
    )


def learnt(signs: Float[Tensor, "pairs players"], odd: Float[Tensor, " pairs"]) -> Parameters:
    """The parameters under which what was seen is likely, a scale for all of K left free.

    They are learnt from pairs spread evenly over those given, the first always among them.
    """
    n = signs.shape[1]
    step = max(1, -(-len(odd) // _LEARNT_FROM))
    z, u = signs[::step], odd[::step]
    start = np.array([log(2 / n)] * n + [-2.0, -8.0])
    if not u.any():  # nothing to learn from: every scale is as likely
        return Parameters(torch.tensor(np.exp(start[:-2])).to(u), *np.exp(start[-2:]).tolist())
    kinds = ["b"] * n + ["a2", "a3"]
    deviation = np.array([_EXPECTED[kind][0] for kind in kinds])
    bounds = [
        (s + low, s + high) if kind == "b" else (low, high)
        for s, (kind, (_, low, high)) in zip(start, ((k, _EXPECTED[k]) for k in kinds), strict=True)
    ]
    linear = _SUM / n * (z @ z.mT)
    one = torch.eye(len(u), dtype=u.dtype, device=u.device)

    def surprise(theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The negative logarithm of the posterior density, and its slope."""
        b, (smooth, rough) = torch.tensor(np.exp(theta[:-2])).to(u), np.exp(theta[-2:])
        bent, slope = _bent(z, z, b)
        factor = torch.linalg.cholesky(linear + smooth * bent + rough * one)
        inverse = torch.cholesky_inverse(factor)
        pull = inverse @ u
        fit = u @ pull
        value = len(u) / 2 * fit.log() + factor.diagonal().log().sum()
        by_k = (inverse - len(u) / fit * torch.outer(pull, pull)) / 2
        by_x = smooth * by_k * slope
        # The exponent's own sum of b takes its share off; see _bent.
        by_b = (z * (by_x @ z)).sum(0) - smooth * (by_k * _normal(bent, slope, b)).sum()
        slopes = [
            *(b * by_b).tolist(),
            float(smooth * (by_k * bent).sum()),
            float(rough * by_k.trace()),
        ]
        away = (theta - start) / deviation
        return float(value) + (away**2).sum() / 2, np.array(slopes) + away / deviation

    options = {"maxiter": _STEPS, "ftol": 1e-5}
    found = minimize(surprise, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return Parameters(torch.tensor(np.exp(found[:-2])).to(u), *np.exp(found[-2:]).tolist())


def _bent(
    one: Float[Tensor, "some players"], other: Float[Tensor, "others players"], b: Tensor
) -> tuple[Float[Tensor, "some others"], Float[Tensor, "some others"]]:
    """sinh(x) / sinh(B) and cosh(x) / sinh(B) for x = sum of b z z' and B = sum of b."""
    x, most = (one * b) @ other.mT, b.sum()
    up, down = (x - most).exp(), (-x - most).exp()  # sinh itself would overflow
    below = 1 - (-2 * most).exp()
    return (up - down) / below, (up + down) / below


def _normal(bent: Tensor, slope: Tensor, b: Tensor) -> Tensor:
    """What the normalisation by sinh(B) takes off each slope in b."""
    return bent / b.sum().tanh()


def _smooth(one: Tensor, other: Tensor, b: Tensor, smooth: float) -> Tensor:
    """K without its last part."""
    return _SUM / one.shape[1] * (one @ other.mT) + smooth * _bent(one, other, b)[0]


def _shapley_of_kernel(
    signs: Float[Tensor, "pairs players"], known: Parameters
) -> Float[Tensor, "pairs players"]:
    r"""The covariance of u at each pair with every Shapley value, but for the rule-less part.

    As a game of S' the exponential of $\sum_i b_i z_i z'_i$ is a product over players, so that with
    every player joining at rate t its Shapley values are integrals of polynomials in t:

    $$
    \phi_i = \int_0^1 2 \sinh(b_i z_i) \prod_{j \ne i}
             \bigl( t e^{b_j z_j} + (1 - t) e^{-b_j z_j} \bigr)\, dt
    $$

    Its even half has none, so these are the Shapley values of sinh, too.
    """
    n = signs.shape[1]
    b = known.b
    with_it, without = (b * signs - b).exp(), (-b * signs - b).exp()
    total = torch.zeros_like(signs)
    for t, weight in gauss_legendre(_nodes(n)):
        factor = torch.lerp(without, with_it, t)
        total += weight * factor.log().sum(1, keepdim=True).exp() / factor
    bent = 2 * total * (with_it - without) / (1 - (-2 * b.sum()).exp())
    return 2 * _SUM / n * signs + known.smooth * bent


def _shapley_weights(signs: Float[Tensor, "pairs players"]) -> Float[Tensor, "pairs players"]:
    """What the u of each pair counts for each Shapley value."""
    n = signs.shape[1]
    sizes = torch.arange(n + 1).to(signs)
    ways = torch.lgamma(sizes.new_tensor(n + 1.0))
    ways = ways - torch.lgamma(sizes + 1) - torch.lgamma(n - sizes + 1)
    within, outside = 2 / sizes / ways.exp(), -2 / (n - sizes) / ways.exp()
    size = (signs > 0).sum(1)
    return torch.where(signs > 0, within[size, None], outside[size, None])


def _shapley_weights_squared(players: int) -> float:
    """The sum of their squares over all pairs, for any player."""
    ends = 4 / players**2
    return ends + sum(2 / (s * (players - s) * comb(players, s)) for s in range(1, players))


def _nodes(players: int) -> int:
    """Enough for polynomials of as many factors; beyond 128 they are as good as analytic."""
    return min(64, (players + 1) // 2)


def _prior_variance(players: int, known: Parameters) -> Float[Tensor, " players"]:
    """The variance of the Shapley values before anything is known."""
    b = known.b
    t, weight = b.new_tensor(gauss_legendre(_nodes(players))).T
    alike = (t[:, None] * t + (1 - t[:, None]) * (1 - t))[..., None]
    factor = alike + (1 - alike) * (-2 * b).exp()
    product = factor.log().sum(-1, keepdim=True).exp() / factor
    mean = torch.einsum("s,t,sti->i", weight, weight, product)
    bent = 4 * mean * (1 - (-2 * b).exp()) / (1 - (-2 * b.sum()).exp())
    rough = known.rough * _shapley_weights_squared(players)
    return 4 * _SUM / players + known.smooth * bent + rough
