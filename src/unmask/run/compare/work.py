"""The work on one method: explain all inputs, rate the explanations, keep both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from unmask.evaluation import Explain
from unmask.results import Attribution, Rating
from unmask.run.compare.criteria import Bench, Measure
from unmask.run.compare.explainers import pooled, told
from unmask.run.compare.record import EXPLANATION, Record
from unmask.run.compare.rivals import RANDOM, noise
from unmask.run.explainer import Step
from unmask.run.folder import Failure
from unmask.store.sound import fault

DRAWS = 5
"""Random explanations whose ratings are averaged, so that the reference is no stroke of luck."""
ALL = -1
"""The number of a failure that is of no single input."""


@dataclass(frozen=True)
class Report:
    """What came of one method.

    Args:
        name: of the method.
        attribution: what it says; NaN where it failed.
        ratings: by metric; NaN where there is none.
        failures: why.
        computed: how many of these were computed now, and not found.
    """

    name: str
    attribution: Attribution
    ratings: Mapping[str, Rating]
    failures: tuple[Failure, ...]
    computed: int


@dataclass
class Work:
    """Explains and rates one method after the other.

    Args:
        bench: the inputs.
        titles: how each is called.
        explain: by name; of the references too.
        measures: that rate them.
        passes: that an explanation of one input takes, by method.
        record: where all is kept; None for nowhere.
        listen: is told of every step.
    """

    bench: Bench
    titles: Sequence[str]
    explain: Mapping[str, Explain]
    measures: Sequence[Measure]
    passes: Mapping[str, float]
    record: Record | None = None
    listen: Callable[[Step], None] | None = None
    done: int = field(default=0, init=False)

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: there the same folder is written, and nobody listens."""
        record = self.record and replace(self.record, path=self.record.path.resolve())
        return {**self.__dict__, "record": record, "listen": None}

    def told(self, name: str, methods: int) -> None:
        """Tell how far the comparison has come, where copies in other processes do the work.

        Args:
            name: of the last method.
            methods: that are done.
        """
        steps = methods * (1 + len(self.measures)) - self.done
        if steps > 0:
            self._tell(name, "all metrics", steps)

    def __call__(self, name: str) -> Report:
        """Explain and rate one method, as far as that is not done already."""
        failures: list[Failure] = []
        self._tell(name, "explanations", 0)
        attribution, computed = self._attribution(name, failures)
        self._tell(name, "explanations", 1)
        failed = {failure.number for failure in failures}
        kept_rows = [i for i in range(len(self.titles)) if i not in failed]
        good = torch.tensor(kept_rows, dtype=torch.long)
        ratings: dict[str, Rating] = {}
        ready: list[tuple[Bench, Attribution]] = []  # made once, and only where it is needed
        for measure in self.measures:
            self._tell(name, measure.metric.name, 0)
            kept = self.record and self.record.rating(name, measure.metric.name, len(self.titles))
            if kept is None:
                if not ready and len(good):
                    ready.append(self._ready(name, attribution, good.to(self.bench.x.device)))
                kept = self._rated(name, measure, ready, good)
                computed += 1
                if self.record is not None:
                    self.record.keep(name, measure.metric.name, *kept)
            ratings[measure.metric.name] = kept[0]
            failures += kept[1]
            self._tell(name, measure.metric.name, 1)
        return Report(name, attribution, ratings, tuple(failures), computed)

    def _attribution(self, name: str, failures: list[Failure]) -> tuple[Attribution, int]:
        kept = self.record and self.record.attribution(name, len(self.titles))
        if kept:
            failures += kept[1]
            return kept[0], 0
        explain = self._noise() if name == RANDOM else self.explain[name]
        found, raised = explained_alone(self.bench, explain)
        failures += [Failure(i, self.titles[i], name, why) for i, why in raised.items()]
        if self.record is not None:
            self.record.keep(name, EXPLANATION, found, failures)
        return found, 1

    def _ready(
        self, name: str, attribution: Attribution, good: Tensor
    ) -> tuple[Bench, Attribution]:
        """The inputs that a method did not fail on, and what it says of each player there."""
        bench = self.bench.at(good)
        said = attribution.values[good.cpu()].to(bench.x.device)
        some = Attribution(said, names=attribution.names)
        values = pooled(bench.score, bench.x, some, bench.players, bench.baseline)
        spent = round(self.passes.get(name, 0))
        return bench, Attribution(values, names=bench.players.names, evaluations=spent)

    def _rated(
        self,
        name: str,
        measure: Measure,
        ready: Sequence[tuple[Bench, Attribution]],
        good: Int[Tensor, " good"],
    ) -> tuple[Rating, list[Failure]]:
        metric = measure.metric
        values = torch.full((len(self.titles),), measure.otherwise, dtype=torch.float64)
        if not ready:
            return Rating(values, metric.higher_is_better), []
        bench, attribution = ready[0]
        try:
            found = self._rate(name, measure, bench, attribution)
        except Exception as error:  # a metric that cannot be taken costs the others nothing
            empty = Rating(values, metric.higher_is_better)
            return empty, [Failure(ALL, metric.name, name, told(error))]
        values[good] = found.values.detach().double().cpu()
        curve = None
        if found.curve is not None:
            curve = torch.full((len(values), found.curve.shape[1]), torch.nan, dtype=torch.float64)
            curve[good] = found.curve.detach().double().cpu()
        at = None if found.at is None else found.at.detach().double().cpu()
        return Rating(values, metric.higher_is_better, curve, at, found.evaluations), []

    def _rate(self, name: str, measure: Measure, bench: Bench, attribution: Attribution) -> Rating:
        if name != RANDOM:
            return measure.rate(bench, attribution, bench.pooled(self.explain[name]))
        if measure.anew(bench):
            return measure.rate(bench, attribution, bench.pooled(self._noise()))
        found = []
        for draw in range(DRAWS):
            made = bench.pooled(self._noise(draw))(bench.score, bench.x)
            found.append(measure.rate(bench, made, self._noise(draw)))
        values = torch.stack([one.values.double() for one in found]).mean(0)
        curves = [one.curve.double() for one in found if one.curve is not None]
        curve = torch.stack(curves).mean(0) if len(curves) == DRAWS else None
        at = found[0].at if curve is not None else None
        asked = [one.evaluations for one in found if one.evaluations is not None]
        return Rating(values, found[0].higher_is_better, curve, at, sum(asked) if asked else None)

    def _noise(self, draw: int = 0) -> Explain:
        return noise(self.bench.seed + draw, self.bench.baseline)

    def _tell(self, name: str, what: str, steps: int) -> None:
        self.done += steps
        if self.listen is not None:
            total = (len(self.explain) + 1) * (1 + len(self.measures))
            self.listen(Step(float(self.done), total, name, what))


def explained_alone(bench: Bench, explain: Explain) -> tuple[Attribution, dict[int, str]]:
    """What a method says of all inputs; each by itself where it fails on them together.

    Args:
        bench: the inputs.
        explain: the method.
    """
    try:
        return _sound(explain(bench.score, bench.x.clone()), bench), {}
    except Exception:  # whatever a method or a model of the user's may raise
        found: dict[int, Attribution] = {}
    raised: dict[int, str] = {}
    for i in range(len(bench.x)):
        one = bench.at(torch.tensor([i], device=bench.x.device))
        try:
            made = _sound(explain(one.score, one.x.clone()), one)
            shapes = {tuple(other.values.shape[1:]) for other in (made, *found.values())}
            if len(shapes) > 1:
                raise ValueError(
                    "The explanations of inputs have different shapes, "
                    f"{' and '.join(map(str, sorted(shapes)))}. "
                    "Give all in the shape of the inputs, or all with a column per player."
                )
            found[i] = made
        except Exception as error:
            raised[i] = told(error)
    if not found:
        shape = (len(bench.x), len(bench.players.names))
        return Attribution(torch.full(shape, torch.nan)), raised
    first = next(iter(found.values()))
    shape = (len(bench.x), *first.values.shape[1:])
    values = torch.full(shape, torch.nan, dtype=first.values.dtype)
    for i, one in found.items():
        values[i] = one.values[0]
    return Attribution(values, names=first.names), raised


def _sound(made: object, bench: Bench) -> Attribution:
    """An attribution as it is kept; refused where it is broken, or of another shape."""
    if not isinstance(made, Attribution):
        raise TypeError(
            f"The explanation is a {type(made).__name__}. Give a function of a score and inputs "
            "that returns an Attribution."
        )
    if not made.values.is_floating_point():
        made = replace(made, values=made.values.float())  # whole numbers are numbers too
    pooled(bench.score, bench.x, made, bench.players, bench.baseline)

    def still(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.detach().cpu()

    values = made.values.detach().cpu()
    parts = {"values": values, "gap": still(made.gap), "errors": still(made.errors)}
    words = {"names": made.names and [*made.names], "evaluations": made.evaluations}
    wrong = fault(Attribution, words, {name: one for name, one in parts.items() if one is not None})
    if wrong:  # said here, where it costs one method, and not where the folder refuses it
        raise ValueError(f"The explanation is no sound Attribution: {wrong}. Make it of one piece.")
    return Attribution(names=made.names, evaluations=made.evaluations, **parts)
