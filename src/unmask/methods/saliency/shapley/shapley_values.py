"""Shapley values from a limited number of evaluations, as accurate as they make possible."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.game import Game
from unmask.methods.saliency.shapley.budget import exactly, rounds
from unmask.methods.saliency.shapley.kernel_shap import Fit, regression
from unmask.methods.saliency.shapley.odd_process import posterior
from unmask.methods.saliency.shapley.paired_coalitions import PairedCoalitions, ends_of, odd_part
from unmask.results import Attribution

_LEARNT = 2048
"""Pairs that the process learns from; its matrix then takes 32 MiB, and its solution a second."""


@method("fumagalli2026odd", "musco2025provably", "witter2025regression", axioms=("completeness",))
def shapley_values(
    game: Game,
    *,
    samples: int | None = None,
    error: float | None = None,
    generator: torch.Generator | None = None,
) -> Attribution:
    r"""Share the output among the players, exactly if that is affordable, else from samples.

    $$
    \phi_i = E\Bigl[ \phi_i(u) \,\Big|\, u(S_1), u(S_2), \dots \Bigr], \qquad
    u(S) = \frac{v(S) - v(N \setminus S)}{2}
    $$

    This is the method to take first. The Shapley values depend on nothing but u, so coalitions are
    drawn in pairs, a coalition and its complement: as many of every size, and none twice. A
    Gaussian process is fitted to them that learns which players interact, and the Shapley values
    are those of what it expects. Additive games it finds to a millionth, and the sum is always
    v(N) - v(empty). On networks that read tables its errors were from two thirds to a fifteenth of
    those of regressions on as many coalitions; of games without any rule, or of votes, it makes no
    more than they do.

    The standard errors are those of the posterior, enlarged or reduced by how well each pair is
    foretold by the others. They rest on the process being a fair picture of the game, which the
    errors of `kernel_shap` and `permutation_shapley` do not. Of more than 4,098 coalitions the
    first make the process, and the rest correct it: a weighted regression of what it leaves, which
    needs no such belief, is added in proportion to its precision.

    Args:
        game: v.
        samples: coalitions to evaluate at most, 2 n + 2048 if not given; with a wanted error 2^20.
        error: the largest standard error that is wanted; coalitions are added until it is reached.
        generator: source of randomness.

    >>> game = Game(lambda own: 3.0 * own[:, 0] + own[:, 1:4].all(1), tuple("abcdefghijkl"))
    >>> found = shapley_values(game, samples=200)
    >>> bool((found.values - torch.tensor([3, *[1 / 3] * 3, *[0] * 8])).abs().max() < 0.01)
    True
    >>> found.evaluations, shapley_values(game, samples=5000).evaluations
    (200, 4096)
    """
    n = len(game.names)
    turns = rounds(n, samples, error, 4)
    size = next(turns)
    if size == 2**n:
        return exactly(game)
    pairs = PairedCoalitions(n, [1.0] * (n // 2), admission.drawing(generator))
    full, empty = ends_of(game)
    whole = (full - empty) / 2
    masks, odd = whole.new_zeros(0, n, dtype=torch.bool), whole.new_zeros(0)
    while True:
        for total in sorted({min(_LEARNT, (size - 2) // 2), (size - 2) // 2}):
            new = pairs.more(total)
            masks = torch.cat([masks, new.to(odd.device)])
            odd = torch.cat([odd, odd_part(game, new).to(odd)])
        fit = _fitted(masks, odd, whole, pairs)
        reached = float(fit.variance.max()) ** 0.5 <= (error or 0)
        size = None if reached else next(turns, None)
        if size is None:
            break
        if size == 2**n:
            return exactly(game)
    return Attribution(
        fit.values[None],
        gap=(2 * whole - fit.values.sum())[None],
        names=game.names,
        evaluations=2 + 2 * len(masks),
        errors=fit.variance.sqrt()[None],
    )


def _fitted(
    masks: Bool[Tensor, "pairs players"],
    odd: Float[Tensor, " pairs"],
    whole: Float[Tensor, ""],
    pairs: PairedCoalitions,
) -> Fit:
    """The process on the first pairs, corrected by those that it has not seen."""
    process = posterior(masks[:_LEARNT], odd[:_LEARNT], whole)
    if len(masks) <= _LEARNT:
        return Fit(process.values, process.variance)
    left = torch.cat([torch.zeros_like(odd[:_LEARNT]), odd[_LEARNT:] - process(masks[_LEARNT:])])
    seen = pairs.layer_of(masks[:_LEARNT])
    others = pairs.represented(since=seen.bincount(minlength=len(pairs.layers)).tolist())
    stands = torch.cat(
        [torch.zeros_like(odd[:_LEARNT]), others.to(odd)[pairs.layer_of(masks[_LEARNT:])]]
    )
    correction = regression(masks, left, torch.zeros_like(whole), stands)
    believed, measured = process.variance.sum(), correction.variance.sum()
    if believed == 0 or measured.isinf():
        return Fit(process.values, process.variance)
    share = believed / (believed + measured)
    return Fit(
        process.values + share * correction.values,
        (1 - share) ** 2 * process.variance + share**2 * correction.variance,
    )
