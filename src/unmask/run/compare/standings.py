"""Who stands where, and how sure that is: all from ratings of the same inputs, input by input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from unmask.bootstrap import CONFIDENCE, DRAWS, means, middle, resampled
from unmask.evaluation.association import constant, ranks, spearman
from unmask.results import Rating
from unmask.run.compare.comparison import RANKED, Against, Fillings, Metric, Place, better_by

Ratings = Mapping[str, Mapping[str, Rating]]
ALL = "all"
"""The mean over the criteria that decide."""


@dataclass(frozen=True)
class Standings:
    """The ranks of methods, on the inputs and on every draw of them.

    Args:
        methods: in the order of the columns.
        found: the mean rank of each, by criterion.
        drawn: the same, a row per draw.
    """

    methods: tuple[str, ...]
    found: Mapping[str, Float[Tensor, " methods"]]
    drawn: Mapping[str, Float[Tensor, "draws methods"]]

    def places(self) -> dict[str, dict[str, Place]]:
        """The place of each method by criterion, with its interval."""
        places: dict[str, dict[str, Place]] = {name: {} for name in self.methods}
        for criterion, found in self.found.items():
            # Not moved to lie about what was found, as intervals of means are: beyond the last
            # rank there is none.
            low, high = middle(self.drawn[criterion], CONFIDENCE)
            for i, name in enumerate(self.methods):
                places[name][criterion] = Place(float(found[i]), float(low[i]), float(high[i]))
        return places

    def beside(self, first: str, candidates: Sequence[str]) -> tuple[str, ...]:
        """Those whose place cannot be told from that of the first, on these inputs.

        The difference of two places is taken draw by draw, since both depend on the same inputs.

        Args:
            first: the method that stands best.
            candidates: others.
        """
        drawn = self.drawn[ALL]
        i = self.methods.index(first)
        low, _ = middle(drawn - drawn[:, i : i + 1], CONFIDENCE)
        return tuple(
            name for name in candidates if name != first and not low[self.methods.index(name)] > 0
        )


def standings(
    ratings: Ratings, metrics: Sequence[Metric], methods: Sequence[str], seed: int = 0
) -> Standings:
    """Rank methods by the means of their ratings, criterion by criterion.

    Within a metric the methods are ranked by the mean over the inputs, 1 being the best; where a
    method has no rating of any input it shares the last places. The place in a criterion is the
    mean of these ranks over its metrics, and the place in all the mean over those that
    decide by rank. Inputs are drawn anew for all methods and metrics alike.

    Args:
        ratings: of each method by metric.
        metrics: that were taken.
        methods: that are ranked, without the references.
        seed: of the draws.
    """
    known = [metric for metric in metrics if _told(ratings, metric, methods)]
    inputs = len(next(iter(ratings[methods[0]].values())).values)
    generator = torch.Generator().manual_seed(seed)
    whole = torch.full((1, inputs), 1 / inputs, dtype=torch.float64)
    weights = torch.cat([whole, resampled(inputs, DRAWS, generator)])
    by_criterion: dict[str, list[Tensor]] = {}
    for metric in known:
        mean = means(weights, _signed(ratings, metric, methods).T)
        if metric.enough is not None:
            mean = mean.clamp(max=metric.enough if metric.higher_is_better else -metric.enough)
        grain = metric.grain * _unit(ratings, metric, methods)
        mean = (mean / grain).round() * grain
        by_criterion.setdefault(metric.criterion, []).append(_ranked(mean))
    placed = {name: torch.stack(parts).mean(0) for name, parts in by_criterion.items()}
    deciding = [rows for name, rows in placed.items() if name in RANKED]
    placed[ALL] = torch.stack(deciding or [*placed.values()]).mean(0)
    return Standings(
        tuple(methods),
        {name: rows[0] for name, rows in placed.items()},
        {name: rows[1:] for name, rows in placed.items()},
    )


def against(
    ratings: Ratings, metrics: Sequence[Metric], methods: Sequence[str], random: str
) -> dict[str, dict[str, Against]]:
    """Each method beside random numbers, on the metrics in which it must beat them.

    Wilcoxon's test asks of pairs, one per input, whether the method is better; of each metric the
    p values of all methods are corrected together, after Holm.

    Args:
        ratings: of each method by metric.
        metrics: that were taken.
        methods: that are tested.
        random: the name of the reference.
    """
    found: dict[str, dict[str, Against]] = {name: {} for name in methods}
    for metric in metrics:
        if not metric.tested:
            continue
        other = ratings[random][metric.name].values
        raw = []
        for name in methods:
            own = ratings[name][metric.name].values
            pairs = (own - other).double() * (1 if metric.higher_is_better else -1)
            raw.append(_p_value(pairs[~pairs.isnan()].numpy()))
        for name, p in zip(methods, holm(raw), strict=True):
            own = ratings[name][metric.name].values
            both = int((~(own.isnan() | other.isnan())).sum())
            ends = better_by(own, other, metric.higher_is_better)
            found[name][metric.name] = Against(*ends, p=p, inputs=both)
    return found


def fillings(
    ratings: Ratings,
    pairs: Sequence[tuple[Metric, Metric]],
    methods: Sequence[str],
    names: tuple[str, str],
    seed: int = 0,
) -> Fillings | None:
    """Whether methods stand in the same order under two fillings, by their mean ranks.

    Args:
        ratings: of each method by metric.
        pairs: the same metric under the one and the other.
        methods: that are ordered, three at least.
        names: of the fillings.
        seed: of the draws.
    """
    pairs = [pair for pair in pairs if all(_told(ratings, metric, methods) for metric in pair)]
    if not pairs or len(methods) < 3:
        return None
    one = standings(ratings, [first for first, _ in pairs], methods, seed)
    other = standings(ratings, [second for _, second in pairs], methods, seed)
    if bool((constant(one.found[ALL]) & constant(other.found[ALL])).item()):
        return None  # no order under either
    found = spearman(one.found[ALL], other.found[ALL])
    drawn = spearman(one.drawn[ALL], other.drawn[ALL])
    low, high = middle(drawn, CONFIDENCE)
    # Rounded, as a half comes out of the sums a little below itself, and a rule may ask for a half.
    return Fillings(names, round(float(found), 9), float(low), float(high))


def holm(p: Sequence[float]) -> list[float]:
    """P values corrected for their number, after Holm; NaN is no test, and stays.

    Args:
        p: as they were found.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=float)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    values[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return values.tolist()


def _p_value(pairs: np.ndarray) -> float:
    differing = pairs[pairs != 0]
    if len(differing) < 2:
        return float("nan")
    found: Any = stats.wilcoxon(differing, alternative="greater")  # its stubs do not say
    return float(found.pvalue)


def _signed(ratings: Ratings, metric: Metric, methods: Sequence[str]) -> Tensor:
    """Ratings as a row per method, with the sign that makes more better."""
    rows = torch.stack([ratings[name][metric.name].values.double() for name in methods])
    if metric.bounds is not None:
        rows = rows.clamp(*metric.bounds)
    return rows if metric.higher_is_better else -rows


def _unit(ratings: Ratings, metric: Metric, methods: Sequence[str]) -> float:
    """What one is to a metric: of an unbounded one, which may be in any unit, its spread."""
    rows = _signed(ratings, metric, methods)
    spread = float(rows[~rows.isnan()].std(correction=0))
    return spread if metric.bounds is None and 0 < spread < float("inf") else 1.0


def _told(ratings: Ratings, metric: Metric, methods: Sequence[str]) -> bool:
    """Whether a metric says anything of any method."""
    return not all(bool(ratings[name][metric.name].values.isnan().all()) for name in methods)


def _ranked(mean: Float[Tensor, "draws methods"]) -> Float[Tensor, "draws methods"]:
    """The ranks of means, 1 the largest; what has none comes last, a draw without inputs is NaN."""
    empty = mean.isnan().all(1, keepdim=True)
    placed = ranks(-mean.nan_to_num(nan=-torch.inf, neginf=-torch.inf))
    return torch.where(empty, torch.nan, placed)
