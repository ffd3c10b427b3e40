"""What a comparison of explanations finds, and keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from unmask.bootstrap import bootstrap, means
from unmask.results import Attribution, Rating
from unmask.run.folder import Failure

RANKED = ("exactness", "consistency")
"""Criteria whose ranks decide. Sanity and completeness exclude a method, or say nothing against
it; cost and complexity are told but decide nothing, as a cheap or short explanation may be wrong.
"""


@dataclass(frozen=True)
class Metric:
    """One metric as the comparison uses it.

    Args:
        name: as in the catalogue; of a second filling with a word added.
        criterion: which of the criteria it is read under.
        higher_is_better: which way it points.
        words: what it asks, in a few plain words.
        tested: whether a method must beat random numbers in it.
        grain: means that differ by less are the same rank; without bounds, where a rating may be in
            any unit, in units of the spread of all ratings.
        bounds: beyond which a rating counts no further in a rank, so that one input, whose score
            hardly changes, does not decide for all.
        enough: a mean that is good enough, beyond which all are the same rank; None for none.
    """

    name: str
    criterion: str
    higher_is_better: bool
    words: str
    tested: bool = False
    grain: float = 1e-3
    bounds: tuple[float, float] | None = None
    enough: float | None = None


@dataclass(frozen=True)
class Place:
    """Where a method stands among the others, 1 being the best.

    Args:
        rank: the mean over the metrics of its rank among the methods, by the mean over inputs.
        low: lower end of the interval over inputs that are drawn anew; NaN where there is none.
        high: the upper end.
    """

    rank: float
    low: float
    high: float


@dataclass(frozen=True)
class Remark:
    """A sentence about a method.

    Args:
        text: what is said.
        good: whether it speaks for the method, or against it; None where that is open.
    """

    text: str
    good: bool | None


@dataclass(frozen=True)
class Against:
    """A method beside the random reference, on one metric.

    Args:
        difference: mean over the inputs of the method's rating minus that of the reference,
            with the sign that makes better positive.
        low: lower end of the interval of that mean, inputs drawn anew.
        high: the upper end.
        p: of the one-sided Wilcoxon test on pairs, after Holm over all methods; NaN where fewer
            than two inputs differ.
        inputs: how many pairs it rests on.
    """

    difference: float
    low: float
    high: float
    p: float
    inputs: int


@dataclass(frozen=True)
class Fillings:
    """Whether the order of the methods depends on what stands where parts are removed.

    Args:
        names: of the two fillings.
        correlation: rank correlation of the order of the methods under the one and the other; NaN
            where one of them does not tell the methods apart.
        low: lower end of its interval, inputs drawn anew.
        high: the upper end.
    """

    names: tuple[str, str]
    correlation: float
    low: float
    high: float


@dataclass(frozen=True)
class Cost:
    """What a comparison takes, told before it begins, in forward passes of one input.

    A gradient counts as two more. Where the model cannot be counted in, a method's own count is
    taken.

    Args:
        explanation: of one input, by method.
        metrics: of one input, all metrics together, by method.
        inputs: how many are compared.
        budget: how much is allowed; None for any.
        dropped: metrics that the budget does not allow.
    """

    explanation: Mapping[str, float]
    metrics: Mapping[str, float]
    inputs: int
    budget: float | None = None
    dropped: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Of all methods on all inputs."""
        per_input = sum(self.explanation.values()) + sum(self.metrics.values())
        return self.inputs * per_input


@dataclass(frozen=True)
class Subject:
    """What is compared on.

    Args:
        score: how the score is called.
        titles: how each input is called.
        names: of the players.
        owner: the player of each position.
        x: the inputs.
        baseline: what stands where a part is removed.
        second: another filling, shaped like the inputs.
        values: the score of each input.
        said: what the model says of each input, in words; empty where that is not known.
        pieces: what the players say in each input, such as its words; empty where names say all.
        kind: how a person sees an input: table, image, text or given.
    """

    score: str
    titles: tuple[str, ...]
    names: tuple[str, ...]
    owner: Int[Tensor, "*input"]
    x: Shaped[Tensor, "batch *input"]
    baseline: Shaped[Tensor, "*background"]
    second: Shaped[Tensor, "batch *input"]
    values: Float[Tensor, " batch"]
    said: tuple[str, ...] = ()
    pieces: tuple[tuple[str, ...], ...] = ()
    kind: str = "given"


@dataclass(frozen=True)
class Comparison:
    """Methods beside each other, on the same inputs and metrics.

    Args:
        subject: what they explain.
        metrics: what they are rated by, by name.
        attributions: what each method says, as it says it; NaN for an input that it failed on.
            The references stand among them.
        ratings: of each method and reference, by metric; all in the order of the inputs.
        references: the rows that no method should lose against, such as random numbers.
        places: of each method, by criterion; "all" is the mean over the criteria that decide.
        against: each method beside the random reference, by metric.
        fillings: whether the order holds under another filling; None where that was not asked.
        order: the methods from the recommended one on; those that a rule excludes come last.
        recommended: the methods at the head of the order that cannot be told apart; none where
            the inputs are too few for a verdict.
        verdicts: what speaks for each method, and what against it.
        left_out: methods of the catalogue that are not compared, each with the reason.
        failures: inputs that a method failed on, or metrics that failed on a method.
        cost: what it took.
        notes: what the reader must know to trust the numbers.
        folder: where it is kept; None where nowhere.
    """

    subject: Subject
    metrics: Mapping[str, Metric]
    attributions: Mapping[str, Attribution]
    ratings: Mapping[str, Mapping[str, Rating]]
    references: tuple[str, ...]
    places: Mapping[str, Mapping[str, Place]]
    against: Mapping[str, Mapping[str, Against]]
    fillings: Fillings | None
    order: tuple[str, ...]
    recommended: tuple[str, ...]
    verdicts: Mapping[str, tuple[Remark, ...]]
    left_out: Mapping[str, str]
    failures: tuple[Failure, ...]
    cost: Cost
    notes: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def criteria(self) -> tuple[str, ...]:
        """The criteria that any metric belongs to, in their order."""
        return tuple(dict.fromkeys(metric.criterion for metric in self.metrics.values()))

    def difference(self, metric: str, one: str, other: str) -> tuple[float, float, float]:
        """By how much one method is better than another, with the ends of its interval.

        The mean over the inputs that both have a rating for, inputs drawn anew; positive where
        the first is better, whichever way the metric points.

        Args:
            metric: what they are rated by.
            one: a method.
            other: another.
        """
        a, b = self.ratings[one][metric], self.ratings[other][metric]
        return better_by(a.values, b.values, a.higher_is_better)


def better_by(
    one: Float[Tensor, " inputs"], other: Float[Tensor, " inputs"], higher_is_better: bool
) -> tuple[float, float, float]:
    """The mean paired difference, signed so that better is positive, and its interval.

    Args:
        one: ratings of a method.
        other: those of another, of the same inputs.
        higher_is_better: which way the metric points.
    """
    pairs = (one.double() - other.double()) * (1 if higher_is_better else -1)
    pairs = pairs[~pairs.isnan()]
    if len(pairs) == 0:
        return float("nan"), float("nan"), float("nan")
    generator = torch.Generator().manual_seed(0)
    found = bootstrap(
        lambda weights: {"mean": means(weights, pairs)}, len(pairs), generator=generator
    )
    return float(found["mean"]), float(found["mean_low"]), float(found["mean_high"])
