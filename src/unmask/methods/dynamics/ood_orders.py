"""Of which orders the interactions are on unusual inputs."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.bootstrap import CONFIDENCE, DRAWS, bootstrap, means
from unmask.card import method
from unmask.interactions.terms.orders import mean_order, order_shares, order_sums
from unmask.interactions.terms.stacked import salient, stacked
from unmask.results import Interactions, Measurement


@method("zhang2024two")
def ood_orders(
    terms: Sequence[Interactions],
    *,
    other: Sequence[Interactions],
    tau: float = 0.0,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Compare the orders of interactions on ordinary inputs with those on others.

    $$
    \Delta = E_{x'}\, \mu(x') - E_x\, \mu(x), \qquad
    \mu(x) = \frac{\sum_k k \sum_{|T| = k} |I(T)|}{\sum_T |I(T)|}, \qquad
    C(k) = E_{x'}\, D_{x'}(k) - E_x\, D_x(k)
    $$

    x are ordinary inputs, x' others: mislabelled ones that the network has learnt by heart, or
    inputs of another distribution. `higher` is the difference of their mean orders, above 0 if the
    others rest on larger coalitions; the `contrast` says at which orders. Both come from D_x, the
    share of an input's strength in each order, and every input counts alike, however strong its
    output. Inputs without any term have no orders and are left out.

    `positive` and `negative` are the sums of effects per order, averaged over inputs and not
    divided by anything: an unusual input may also have much stronger interactions of all orders.
    The difference is one between these inputs, whatever made them unlike; to blame the labels, let
    both sets have the same categories.

    Numbers: `inputs` and `others` that have terms; `mean_order`, `other_mean_order`, `higher`, and
    `high_share_higher`, the difference in the share of orders above n/2. Curves over `order`:
    `positive`, `negative`, `share`, the same with `other_` in front, and `contrast`. All with
    `_low` and `_high`, a bootstrap over the inputs of each set, NaN if one holds a single input.

    Args:
        terms: explanations of the ordinary inputs, with equally many players.
        other: explanations of the others, by as many players.
        tau: the least strength of a term, relative to the strongest of its input.
        draws: of the bootstrap.
        confidence: of the intervals.
        generator: source of the draws.

    >>> from unmask import Game
    >>> from unmask.interactions import and_interaction
    >>> alone = and_interaction(Game(lambda masks: masks.sum(1).double(), ("a", "b")))
    >>> joint = and_interaction(Game(lambda masks: masks.all(1).double(), ("a", "b")))
    >>> round(ood_orders([alone], other=[joint, alone]).numbers["higher"], 6)
    0.5
    """
    sides = [_by_order(side, tau) for side in (terms, other)]
    players = sides[0][0].shape[-1]
    if sides[1][0].shape[-1] != players:
        raise ValueError(
            f"Orders are compared among equally many players, but there are {players} in the one "
            f"set and {sides[1][0].shape[-1]} in the other. Explain both with as many."
        )

    def statistics(*weights: Float[Tensor, "draws _"]) -> dict[str, Tensor]:
        found = {}
        for prefix, weight, side in zip(("", "other_"), weights, sides, strict=True):
            for name, rows in zip(("positive", "negative", "share"), side, strict=True):
                found[f"{prefix}{name}"] = means(weight, rows)
            found[f"{prefix}mean_order"] = mean_order(found[f"{prefix}share"])
        contrast = found["other_share"] - found["share"]
        found["contrast"] = contrast
        found["higher"] = found["other_mean_order"] - found["mean_order"]
        found["high_share_higher"] = contrast[:, players // 2 :].sum(-1)
        return found

    counts = [len(side[0]) for side in sides]
    found = bootstrap(
        statistics,
        *counts,
        draws=draws,
        confidence=confidence,
        generator=generator,
        bounds={"share": (0.0, 1.0), "other_share": (0.0, 1.0)},
    )
    numbers = {"inputs": float(counts[0]), "others": float(counts[1])}
    order = torch.arange(1, players + 1).to(sides[0][0])
    return Measurement(
        numbers | {name: float(value) for name, value in found.items() if value.dim() == 0},
        {"order": order} | {name: value for name, value in found.items() if value.dim()},
        {name: ("order", name, f"other_{name}") for name in ("share", "positive", "negative")},
    )


def _by_order(
    terms: Sequence[Interactions], tau: float
) -> tuple[
    Float[Tensor, "inputs orders"], Float[Tensor, "inputs orders"], Float[Tensor, "inputs orders"]
]:
    """Positive and negative sums and shares of the inputs that have terms at all."""
    stack = stacked(terms)
    stack = stack * salient(stack, tau)
    there = stack.flatten(1).any(1)
    if not there.any():
        raise ValueError(
            f"None of {len(terms)} inputs has a term, so that there are no orders to compare. "
            "Give explanations of outputs that are not constant."
        )
    return *order_sums(stack[there]), order_shares(stack[there])
