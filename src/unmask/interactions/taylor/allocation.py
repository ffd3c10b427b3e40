"""How an attribution shares out the effects of each order, measured on a network."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import admission
from unmask.bootstrap import bootstrap
from unmask.lattice import MOEBIUS, by_order, coalitions, sizes, transform
from unmask.regression import least_squares
from unmask.results import Measurement

_TINY = 1e-300


@dataclass(frozen=True)
class Handed:
    """What a method made of the effects of each order, from 0 to n, on each input.

    Args:
        strength: the sum of |a|.
        square: the sum of a squared.
        product: the sum of a times what was handed out of it in all.
        amiss: the sum of |what was handed out of an effect - the effect|.
        others: the sum of |what was handed to players outside|.
    """

    strength: Float[Tensor, "batch orders"]
    square: Float[Tensor, "batch orders"]
    product: Float[Tensor, "batch orders"]
    amiss: Float[Tensor, "batch orders"]
    others: Float[Tensor, "batch orders"]


def handed(
    values: Float[Tensor, "batch players coalitions"], table: Float[Tensor, "batch coalitions"]
) -> Handed:
    r"""How much of each effect every player is given, summed up by order.

    $$
    A_i(S) = \sum_{L \subseteq S} (-1)^{|S|-|L|}\, A_i(x_L)
    $$

    Args:
        values: attributions of the input masked by every coalition, A(x_L), in lattice order.
        table: v(x_L), the game.
    """
    n = values.shape[1]
    size = sizes(n).to(values.device)
    a = transform(table.double(), MOEBIUS)
    a[:, 0] = 0  # the constant is no effect: what is handed out of it is amiss
    given = transform(values.double(), MOEBIUS)
    outside = ~coalitions(n).to(values.device).T
    whole = given.sum(1)

    def summed(parts: Tensor) -> Tensor:
        return torch.cat([parts[:, :1], by_order(parts, size, n)], 1)

    return Handed(
        strength=summed(a.abs()),
        square=summed(a.square()),
        product=summed(a * whole),
        amiss=summed((whole - a).abs()),
        others=summed((given.abs() * outside).sum(1)),
    )


def allocation(
    rows: Handed, *, samples: int = 1000, generator: torch.Generator | None = None
) -> Measurement:
    r"""Measure how much of the effects of each order is handed out, and how much to outsiders.

    $$
    t_s = \frac{\sum_{|S| = s} a(S) \sum_i A_i(S)}{\sum_{|S| = s} a(S)^2}, \qquad
    \mathrm{unrelated} = \frac{\sum_S \sum_{i \notin S} |A_i(S)|}{\sum_S |a(S)|}, \qquad
    \mathrm{incomplete} = \frac{\sum_S |\sum_i A_i(S) - a(S)|}{\sum_S |a(S)|}
    $$

    What is attributed to player i on all masked inputs is a game as well, and its dividend A_i(S)
    is what i is given of the effect a(S): over all S, its attribution of the input. For a method
    that is linear in the score and asks nothing of a masked player, such as integrated gradients,
    that is what the method attributes to i in the part of the score that depends on just the
    players in S. For other methods it is a definition, and ours.

    Sums run over the inputs too. Numbers: `inputs`, `unrelated`, `incomplete`. Curves over `order`:
    `strength`, the share of the sum of |a|; `handed_out`, which is t, by least squares;
    `to_others`, what outsiders are given as a share of the effects of that order. All but the
    strength have the ends of an interval of 95 %, `_low` and `_high`, by inputs drawn anew. What
    is given of the constant counts in the numbers and stands in no curve.

    Args:
        rows: of each input.
        samples: how often inputs are drawn anew.
        generator: source of these draws.

    >>> table = torch.tensor([[0, 1, 2, 7.0]])
    >>> occlusion = torch.tensor([[[0, 1, 0, 5], [0, 0, 2, 6.0]]])
    >>> allocation(handed(occlusion, table)).curves["handed_out"]
    tensor([1., 2.], dtype=torch.float64)
    """

    def statistics(weights: Float[Tensor, "draws batch"]) -> dict[str, Tensor]:
        strength, square, product, amiss, others = (
            weights.to(part) @ part
            for part in (rows.strength, rows.square, rows.product, rows.amiss, rows.others)
        )
        whole = strength.sum(1).clamp_min(_TINY)
        return {
            "unrelated": others.sum(1) / whole,
            "incomplete": amiss.sum(1) / whole,
            "handed_out": (product / square)[:, 1:],
            "to_others": (others / strength)[:, 1:],
        }

    found = bootstrap(statistics, len(rows.strength), draws=samples, generator=generator)
    mean = rows.strength.mean(0)[1:]
    order = torch.arange(1, len(mean) + 1).to(mean)
    return Measurement(
        {"inputs": float(len(rows.strength))}
        | {name: float(value) for name, value in found.items() if value.ndim == 0},
        {"order": order, "strength": mean / mean.sum().clamp_min(_TINY)}
        | {name: value for name, value in found.items() if value.ndim == 1},
    )


def allocation_of_values(
    values: Float[Tensor, "batch players"],
    tables: Float[Tensor, "inputs coalitions"],
    *,
    samples: int = 1000,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Estimate how much of the effects of each order a method hands out, from its values alone.

    $$
    \sum_i A_i(x) \approx \sum_{s=1}^n t_s \sum_{|S| = s} a(S; x)
    $$

    For methods that cannot be run on masked inputs. One input has n attributions and 2^n effects,
    which says nothing of how one is made of the other; so the shares t, alike for all effects of
    an order, are fitted to the sums over many inputs by least squares, and `explained` is the
    share of the squared sums that they account for. Who gets what is not asked: members of an
    effect that get unequal shares cannot be told from others that are given some.

    Numbers: `inputs`; `determined`, 1 if these are enough, else the smallest shares are taken;
    `explained`. Curves over `order`: `handed_out`, with the ends of an interval of 95 % by inputs
    drawn anew.

    Args:
        values: A, one row per input.
        tables: the games of the same inputs, in lattice order.
        samples: how often inputs are drawn anew.
        generator: source of these draws.

    >>> tables = torch.tensor([[0, 1, 2, 7], [0, 3, 1, 2], [0, 1, 1, 3.0]])
    >>> lost = torch.stack([tables[:, 3] - tables[:, 2], tables[:, 3] - tables[:, 1]], 1)
    >>> allocation_of_values(lost, tables).curves["handed_out"].round(decimals=6)
    tensor([1., 2.], dtype=torch.float64)
    """
    admission.finite("The attribution", values)
    admission.finite("The table of values", tables)
    admission.filled(values)
    if len(values) != len(tables) or tables.shape[1] != 2 ** values.shape[1]:
        raise ValueError(
            f"The attributions have the shape {tuple(values.shape)}, the tables of values "
            f"{tuple(tables.shape)}. Give n attributions and 2^n values for each input."
        )
    n = values.shape[1]
    size = sizes(n).to(tables.device)
    totals = by_order(transform(tables.double(), MOEBIUS), size, n)
    sums = values.double().sum(1)

    def statistics(weights: Float[Tensor, "draws batch"]) -> dict[str, Tensor]:
        known = torch.where(weights.isnan().any(1), torch.nan, 1.0).to(sums)
        w = weights.nan_to_num(0.0).to(sums)
        t = least_squares(totals.expand(len(w), -1, -1), sums.expand(len(w), -1), weights=w)
        missed = (w * (sums - t @ totals.T).square()).sum(1) / (w @ sums.square()).clamp_min(_TINY)
        return {"explained": (1 - missed) * known, "handed_out": t * known[:, None]}

    found = bootstrap(statistics, len(values), draws=samples, generator=generator)
    determined = int(torch.linalg.matrix_rank(totals)) == n
    return Measurement(
        {"inputs": float(len(values)), "determined": float(determined)}
        | {name: float(value) for name, value in found.items() if value.ndim == 0},
        {"order": torch.arange(1, n + 1).to(totals)}
        | {name: value for name, value in found.items() if value.ndim == 1},
    )
