"""How well the interactions of each order generalise."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask.bootstrap import CONFIDENCE, DRAWS, bootstrap
from unmask.card import method
from unmask.interactions.terms.stacked import salient, stacked
from unmask.lattice import by_order, sizes
from unmask.results import Interactions, Measurement

_ROOM = 2**21
"""Effects that are worked on at a time."""


@method("zhou2024explaining", "zhang2024two")
def order_generalization(
    terms: Sequence[Interactions],
    *,
    other: Sequence[Interactions],
    labels: Int[Tensor, " inputs"] | None = None,
    other_labels: Int[Tensor, " others"] | None = None,
    tau: float = 0.0,
    splits: int = 20,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Compare the mean interactions of two sets of inputs, order by order.

    $$
    \mathrm{Sim}^{(k)} = \frac{\lVert \min(\tilde I, \tilde J) \rVert_1}
        {\lVert \max(\tilde I, \tilde J) \rVert_1}
      = \frac{\lVert I \rVert_1 + \lVert J \rVert_1 - \lVert I - J \rVert_1}
        {\lVert I \rVert_1 + \lVert J \rVert_1 + \lVert I - J \rVert_1}, \qquad
    \tilde I = [\max(I, 0);\, \max(-I, 0)]
    $$

    I and J hold the effects of all AND and OR terms of order k, each averaged over the inputs of
    one category: training and test inputs as a rule, but also clean and mislabelled ones. 1 says
    that they are the same, 0 that no effect has the same sign in both; twice the same effects are
    a half. Categories that only one set has are left out, and the others averaged. Of an order that
    no term has, in either set, there is no similarity: NaN for one category, which the mean skips,
    and left out of all curves where it is so for all. Players are compared by their place, so they
    must mean the same in all inputs.

    Means of few inputs still hold much that is of single inputs, of high orders most, so that
    `similarity` falls with the order even where nothing generalises worse, down to 0.17, which
    independent noise of equal size has, (sqrt 2 - 1) / (sqrt 2 + 1). Hence `ceiling`: the
    similarity of two random halves of the first set; `halves`, that of such a half and as many
    inputs of the other; and `relative`, the second over the first, which only a true difference
    takes below 1; NaN where the halves have nothing in common. They are means over random splits.

    Numbers: `inputs`, `others`, `categories`; `slope`, by which the similarity changes per order.
    Curves over `order`: `similarity`; `fall`, how much lower it is than at order 1; of each
    category `similarity_<label>`, where there are labels; these and the slope with `_low` and
    `_high`, a bootstrap over the inputs of each category. They are intervals of what sets of this
    size are like. `ceiling`, `halves` and `relative` with `_error`, a standard error by leaving out
    one input after the other.

    Args:
        terms: explanations of the first set, one per input, with equally many players.
        other: explanations of the other set, by the same players.
        labels: the category of each of the first; all are of one if it is left out.
        other_labels: the category of each of the other.
        tau: the least strength of a term, relative to the strongest of its input.
        splits: into random halves, for the ceiling.
        draws: of the bootstrap.
        confidence: of the intervals.
        generator: source of the draws and the splits.

    >>> from unmask import Game
    >>> from unmask.interactions import and_interaction
    >>> once = and_interaction(Game(lambda masks: masks.all(1).double(), ("a", "b")))
    >>> twice = and_interaction(Game(lambda masks: masks.sum(1) + 2.0 * masks.all(1), ("a", "b")))
    >>> order_generalization([once], other=[twice]).curves["similarity"]
    tensor([0.0000, 0.5000], dtype=torch.float64)
    """
    first, second = stacked(terms), stacked(other)
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"Interactions are compared by their players, but there are {len(terms[0].names)} in "
            f"the one set and {len(other[0].names)} in the other. Explain both with the same."
        )
    if splits < 1:
        raise ValueError(f"The ceiling needs splits, but got {splits}. Give one at least.")
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    first, second = first * salient(first, tau), second * salient(second, tau)
    groups = _groups(labels, len(first), other_labels, len(second))
    pairs = [(first[mine], second[its]) for mine, its in groups.values()]
    named = list(groups) if labels is not None else []

    def statistics(*weights: Float[Tensor, "draws _"]) -> dict[str, Tensor]:
        each = torch.stack(
            [
                similarity(weights[2 * i], mine, weights[2 * i + 1], its)
                for i, (mine, its) in enumerate(pairs)
            ]
        )
        mean = each.nanmean(0)
        found = {"similarity": mean, "fall": mean[:, :1] - mean, "slope": _slope(mean)}
        return found | {f"similarity_{name}": each[i] for i, name in enumerate(named)}

    counts = [len(side) for pair in pairs for side in pair]
    found = bootstrap(
        statistics,
        *counts,
        draws=draws,
        confidence=confidence,
        generator=generator,
        bounds=dict.fromkeys(["similarity", *(f"similarity_{name}" for name in named)], (0.0, 1.0)),
    )
    known = ~found["similarity"].isnan()
    curves = {"order": torch.arange(1, len(known) + 1).to(first)}
    curves |= {name: value for name, value in found.items() if value.dim()}
    curves |= _ceiling(pairs, splits, generator)
    panels: dict[str, tuple[str, ...]] = {"of halves": ("order", "ceiling", "halves")}
    if named:
        panels["each category"] = ("order", *(f"similarity_{name}" for name in named))
    numbers = {
        "inputs": float(sum(counts[::2])),
        "others": float(sum(counts[1::2])),
        "categories": float(len(pairs)),
    }
    return Measurement(
        numbers | {name: float(value) for name, value in found.items() if value.dim() == 0},
        {name: curve[known] for name, curve in curves.items()},
        panels,
    )


def similarity(
    weights: Float[Tensor, "draws inputs"],
    stack: Float[Tensor, "inputs kinds coalitions"],
    other_weights: Float[Tensor, "draws others"],
    other: Float[Tensor, "others kinds coalitions"],
) -> Float[Tensor, "draws orders"]:
    """Sim of two weighted means of effects, for every order and every row of weights.

    Args:
        weights: of the inputs, one row for each mean.
        stack: effects of the inputs.
        other_weights: of the other inputs.
        other: effects of the other inputs.
    """
    found = []
    some = max(1, _ROOM // (2 * stack.shape[-1]))
    for left, right in zip(weights.split(some), other_weights.split(some), strict=True):
        found.append(_alike(left.to(stack) @ stack.flatten(1), right.to(stack) @ other.flatten(1)))
    return torch.cat(found)


def _alike(
    one: Float[Tensor, "*sets effects"], two: Float[Tensor, "*others effects"]
) -> Float[Tensor, "*both orders"]:
    """Sim of two means of effects, ANDs and ORs in one row; a mean may stand for many."""
    players = one.shape[-1].bit_length() - 2
    order = sizes(players).to(one.device)
    both, apart = (
        by_order(size.unflatten(-1, (2, -1)).sum(-2), order, players)
        for size in (one.abs() + two.abs(), (one - two).abs())
    )
    return (both - apart) / (both + apart)


def _groups(
    labels: Int[Tensor, " inputs"] | None,
    inputs: int,
    other_labels: Int[Tensor, " others"] | None,
    others: int,
) -> dict[int, tuple[Int[Tensor, " mine"], Int[Tensor, " its"]]]:
    """The places of each category that both sets have."""
    if (labels is None) != (other_labels is None):
        raise ValueError(
            "Only one of the two sets has labels, so that their categories cannot be compared. "
            "Give labels and other_labels, or neither."
        )
    if labels is None or other_labels is None:
        return {0: (torch.arange(inputs), torch.arange(others))}
    if len(labels) != inputs or len(other_labels) != others:
        raise ValueError(
            f"Each input has one label, but {inputs} and {others} inputs came with {len(labels)} "
            f"and {len(other_labels)} labels. Give one for each."
        )
    mine, its = labels.tolist(), other_labels.tolist()
    common = sorted(set(mine) & set(its))
    if not common:
        raise ValueError(
            f"The two sets have no category in common: {sorted(set(mine))[:8]} and "
            f"{sorted(set(its))[:8]}. Compare inputs of the same categories."
        )
    return {
        name: ((labels == name).nonzero()[:, 0], (other_labels == name).nonzero()[:, 0])
        for name in common
    }


def _slope(similarity: Float[Tensor, "draws orders"]) -> Float[Tensor, " draws"]:
    """By how much a line through the similarities rises per order; NaN places are left out."""
    known = ~similarity.isnan()
    order = torch.arange(similarity.shape[-1]).to(similarity)
    off = order - (known * order).sum(-1, keepdim=True) / known.sum(-1, keepdim=True)
    return (off * similarity).nansum(-1) / (known * off.square()).sum(-1)


Halves = tuple[Tensor, Tensor, Tensor]
"""Weights of a half of the first set, of its other half, and of as many of the other set."""


def _ceiling(
    pairs: Sequence[tuple[Tensor, Tensor]], splits: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """What halves of the first set are like among themselves, and beside the other set.

    The errors are a jackknife: leaving out one input moves a number by what hangs on that input.
    """
    drawn = [_halves(len(mine), len(its), splits, generator) for mine, its in pairs]
    each = torch.stack(
        [_of_halves(some, mine, its) for some, (mine, its) in zip(drawn, pairs, strict=True)]
    )
    mean = each.nanmean(0)
    # An order in which halves have nothing in common leaves nothing to compare with.
    below = torch.where(mean[0] > 0, mean[0], torch.nan)
    ratio = mean[1] / below
    variance = torch.zeros_like(each[0, :1]).expand(3, -1).clone()
    for i, (mine, its) in enumerate(pairs):
        for side, count in enumerate((len(mine), len(its))):
            without = each.expand(count, *each.shape).clone()
            without[:, i] = _left_out(drawn[i], mine, its, side)
            both = without.nanmean(1)
            # The ratio to first order: a ceiling that one input takes to 0 must not blow it up.
            moved = torch.cat([both, ((both[:, 1] - ratio * both[:, 0]) / below)[:, None]], 1)
            variance += (moved - moved.nanmean(0)).square().nanmean(0) * (count - 1)
    found = torch.cat([mean, ratio[None]])
    return {
        name: rows[i]
        for i, kind in enumerate(("ceiling", "halves", "relative"))
        for name, rows in ((kind, found), (f"{kind}_error", variance.sqrt()))
    }


def _halves(inputs: int, others: int, splits: int, generator: torch.Generator) -> Halves:
    """Random halves."""
    size = min(inputs // 2, others)

    def ranks(count: int) -> Tensor:
        chance = torch.rand(splits, count, generator=generator, device=generator.device).cpu()
        return chance.argsort(-1).argsort(-1)

    mine, its = ranks(inputs), ranks(others)
    chosen = (mine < size, (mine >= size) & (mine < 2 * size), its < size)
    one, rest, other = (some.double() / size if size else some * torch.nan for some in chosen)
    return one, rest, other


def _of_halves(
    halves: Halves,
    mine: Float[Tensor, "inputs kinds coalitions"],
    its: Float[Tensor, "others kinds coalitions"],
) -> Float[Tensor, "both orders"]:
    """The similarity of the halves, and of the one half with the other set, over all splits."""
    one, rest, other = halves
    both = torch.stack([similarity(one, mine, rest, mine), similarity(one, mine, other, its)], 1)
    return both.nanmean(0)


def _left_out(
    halves: Halves,
    mine: Float[Tensor, "inputs kinds coalitions"],
    its: Float[Tensor, "others kinds coalitions"],
    side: int,
) -> Float[Tensor, "count both orders"]:
    """The same without the first input of one side, without the second, and so on."""
    mine, its = mine.flatten(1), its.flatten(1)
    means = [half.to(rows) @ rows for half, rows in zip(halves, (mine, mine, its), strict=True)]
    rows = (mine, its)[side]
    found = []
    for some in torch.arange(len(rows)).split(max(1, _ROOM // means[0].numel())):
        without = list(means)
        for part in ((0, 1), (2,))[side]:
            # What a mean loses with one of its inputs; of a single one nothing is left, NaN.
            inside = (halves[part][:, some] > 0).T[..., None].to(rows)
            size = 1 / halves[part].amax(-1)[:, None].to(rows)
            without[part] = (means[part] * size - inside * rows[some, None]) / (size - inside)
        one, rest, other = without
        both = _alike(one, rest), _alike(one, other)
        found.append(torch.stack([each.expand(len(some), *each.shape[-2:]) for each in both], 2))
    return torch.cat(found).nanmean(1)
