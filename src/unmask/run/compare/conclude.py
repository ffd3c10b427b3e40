"""From ratings to a comparison: places, tests, verdicts and whom to recommend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isnan, log2
from pathlib import Path

import torch
from torch import Tensor

from unmask.results import Rating
from unmask.run.compare.comparison import Comparison, Fillings, Metric, Subject
from unmask.run.compare.record import About
from unmask.run.compare.rivals import RANDOM
from unmask.run.compare.standings import ALL, against, fillings, standings
from unmask.run.compare.verdict import RULES, Rules, Verdict, verdict
from unmask.run.compare.work import Report

REFILLED = "_refilled"
"""What the name of a metric ends in that is taken under the other filling."""


def conclude(
    about: About,
    subject: Subject,
    reports: Sequence[Report],
    folder: Path | None,
    rules: Rules = RULES,
) -> Comparison:
    """Put the ratings of all methods together. The same ratings give the same comparison.

    Args:
        about: what was compared.
        subject: on what.
        reports: of each method and reference.
        folder: where they are kept.
        rules: where the lines are drawn.
    """
    methods = about.methods
    seed = int(about.settings.get("seed", 0))
    ratings = {report.name: report.ratings for report in reports}
    placed = standings(ratings, about.metrics, methods, seed)
    beside = against(ratings, about.metrics, methods, RANDOM)
    order_holds = fillings(ratings, _pairs(about.metrics), methods, about.fillings, seed)
    places = placed.places()
    enough = least(len(methods), rules)
    taken = [one for one in about.metrics if _known(ratings, one, methods)]
    judged = {
        name: verdict(ratings[name], beside[name], taken, len(subject.titles), enough)
        for name in methods
    }
    order = tuple(
        sorted(
            methods,
            key=lambda name: (
                judged[name].excluded,
                places[name][ALL].rank,
                about.cost.explanation.get(name, 0.0),
            ),
        )
    )
    believed = _Believed(judged, order, order_holds, enough, len(subject.titles))
    tied: tuple[str, ...] = ()
    if believed.sound:
        tied = (order[0], *placed.beside(order[0], believed.sound))
    return Comparison(
        subject=subject,
        metrics={metric.name: metric for metric in about.metrics},
        attributions={report.name: report.attribution for report in reports},
        ratings=ratings,
        references=about.references,
        places=places,
        against=beside,
        fillings=order_holds,
        order=order,
        recommended=tied if believed.conclusive(tied, rules) else (),
        verdicts={name: one.remarks for name, one in judged.items()},
        left_out=about.left_out,
        failures=(*about.failures, *(one for report in reports for one in report.failures)),
        cost=about.cost,
        notes=(
            *about.notes,
            *(
                f"No method has a rating by {one.name.replace('_', ' ')} on these inputs."
                for one in about.metrics
                if one not in taken
            ),
            *believed.notes(tied, about, rules),
            *(
                f"{', '.join(group)} say the same here."
                for group in _same(ratings, order, about.metrics)
            ),
        ),
        folder=folder,
    )


def least(methods: int, rules: Rules = RULES) -> int:
    """How many inputs a verdict takes: with fewer, no test on pairs could find anything.

    The smallest p value of so many pairs is 2^-inputs, and Holm multiplies it by the number of
    methods.

    Args:
        methods: that are tested together.
        rules: where the lines are drawn.

    >>> least(1), least(36)
    (8, 10)
    """
    return max(rules.inputs, ceil(log2(max(1, methods) / rules.p)))


@dataclass(frozen=True)
class _Believed:
    """What the verdicts allow to be said of all methods together."""

    judged: dict[str, Verdict]
    order: tuple[str, ...]
    fillings: Fillings | None
    enough: int
    inputs: int

    @property
    def sound(self) -> tuple[str, ...]:
        """The methods that no rule speaks against."""
        return tuple(name for name in self.order if not self.judged[name].excluded)

    def conclusive(self, tied: Sequence[str], rules: Rules) -> bool:
        """Whether a recommendation says more than that methods were compared."""
        if self.inputs < self.enough or self.flipped(rules):
            return False
        return len(self.order) == 1 or len(tied) < len(self.order)

    def flipped(self, rules: Rules) -> bool:
        """Whether the order of the methods depends on the filling."""
        return self.fillings is not None and not self.fillings.correlation >= rules.agree

    def notes(self, tied: Sequence[str], about: About, rules: Rules) -> tuple[str, ...]:
        """What the reader must know to trust the order."""
        said: list[str] = []
        if about.cost.dropped:
            names = ", ".join(about.cost.dropped)
            said.append(f"The budget leaves out {names}: they explain every input anew.")
        if self.inputs < self.enough:
            said.append(
                f"{self.inputs} inputs are too few for a verdict on {len(self.order)} methods: "
                f"give {self.enough} at least. The numbers stand for these inputs alone."
            )
            return tuple(said)
        if self.flipped(rules) and self.fillings is not None:
            one, other = self.fillings.names
            found = self.fillings.correlation
            known = "no order with one of them" if isnan(found) else f"rank correlation {found:.2f}"
            said.append(
                f"The order of the methods depends on what stands for a removed part ({one} or "
                f"{other}: {known}), so that there is no conclusion about whom to believe."
            )
        elif not self.sound:
            said.append("No method is recommended: a rule speaks against each of them.")
        elif len(self.order) > 1 and len(tied) == len(self.order):
            said.append("These inputs do not tell the methods apart: none is recommended.")
        elif len(tied) > 1:
            said.append(
                f"The first {len(tied)} cannot be told apart on these {self.inputs} inputs."
            )
        return tuple(said)


def _known(
    ratings: Mapping[str, Mapping[str, Rating]], metric: Metric, methods: Sequence[str]
) -> bool:
    """Whether a metric has a meaning for any method on any input."""
    return any(not bool(ratings[name][metric.name].values.isnan().all()) for name in methods)


def _same(
    ratings: Mapping[str, Mapping[str, Rating]], methods: Sequence[str], metrics: Sequence[Metric]
) -> list[list[str]]:
    """Methods that no metric tells apart on any input; each group in order."""
    groups: list[list[str]] = []
    for name in methods:
        rows = _rows(ratings[name], metrics)
        for group in groups:
            other = _rows(ratings[group[0]], metrics)
            if torch.allclose(rows, other, rtol=1e-3, atol=1e-3, equal_nan=True):
                group.append(name)
                break
        else:
            groups.append([name])
    return [group for group in groups if len(group) > 1]


def _rows(ratings: Mapping[str, Rating], metrics: Sequence[Metric]) -> Tensor:
    told = [ratings[one.name].values.double() for one in metrics if one.criterion != "cost"]
    return torch.stack(told)


def _pairs(metrics: Sequence[Metric]) -> list[tuple[Metric, Metric]]:
    """Metrics that were taken under both fillings."""
    named = {metric.name: metric for metric in metrics}
    return [
        (metric, named[metric.name + REFILLED])
        for metric in metrics
        if metric.name + REFILLED in named
    ]
