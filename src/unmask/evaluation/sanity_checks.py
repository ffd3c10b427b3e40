"""Sanity checks: does an explanation depend on the weights, on the class and on the labels?"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.bootstrap import bootstrap, means
from unmask.card import method
from unmask.evaluation.explained import Explain
from unmask.evaluation.randomization.data_randomization import Train, relearnt
from unmask.evaluation.randomization.efficient_mprt import efficient_mprt
from unmask.evaluation.randomization.parameter_randomization import Randomized, randomized
from unmask.evaluation.randomization.random_logit import random_logit
from unmask.evaluation.randomization.similarity import (
    Similarity,
    absolute_rank_similarity,
    rank_similarity,
    structural_similarity,
)
from unmask.evaluation.randomization.weights import Draw, Order, as_new, top_down
from unmask.results import Measurement
from unmask.score import Score, logit

ALLOWANCE = 0.1
"""By how much explanations may be more alike than by chance, and still pass."""

_WINDOW = 7


@method("adebayo2018sanity", "hedstrom2023sanity", "sixt2020explanations")
def sanity_checks(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    data: Float[Tensor, "rows *input"] | None = None,
    labels: Int[Tensor, " labels"] | None = None,
    train: Train | None = None,
    order: Order = top_down,
    draw: Draw = as_new,
    samples: int = 3,
    repeats: int = 5,
    min_train_accuracy: float = 0.95,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Take from a model what it has learnt, and see whether its explanations notice.

    $$
    e = \mathrm{E}\, \mathrm{similarity}\bigl(A(F), A(F_r)\bigr)
        - \mathrm{E}\, \mathrm{similarity}\bigl(A(F), \pi A(F_r)\bigr)
    $$

    F_r is a model whose weights are all random, and pi shuffles the places of its explanation, so
    that what is subtracted, the `null`, is chance. A method passes whose explanations of the
    trained model are hardly more like those of random ones than that (`excess` e of 0.1 at most).
    It is measured by ranks (signed), by ranks of sizes (absolute) and, of images, by looks
    (structural); `weights_passed` is 1 where it passes by all of them. The curves are what remains
    as one layer after the other becomes random.

    Who fails is not yet refuted. What two random models have in common, the `floor`, no model has
    learnt: it is owed to the input, the architecture and the method, such as a factor x. A
    similarity near the floor is explained by these; one above it is odder. And who passes is not
    yet right: the checks say when not to believe, never when to.

    Beside that: `logit_similarity`, by ranks, of explanations of other classes (low is better
    where classes exclude each other); `entropy_rise`, by which share the histogram of an
    explanation of a random model is less ordered (high is better); and, given data, labels and a
    way to train, `labels_similarity` of networks that have learnt true and permuted labels,
    against the `labels_ceiling` of two that have learnt the true ones; `labels_drop` is what lies
    between, and passes where its interval lies above zero.

    Every number is a mean over the inputs, with the interval of a bootstrap over them and not over
    random models. What is not a number for an input is left out of its mean.

    >>> from unmask.planted import linear_network
    >>> from unmask import logit
    >>> from unmask.results import Attribution
    >>> score = logit(linear_network(torch.tensor([4.0, 3.0, 2.0, 1.0])), 0)
    >>> x = torch.tensor([[1.0, -2.0, 3.0, 5.0], [3.0, 1.0, 0.0, 2.0]])
    >>> blind = sanity_checks(score, x, explain=lambda _, x: Attribution(x.abs()))
    >>> blind.numbers["signed_similarity"], blind.numbers["weights_passed"]
    (1.0, 0.0)

    Args:
        score: F, of a module.
        x: the inputs.
        explain: A.
        data: what networks learn true and permuted labels of.
        labels: its classes.
        train: makes a trained network of data, labels and a generator.
        order: in which layers become random.
        draw: how.
        samples: other classes to explain.
        repeats: random models, two at least; as many pairs of trained networks.
        min_train_accuracy: what each trained network must reach on its own labels.
        generator: source of randomness.
        batch_size: inputs that are explained at a time.
    """
    if repeats < 2:
        raise ValueError(
            f"Explanations of two random models are compared, but repeats is {repeats}. "
            "Give at least 2."
        )
    given = [one is not None for one in (data, labels, train)]
    if any(given) and not all(given):
        raise ValueError(
            "Labels are permuted where `data`, `labels` and `train` are given, but only "
            f"{sum(given)} of them are. Give all three, or none."
        )
    generator = admission.drawing(generator)
    similarities = _similarities(x)
    found = randomized(
        score, x, explain, similarities, order, draw, repeats, generator, batch_size,
        compared=True,
    )  # fmt: skip
    columns: dict[str, Tensor] = {}
    for name in similarities:
        last, null = found.curves[name][:, -1], found.null[name]
        columns |= {
            f"{name}_similarity": last,
            f"{name}_null": null,
            f"{name}_floor": found.floor[name],
            f"{name}_excess": last - null,
        }
    rise = efficient_mprt(
        score, x, explain=explain, draw=draw, repeats=repeats, generator=generator,
        batch_size=batch_size,
    )  # fmt: skip
    columns["entropy_rise"] = rise.values
    if _has_classes(score, x):
        other = random_logit(
            score, x, explain=explain, samples=samples, generator=generator, batch_size=batch_size
        )
        columns["logit_similarity"] = other.values
    numbers = _with_intervals(columns, generator)
    excess = [numbers[f"{name}_excess"] for name in similarities]
    numbers["weights_passed"] = float(all(one <= ALLOWANCE for one in excess))
    if data is not None and labels is not None and train is not None:
        told = relearnt(
            data, labels, explain, train, {"": rank_similarity}, x, logit, min_train_accuracy,
            repeats, generator, batch_size,
        )  # fmt: skip
        numbers |= _with_intervals(
            {
                "labels_similarity": told.permuted[""],
                "labels_ceiling": told.ceiling[""],
                "labels_drop": told.ceiling[""] - told.permuted[""],
            },
            generator,
        )
        numbers["labels_passed"] = float(numbers["labels_drop_low"] > 0)
    numbers |= {"inputs": float(len(x)), "random_models": float(repeats)}
    return _measured(numbers, found, generator).to(x.device)


def _similarities(x: Tensor) -> dict[str, Similarity]:
    found: dict[str, Similarity] = {
        "signed": rank_similarity,
        "absolute": absolute_rank_similarity,
    }
    if x.ndim == 4 and min(x.shape[-2:]) >= _WINDOW:
        found["structural"] = structural_similarity
    return found


@torch.inference_mode(False)
@torch.no_grad()
def _has_classes(score: Score, x: Tensor) -> bool:
    output = score.output(x[:1].clone())
    return output.ndim == 2 and output.shape[1] > 1


def _with_intervals(columns: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, float]:
    """The mean of each column over the inputs, and between which values it lies."""
    table = {name: column.double().cpu() for name, column in columns.items()}
    count = len(next(iter(table.values())))
    found = bootstrap(
        lambda weights: {name: means(weights, column) for name, column in table.items()},
        count,
        generator=generator,
    )
    return {name: float(value) for name, value in found.items()}


def _measured(
    numbers: dict[str, float], found: Randomized, generator: torch.Generator
) -> Measurement:
    shown = {name: curve.double().cpu() for name, curve in found.curves.items()}
    first = next(iter(shown.values()))
    curves: dict[str, Tensor] = {"random_layers": torch.arange(first.shape[1]).double()}
    panels: dict[str, tuple[str, ...]] = {}
    banded = bootstrap(
        lambda weights: {name: means(weights, curve) for name, curve in shown.items()},
        len(first),
        generator=generator,
    )
    for name in shown:
        curves |= {end: banded[end] for end in (name, f"{name}_low", f"{name}_high")}
        level = [f"{name}_null", f"{name}_floor"]
        curves |= {one: torch.full_like(banded[name], numbers[one]) for one in level}
        panels[f"{name} similarity"] = ("random_layers", name, *level)
    return Measurement(numbers, curves, panels)
