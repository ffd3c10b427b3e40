"""The criteria of a comparison, and the metrics that each is read from: the one table of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import comb

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from unmask.evaluation import (
    Explain,
    Fill,
    Trial,
    completeness_gap,
    deletion,
    faithfulness_correlation,
    gini,
    insertion,
    max_sensitivity,
    neighbour_similarity,
    on_trial,
    rank_similarity,
    surrogate_r2,
)
from unmask.evaluation.association import constant
from unmask.evaluation.randomization.parameter_randomization import randomized
from unmask.evaluation.randomization.weights import as_new_if_known
from unmask.players import Players
from unmask.results import Attribution, Rating
from unmask.run.compare.comparison import Metric
from unmask.run.compare.explainers import pooled
from unmask.run.compare.verdict import RULES
from unmask.score import Score


@dataclass(frozen=True)
class Bench:
    """Inputs, and all that metrics need to rate explanations of them.

    Args:
        score: what is explained.
        x: the inputs.
        players: who owns which position.
        baseline: what stands where a part is removed.
        second: the other filling, shaped like the inputs.
        seed: of what metrics draw; the same for every method, so that all face the same draws.
        batch_size: inputs in one call of the model.
    """

    score: Score
    x: Shaped[Tensor, "batch *input"]
    players: Players
    baseline: Shaped[Tensor, "*background"]
    second: Shaped[Tensor, "batch *input"]
    seed: int = 0
    batch_size: int | None = None

    @cached_property
    def trial(self) -> Trial:
        """The inputs with parts replaced by the baseline."""
        return self._tried(self.baseline)

    @cached_property
    def refilled(self) -> Trial:
        """The inputs with parts replaced by the other filling."""
        return self._tried(
            lambda rows, visible: torch.where(visible, self.x[rows], self.second[rows])
        )

    @property
    def generator(self) -> torch.Generator:
        """A source of draws that starts anew."""
        return torch.Generator().manual_seed(self.seed)

    def at(self, rows: Int[Tensor, " rows"]) -> "Bench":
        """The same with some of the inputs.

        Args:
            rows: their places.
        """
        return replace(self, score=self.score.at(rows), x=self.x[rows], second=self.second[rows])

    def pooled(self, explain: Explain) -> Explain:
        """An explanation with a value per player, so that fine and coarse maps are compared alike.

        Args:
            explain: makes one of any resolution.
        """

        def by_player(score: Score, x: Tensor) -> Attribution:
            made = explain(score, x)
            values = pooled(score, x, made, self.players, self.baseline)
            return Attribution(values, names=self.players.names)

        return by_player

    def _tried(self, filling: Tensor | Fill) -> Trial:
        return on_trial(self.score, self.x, self.players, filling, batch_size=self.batch_size)


@dataclass(frozen=True)
class Measure:
    """A metric, how it is taken and what it takes.

    Args:
        metric: what it is.
        rate: a bench, an attribution with a value per player, and what makes such ones anew. The
            attribution's evaluations are the passes that it took for one input.
        asks: passes of one input through the model, besides explanations.
        anew: explanations of each input that are made anew.
        fits: whether it can be taken on a bench.
        otherwise: the rating of an input that the method failed on.
    """

    metric: Metric
    rate: Callable[[Bench, Attribution, Explain], Rating]
    asks: Callable[[Bench], float] = lambda bench: 0.0
    anew: Callable[[Bench], float] = lambda bench: 0.0
    fits: Callable[[Bench], bool] = lambda bench: True
    otherwise: float = float("nan")


def measures() -> Mapping[str, Measure]:
    """All metrics of a comparison by name, criterion by criterion."""
    return {one.metric.name: one for one in _TABLE}


MODELS = 5
"""Random models. What one of them says of all inputs is alike, so that the doubt lies in the models
and not in the inputs."""
SUBSETS, COALITIONS, POINTS, NEIGHBOURS = 100, 256, 10, 5
"""Sets of removed parts; coalitions; noisy copies of an input; inputs like it."""


def _weighted(bench: Bench) -> bool:
    """Whether the model has weights that can be drawn anew."""
    model = bench.score.model
    return isinstance(model, nn.Module) and any(True for _ in model.parameters())


def _floating(bench: Bench) -> bool:
    """Whether an input can be moved a little."""
    return bench.x.is_floating_point()


def _randomization(bench: Bench, attribution: Attribution, explain: Explain) -> Rating:
    """How alike explanations of random models are to this, beyond what chance makes alike."""
    generator = bench.generator
    found = [
        randomized(
            bench.score,
            bench.x,
            explain,
            {"": rank_similarity},
            lambda names: [tuple(names)],  # all at once: what some layers tell is another question
            as_new_if_known,
            1,
            generator,
            None,
            compared=True,
        )
        for _ in range(MODELS)
    ]
    alike = torch.stack([one.curves[""][:, -1] for one in found], 1)
    null = torch.stack([one.null[""] for one in found], 1)
    curve = torch.cat([alike, null], 1)
    at = torch.arange(2 * MODELS, device=curve.device).to(curve)
    return Rating(alike.nanmean(1) - null.nanmean(1), False, curve, at)


def _sensitivity(bench: Bench, attribution: Attribution, explain: Explain) -> Rating:
    return max_sensitivity(
        bench.score,
        bench.x,
        explain=explain,
        samples=POINTS,
        generator=bench.generator,
        batch_size=bench.batch_size,
    )


def _neighbours(bench: Bench, attribution: Attribution, explain: Explain) -> Rating:
    return neighbour_similarity(
        bench.score,
        bench.x,
        data=bench.x,
        explain=explain,
        neighbours=NEIGHBOURS,
        generator=bench.generator,
        batch_size=bench.batch_size,
    )


def _valid(bench: Bench, attribution: Attribution, explain: Explain) -> Rating:
    return Rating((~constant(attribution.values)).float(), True)


def _cost(bench: Bench, attribution: Attribution, explain: Explain) -> Rating:
    passes = float(attribution.evaluations or 0)
    return Rating(torch.full((len(bench.x),), passes), False)


def _removals(bench: Bench) -> float:
    return len(bench.players.names) + 1.0


def _subsets(bench: Bench) -> float:
    n = len(bench.players.names)
    return min(SUBSETS, comb(n, max(1, round(n / 5)))) + 1.0


def _removal(name: str, higher: bool, words: str) -> Metric:
    return Metric(name, "exactness", higher, words, tested=True)


# Areas are in the unit of the score: divided by the score's difference, an input whose score rises
# when all is removed would count a right order for a wrong one.
_TABLE: tuple[Measure, ...] = (
    Measure(
        _removal("deletion", False, "the score falls when what matters is removed first"),
        lambda bench, a, _: deletion(bench.trial, a, normalized=False),
        asks=_removals,
    ),
    Measure(
        _removal("insertion", True, "the score comes back when what matters is put back first"),
        lambda bench, a, _: insertion(bench.trial, a, normalized=False),
        asks=_removals,
    ),
    Measure(
        _removal("deletion_refilled", False, "the same as deletion, under the other filling"),
        lambda bench, a, _: deletion(bench.refilled, a, normalized=False),
        asks=_removals,
    ),
    Measure(
        _removal("insertion_refilled", True, "the same as insertion, under the other filling"),
        lambda bench, a, _: insertion(bench.refilled, a, normalized=False),
        asks=_removals,
    ),
    Measure(
        replace(
            _removal("faithfulness_correlation", True, "random sets change the score as it says"),
            bounds=(-1.0, 1.0),
        ),
        lambda bench, a, _: faithfulness_correlation(
            bench.trial, a, samples=SUBSETS, generator=bench.generator
        ),
        asks=_subsets,
    ),
    Measure(
        Metric(
            "surrogate_r2", "exactness", True, "its sum foretells the score", bounds=(-1.0, 1.0)
        ),
        lambda bench, a, _: surrogate_r2(
            bench.trial, a, samples=COALITIONS, generator=bench.generator
        ),
        asks=lambda bench: min(COALITIONS, 2 ** len(bench.players.names)) + 1.0,
    ),
    Measure(
        Metric(
            "completeness_gap",
            "exactness",
            False,
            "how much of the score's difference its sum misses",
            bounds=(0.0, 1.0),
            enough=RULES.gap,
        ),
        lambda bench, a, _: completeness_gap(bench.trial, a),
        asks=lambda bench: 2.0,
    ),
    Measure(
        Metric(
            "max_sensitivity",
            "consistency",
            False,
            "how far it moves when the input hardly does",
            bounds=(0.0, 2.0),
        ),
        _sensitivity,
        anew=lambda bench: POINTS + 1.0,
        fits=_floating,
    ),
    Measure(
        Metric(
            "neighbour_similarity",
            "consistency",
            True,
            "alike inputs are explained alike",
            bounds=(-1.0, 1.0),
        ),
        _neighbours,
        anew=lambda bench: 1.0 + NEIGHBOURS,
        fits=lambda bench: _floating(bench) and len(bench.x) > NEIGHBOURS,
    ),
    Measure(
        Metric("valid", "completeness", True, "an explanation came, and it ranks the parts"),
        _valid,
        otherwise=0.0,
    ),
    Measure(
        Metric(
            "randomization_excess",
            "sanity",
            False,
            "how alike it stays when all weights are random, beyond chance",
            enough=RULES.excess,
        ),
        _randomization,
        anew=lambda bench: 2.0 * MODELS,
        fits=_weighted,
    ),
    Measure(Metric("gini", "complexity", True, "few parts carry it"), lambda _, a, __: gini(a)),
    Measure(Metric("cost", "cost", False, "passes of one input through the model"), _cost),
)
