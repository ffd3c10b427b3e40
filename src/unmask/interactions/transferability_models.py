"""Transferability across models: whether two networks have their terms in common."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.admission import drawing
from unmask.bootstrap import bootstrap
from unmask.card import method
from unmask.interactions.terms.stacked import salient, stacked
from unmask.lattice import sizes
from unmask.results import Interactions, Measurement

TAUS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Thresholds of the first network's terms over which their cover is drawn."""
SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45)
"""How many strongest terms are compared, as shares of the 2^n coalitions."""


@method("li2023does", "chen2024defining")
def transferability_models(
    terms: Sequence[Interactions],
    *,
    other: Sequence[Interactions],
    tau: float = 0.05,
    other_tau: float = 0.05,
    samples: int = 1000,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Ask whether two networks find the same terms salient on the same inputs.

    $$
    \gamma = \operatorname{mean}_x
    \frac{|\Omega^1_\tau(x) \cap \Omega^2_{\tau'}(x)|}{|\Omega^1_\tau(x)|}, \qquad
    \mathrm{overlap}(K) = \operatorname{mean}_x \frac{|A^1_K \cap A^2_K|}{K}, \qquad
    \mathrm{IoU} = \frac{\sum_x \sum_T \min(I^1, I^2)}{\sum_x \sum_T \max(I^1, I^2)}
    $$

    Omega is what is salient of a network's own terms, A_K its K strongest AND terms, or OR terms,
    and the IoU takes positive and negative parts of effects apart. Gamma looks at no signs:
    `same_sign` tells on what share of the common terms they agree. Where a network has fewer than K
    terms that are not zero, the larger of the two counts stands for K.

    Chance is not drawn but computed: random sets of the same sizes cover `random`, with a standard
    deviation of `random_deviation` for the mean over all inputs. As small sets of players are
    favoured by all networks, `random_by_order` draws each order and kind apart, which is harder
    to beat. The intervals, ending in `_low` and `_high`, hold 95 % of what resampled inputs give.

    Numbers: those, `inputs`, `salient` and `other_salient`, terms per input; `iou_of_shapes`, after
    the effects of each network on each input are divided by their sum of sizes, so that a network
    of larger outputs is not another. Curves over `tau`: `gamma`, `random`, `random_by_order`. Over
    `share`, which is K / 2^n and about what random sets overlap: `and_overlap`, `or_overlap`.

    Args:
        terms: an explanation per input, of one network.
        other: of the same inputs in the same order, of another network.
        tau: the least strength of a salient term, relative to the strongest of its input.
        other_tau: the same for the other network.
        samples: how often inputs are resampled.
        generator: source of randomness.

    >>> from unmask.planted import planted_terms
    >>> own = planted_terms(4, 2, 1, torch.Generator().manual_seed(0))
    >>> found = transferability_models([own, own], other=[own, own])
    >>> [found.numbers[name] for name in ("gamma", "same_sign", "iou")]
    [1.0, 1.0, 1.0]
    """
    generator = drawing(generator)
    if len(terms) != len(other):
        raise ValueError(
            f"There are {len(terms)} explanations of one network and {len(other)} of the other. "
            "Give both networks' explanations of the same inputs, in the same order."
        )
    both = stacked([*terms, *other])
    first, second = both[: len(terms)], both[len(terms) :]
    theirs = salient(second, other_tau)
    cover = {t: _cover(salient(first, t), theirs) for t in (tau, *TAUS)}
    ours = salient(first, tau)
    common = ours & theirs
    gamma, chance, stratified, variance = cover[tau]
    least, largest = _extremes(first, second)
    unit = _extremes(_unit(first), _unit(second))
    numbers = {
        "inputs": float(len(first)),
        "salient": float(ours.flatten(1).sum(1).double().mean()),
        "other_salient": float(theirs.flatten(1).sum(1).double().mean()),
        "random": _mean(chance),
        "random_deviation": float(variance.sum().sqrt()) / max(1, len(variance)),
        "random_by_order": _mean(stratified),
        "same_sign": _ratio((common & (first * second > 0)).sum(), common.sum()),
        **_sure(gamma, least, largest, samples, generator),
        "iou_of_shapes": _ratio(unit[0].sum(), unit[1].sum()),
    }
    along = [cover[t] for t in TAUS]
    return Measurement(
        numbers,
        {
            "tau": first.new_tensor(TAUS),
            "gamma": first.new_tensor([_mean(one[0]) for one in along]),
            "random": first.new_tensor([_mean(one[1]) for one in along]),
            "random_by_order": first.new_tensor([_mean(one[2]) for one in along]),
            "share": first.new_tensor(SHARES),
            "and_overlap": _overlap(first[:, 0], second[:, 0]),
            "or_overlap": _overlap(first[:, 1], second[:, 1]),
        },
        {
            "gamma": ("tau", "gamma", "random", "random_by_order"),
            "overlap": ("share", "and_overlap", "or_overlap"),
        },
    )


def _sure(
    gamma: Float[Tensor, " some"],
    least: Float[Tensor, " inputs"],
    largest: Float[Tensor, " inputs"],
    samples: int,
    generator: torch.Generator,
) -> dict[str, float]:
    """gamma and the IoU, and where they lie if the inputs are drawn anew."""
    gamma, least, largest = gamma.cpu(), least.cpu(), largest.cpu()
    found: dict[str, Tensor] = {}
    if len(gamma):
        found |= bootstrap(
            lambda weights: {"gamma": weights @ gamma},
            len(gamma),
            draws=samples,
            generator=generator,
            bounds={"gamma": (0.0, 1.0)},
        )
    found |= bootstrap(
        lambda weights: {"iou": (weights @ least) / (weights @ largest)},
        len(least),
        draws=samples,
        generator=generator,
        bounds={"iou": (0.0, 1.0)},
    )
    return {name: float(value) for name, value in found.items()}


_Cover = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of each input with terms: gamma, what chance gives, what chance gives within orders, and the
variance of chance."""


def _cover(
    ours: Bool[Tensor, "inputs kinds coalitions"], theirs: Bool[Tensor, "inputs kinds coalitions"]
) -> _Cover:
    """The cover of our terms by theirs, and by as many at random (hypergeometric)."""
    some = ours.flatten(1).any(1)
    ours, theirs = ours[some].double(), theirs[some].double()
    stratum = _strata(ours.shape[-1].bit_length() - 1).to(ours.device)
    possible = torch.bincount(stratum.flatten()).to(ours)
    possible[0] = 0  # what no term can be
    a, b, shared = (
        ours.new_zeros(len(ours), len(possible)).index_add_(1, stratum.flatten(), of.flatten(1))
        for of in (ours, theirs, ours * theirs)
    )
    size, all_a, all_b = possible.sum(), a.sum(1), b.sum(1)
    share = all_b / size
    spread = share * (1 - share) * (size - all_a) / (all_a * (size - 1).clamp_min(1))
    within = (a * b / possible.clamp_min(1)).sum(1) / all_a
    return shared.sum(1) / all_a, share, within, spread


def _strata(players: int) -> Int[Tensor, "2 coalitions"]:
    """The order of each AND, and n more than that of each OR; 0 for what is no term."""
    order = sizes(players)
    return torch.stack([order, torch.where(order > 1, order + players, 0)])


def _overlap(
    first: Float[Tensor, "inputs coalitions"], second: Float[Tensor, "inputs coalitions"]
) -> Float[Tensor, " shares"]:
    """How many of the K strongest terms two networks have in common, for several K."""
    found = []
    ranks = [
        one.abs().argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        for one in (first, second)
    ]
    for share in SHARES:
        most = max(1, round(share * first.shape[1]))
        ours, theirs = (
            (rank < most) & (one != 0) for rank, one in zip(ranks, (first, second), strict=True)
        )
        larger = torch.maximum(ours.sum(1), theirs.sum(1))
        some = larger > 0
        found.append(_mean(((ours & theirs).sum(1) / larger.double())[some]))
    return first.new_tensor(found)


def _unit(
    stack: Float[Tensor, "inputs kinds coalitions"],
) -> Float[Tensor, "inputs kinds coalitions"]:
    tiny = torch.finfo(stack.dtype).tiny
    return stack / stack.abs().sum((1, 2), keepdim=True).clamp_min(tiny)


def _extremes(
    first: Float[Tensor, "inputs kinds coalitions"],
    second: Float[Tensor, "inputs kinds coalitions"],
) -> tuple[Float[Tensor, " inputs"], Float[Tensor, " inputs"]]:
    """Sums of the smaller and of the larger of each pair of effects, sign by sign."""
    least, largest = first.new_zeros(len(first)), first.new_zeros(len(first))
    for sign in (1, -1):
        one, two = (sign * first).clamp_min(0), (sign * second).clamp_min(0)
        least = least + torch.minimum(one, two).sum((1, 2))
        largest = largest + torch.maximum(one, two).sum((1, 2))
    return least, largest


def _mean(values: Float[Tensor, " inputs"]) -> float:
    """Of nothing, nothing."""
    return float(values.mean()) if len(values) else 0.0


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if whole > 0 else 0.0
