"""How strong the interactions of each order are, in a network as it is now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.bootstrap import CONFIDENCE, DRAWS, bootstrap, means
from unmask.card import method
from unmask.interactions.terms.orders import mean_order, order_sums
from unmask.interactions.terms.stacked import salient, stacked
from unmask.results import Interactions, Measurement


@dataclass(frozen=True)
class Strengths:
    """What the terms of each input add up to, order by order.

    Args:
        positive: the positive effects of each order from 1 to n.
        negative: the negative ones.
        outputs: v(N) - v(empty), all effects added up, also of terms that are not salient.
    """

    positive: Float[Tensor, "inputs orders"]
    negative: Float[Tensor, "inputs orders"]
    outputs: Float[Tensor, " inputs"]


Unit = float | Callable[[Strengths], float]
"""What strengths are counted in: a number, or a function that finds one for this network."""


def output_scale(strengths: Strengths) -> float:
    """The mean of |v(N) - v(empty)|: bars then tell how strong an order is against the output."""
    return float(strengths.outputs.abs().mean())


def largest_strength(strengths: Strengths) -> float:
    """The largest bar, positive or negative, so that only the shape is left."""
    return float(torch.cat([strengths.positive.mean(0), -strengths.negative.mean(0)]).max())


@method("zhang2024two", "ren2024towards")
def order_strength(
    terms: Sequence[Interactions],
    *,
    tau: float = 0.05,
    unit: Unit = output_scale,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Add up the positive and the negative interactions of each order.

    $$
    I^{(k)}_+ = \frac{1}{Z}\, E_x \sum_{T \in \Omega_x,\, |T| = k} \max(I(T), 0), \qquad
    D(k) = \frac{I^{(k)}_+ + |I^{(k)}_-|}{\sum_j I^{(j)}_+ + |I^{(j)}_-|}
    $$

    and $I^{(k)}_-$ likewise with the minimum. AND and OR terms count together; $\Omega$ holds the
    salient ones, of at least tau times the input's strongest.

    The unit Z is an open choice: the papers compare checkpoints by a constant per network that
    they do not name. With `output_scale` a bar is a share of the mean output; with
    `largest_strength` the tallest has length 1; 1.0 leaves all as it is; and the unit of one
    network, `numbers["unit"]`, can be given to the next. Intervals take Z as known.

    D mixes the strengths of all inputs, so that a strong input counts for more. `mean_order` and
    `high_share`, of orders above n/2, are those of D; `mean_order_by_input` averages the mean
    orders of the inputs, each of which counts alike. What has no term has neither: NaN.

    Numbers: `inputs`; `unit`, Z; `output`, the mean of |v(N) - v(empty)|; `strength`, the mean of
    sum |I| over Omega, both not divided by Z; the three above with `_low` and `_high`.
    Curves over `order`: `positive`, `negative` and `share`, with `_low` and `_high`, and the
    standard errors `positive_error`, `negative_error`. Intervals are a bootstrap over inputs, NaN
    for a single one.

    Args:
        terms: one explanation per input, with equally many players.
        tau: the least strength of a salient term, relative to the strongest; 0 for all terms.
        unit: Z, or how to find it.
        draws: of the bootstrap.
        confidence: of the intervals.
        generator: source of the draws.

    >>> from unmask import Game
    >>> from unmask.interactions import and_interaction
    >>> squares = Game(lambda masks: masks.sum(1).double() ** 2, ("a", "b", "c"))
    >>> order_strength([and_interaction(squares)], unit=1.0).curves["positive"]
    tensor([3., 6., 0.], dtype=torch.float64)
    """
    stack = stacked(terms)
    positive, negative = order_sums(stack * salient(stack, tau))
    strengths = Strengths(positive, negative, stack.sum((-2, -1)))
    scale = _scale(unit, strengths)
    found = bootstrap(
        lambda weights: _statistics(weights, positive, negative, scale),
        len(stack),
        draws=draws,
        confidence=confidence,
        generator=generator,
        bounds={"share": (0.0, 1.0), "high_share": (0.0, 1.0)},
    )
    numbers = {
        "inputs": float(len(stack)),
        "unit": scale,
        "output": output_scale(strengths),
        "strength": float((positive - negative).sum(-1).mean()),
    }
    order = torch.arange(1, positive.shape[-1] + 1).to(stack)
    errors = {
        "positive_error": _error(positive / scale),
        "negative_error": _error(negative / scale),
    }
    return Measurement(
        numbers | {name: float(value) for name, value in found.items() if value.dim() == 0},
        {"order": order} | {name: value for name, value in found.items() if value.dim()} | errors,
    )


def _statistics(
    weights: Float[Tensor, "draws inputs"],
    positive: Float[Tensor, "inputs orders"],
    negative: Float[Tensor, "inputs orders"],
    scale: float,
) -> dict[str, Tensor]:
    """All that is averaged over inputs, for each draw of them."""
    strength = positive - negative
    pooled = means(weights, strength)
    share = pooled / pooled.sum(-1, keepdim=True)
    players = positive.shape[-1]
    return {
        "positive": means(weights, positive) / scale,
        "negative": means(weights, negative) / scale,
        "share": share,
        "mean_order": mean_order(share),
        "mean_order_by_input": means(
            weights, mean_order(strength / strength.sum(-1, keepdim=True))
        ),
        "high_share": share[:, players // 2 :].sum(-1),
    }


def _scale(unit: Unit, strengths: Strengths) -> float:
    """Z; whatever it is where there is nothing to divide."""
    scale = float(unit(strengths) if callable(unit) else unit)
    if scale == 0 and not strengths.positive.any() and not strengths.negative.any():
        return 1.0
    if not 0 < scale < torch.inf:
        raise ValueError(
            f"Strengths are divided by a positive unit, but it is {scale}. Give a number, such as "
            "1.0 for none, or a function that finds a positive one."
        )
    return scale


def _error(rows: Float[Tensor, "inputs orders"]) -> Float[Tensor, " orders"]:
    """The standard error of the mean, which one input cannot have."""
    if len(rows) == 1:
        return torch.full_like(rows[0], torch.nan)
    return rows.std(0) / len(rows) ** 0.5
