"""Consistency: does an explanation say the same of what is the same, and agree with the model?"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.faithfulness import surrogate_r2
from unmask.evaluation.stability import (
    implementation_invariance,
    local_lipschitz,
    max_sensitivity,
    run_to_run,
)
from unmask.evaluation.stability.neighbour_similarity import similarities
from unmask.evaluation.trial import on_trial
from unmask.masking import cached_rows
from unmask.players import Players
from unmask.results import Measurement, Rating
from unmask.score import Score


@method("fan2021interpretability")
def consistency(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    data: Float[Tensor, "inputs *input"],
    explain: Explain,
    baseline: Shaped[Tensor, "*background"],
    players: Players,
    runs: Sequence[Explain] = (),
    rewritten: Score | None = None,
    neighbours: int = 5,
    radius: float = 0.02,
    samples: int = 10,
    coalitions: int = 512,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Ask whether an explanation says the same of what is the same, and what the model does.

    $$
    \Phi(x) \approx \Phi(y) \;\text{ where } x \approx y, \qquad
    F(x_S) \approx F(x_\emptyset) + \sum_{i \in S} \Phi_i(x)
    $$

    - `neighbour_similarity`: the rank correlation with the explanations of the nearest neighbours
      of the same class; `class_similarity` with those of others of the class, drawn at random;
      `neighbour_lead` is by how much the neighbours are more alike, where a class has both.
    - `max_sensitivity` (lower is better): by what share the explanation moves at most when the
      input is moved a little; `local_lipschitz` (lower is better): how fast. Both are lower bounds
      from a few points; the curve shows what had been found after each.
    - `surrogate_r2`: how well the explanation, taken for a model of its own, gives the scores of
      random coalitions. What has no unit of the score, as a plain gradient, may be far below 0.
    - `run_to_run`, if there are runs: the rank correlation between random draws.
    - `implementation_change` (lower is better), with a rewritten score: by what share the
      explanation differs between two ways to compute the same function.

    Each is a mean over the inputs for which it has a meaning, with the ends of its interval;
    `_undefined` counts the others. No number stands for all: an explanation that is the same for
    every input has the best of every line but `neighbour_lead` and `surrogate_r2`.

    >>> from unmask import features, logit
    >>> from unmask.planted import linear_network
    >>> from unmask.results import Attribution
    >>> network = linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    >>> found = consistency(
    ...     logit(network, 0), x, data=x, baseline=torch.zeros(4), players=features(4),
    ...     explain=lambda score, x: Attribution(network[0].weight.detach() * x),
    ... )
    >>> round(found.numbers["surrogate_r2"], 4)
    1.0

    Args:
        score: F; of a class of each input's own, or of one for all.
        x: the inputs.
        data: where neighbours are looked for; x may be among them.
        explain: makes the explanation Phi.
        baseline: what stands where a player is removed.
        players: the parts of an input that coalitions are made of.
        runs: makers of the explanation that differ in their generators alone.
        rewritten: F, computed in another way.
        neighbours: of each input.
        radius: how far each number of an input is moved at most, in the units of x.
        samples: points about each input, and others of the class of each.
        coalitions: how many are drawn.
        generator: source of the points, of the coalitions and of the intervals.
        batch_size: inputs that are explained, and that the model is given, at a time.
    """
    generator = admission.drawing(generator)
    trial = on_trial(score, x, players, baseline, batch_size=batch_size)
    near, others = similarities(
        score, x, data=data, explain=explain, neighbours=neighbours, samples=samples,
        generator=generator, batch_size=batch_size,
    )  # fmt: skip
    moved, steepest = (
        metric(
            score, x, explain=explain, radius=radius, samples=samples, generator=generator,
            batch_size=batch_size,
        )
        for metric in (max_sensitivity, local_lipschitz)
    )  # fmt: skip
    made = explained(score, x, explain, batch_size=batch_size or cached_rows(x[0]))
    ratings = {
        "neighbour_similarity": Rating(near, True),
        "class_similarity": Rating(others, True),
        "neighbour_lead": Rating(near - others, True),
        "max_sensitivity": moved,
        "local_lipschitz": steepest,
        "surrogate_r2": surrogate_r2(trial, made, samples=coalitions, generator=generator),
    }
    if len(runs) > 0:
        ratings["run_to_run"] = run_to_run(score, x, runs=runs, batch_size=batch_size)
    if rewritten is not None:
        ratings["implementation_change"] = implementation_invariance(
            score, x, rewritten=rewritten, explain=explain, batch_size=batch_size
        )
    title = "Max-sensitivity found, by points about each input"
    assert moved.curve is not None
    curves = {"points": moved.at, "max-sensitivity": moved.curve.double().nanmean(0)}
    return Measurement(_numbers(ratings, generator), curves, {title: tuple(curves)})


def _numbers(ratings: dict[str, Rating], generator: torch.Generator) -> dict[str, float]:
    """The mean of each, the ends of its interval, and how many inputs it leaves out."""
    numbers = {"inputs": float(len(ratings["max_sensitivity"].values))}
    for name, rating in ratings.items():
        low, high = rating.interval(generator=generator)
        numbers |= {name: rating.mean, f"{name}_low": low, f"{name}_high": high}
        if rating.undefined > 0:
            numbers[f"{name}_undefined"] = float(rating.undefined)
    return numbers
