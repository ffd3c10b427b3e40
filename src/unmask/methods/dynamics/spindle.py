"""The spindle: how interactions are spread over orders before anything was learned."""

from collections.abc import Sequence
from math import comb

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.bootstrap import CONFIDENCE, DRAWS, bootstrap, means
from unmask.card import method
from unmask.interactions.terms.orders import mean_order, order_sums, total_variation
from unmask.interactions.terms.stacked import stacked
from unmask.results import Interactions, Measurement

_BOUNDS = {"share": (0.0, 1.0)} | {
    f"{law}_{name}": bounds
    for law in ("effects", "outputs")
    for name, bounds in (("distance", (0.0, 1.0)), ("fit", (-torch.inf, 1.0)))
}


def random_effects_law(players: int) -> Float[Tensor, " orders"]:
    r"""The share of each order if all effects are alike and independent.

    $$
    L(k) = \frac{\binom{n}{k}}{2^n - 1}
    $$

    Args:
        players: n.
    """
    return _law(players, 1.0)


def random_outputs_law(players: int) -> Float[Tensor, " orders"]:
    r"""The share of each order if the outputs on all coalitions are alike and independent.

    $$
    L(k) = \frac{\binom{n}{k}\, 2^{k/2}}{\sum_j \binom{n}{j}\, 2^{j/2}}
    $$

    An effect of order k adds up 2^k outputs with signs, so its standard deviation is 2^(k/2) times
    theirs.

    Args:
        players: n.
    """
    return _law(players, 2**0.5)


@method("ren2024towards")
def spindle(
    terms: Sequence[Interactions],
    *,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Set the strengths by order of an untrained network against what chance alone would give.

    $$
    E\, I^{(k)}_\pm = \pm \frac{s}{\sqrt{2\pi}} \binom{n}{k}, \qquad
    R^2 = 1 - \frac{\sum_k (D(k) - L(k))^2}{\sum_k (D(k) - 1/n)^2}, \qquad
    \mathrm{TV} = \tfrac12 \sum_k |D(k) - L(k)|
    $$

    The theorem takes all effects as independent and normal with standard deviation s: few at both
    ends, most in the middle. Real networks need not be so. If their outputs are independent
    instead, effects grow with their order as 2^(k/2), and the widest order lies near 0.586 n. Both
    laws L are compared with D, the share of all strength that lies in an order, no term left out.

    The laws speak of the effects of one game, as `and_interaction` gives them. The sparsest
    AND-OR terms were chosen for smallness, and in them a single player has one term where larger
    coalitions have two, so that order 1 is the lower for it.

    Numbers: `inputs`; `widest`, the order of most strength; `mean_order`; R2 and TV of the first
    law, `effects_fit` and `effects_distance`, and of the second, `outputs_fit` and
    `outputs_distance`. Curves over `order`: `share`, D; `random_effects` and `random_outputs`, the
    laws. What was measured comes with `_low` and `_high`, a bootstrap over inputs, NaN for a single
    one. All is NaN without any term; R2 is minus infinity if D is quite even and L is not.

    Args:
        terms: one explanation per input, with equally many players.
        draws: of the bootstrap.
        confidence: of the intervals.
        generator: source of the draws.

    >>> from unmask import Game
    >>> from unmask.interactions import and_interaction
    >>> table = torch.randn(2**8, generator=torch.Generator().manual_seed(0))
    >>> outputs = Game(lambda masks: table, tuple("abcdefgh"), lambda: table)
    >>> found = spindle([and_interaction(outputs)]).numbers
    >>> found["outputs_distance"] < 0.1 < found["effects_distance"]
    True
    """
    stack = stacked(terms)
    positive, negative = order_sums(stack)
    strength = positive - negative
    players = strength.shape[-1]
    laws = {
        "effects": random_effects_law(players).to(strength),
        "outputs": random_outputs_law(players).to(strength),
    }

    def statistics(weights: Float[Tensor, "draws inputs"]) -> dict[str, Tensor]:
        share = means(weights, strength)
        share = share / share.sum(-1, keepdim=True)
        found = {"share": share, "mean_order": mean_order(share)}
        for name, law in laws.items():
            found[f"{name}_fit"] = _explained(share, law)
            found[f"{name}_distance"] = total_variation(share, law)
        return found

    found = bootstrap(
        statistics,
        len(stack),
        draws=draws,
        confidence=confidence,
        generator=generator,
        bounds=_BOUNDS,
    )
    nothing = found["share"].isnan().any()
    widest = torch.nan if nothing else float(found["share"].argmax() + 1)
    return Measurement(
        {"inputs": float(len(stack)), "widest": widest}
        | {name: float(value) for name, value in found.items() if value.dim() == 0},
        {"order": torch.arange(1, players + 1).to(strength)}
        | {name: value for name, value in found.items() if value.dim()}
        | {"random_effects": laws["effects"], "random_outputs": laws["outputs"]},
        {"share of the strength": ("order", "share", "random_effects", "random_outputs")},
    )


def _explained(
    share: Float[Tensor, "*draws orders"], law: Float[Tensor, " orders"]
) -> Float[Tensor, "*draws"]:
    """R2: how much of the differences between orders a law explains; 1 if all is equal to it."""
    error = (share - law).square().sum(-1)
    spread = (share - share.mean(-1, keepdim=True)).square().sum(-1)
    return torch.where(error == 0, 1.0, 1 - error / spread)


def _law(players: int, growth: float) -> Float[Tensor, " orders"]:
    if players < 1:
        raise ValueError(
            f"A law of orders needs players, but got {players}. Give one player at least."
        )
    counts = [comb(players, k) * growth**k for k in range(1, players + 1)]
    return torch.tensor(counts, dtype=torch.float64) / sum(counts)
