"""Is a network righter after what its explanations showed was taken away from it?"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain
from unmask.evaluation.retrained import (
    Train,
    accuracy,
    admit_training,
    over_repeats,
    retrained,
)
from unmask.evaluation.uses.misled import Misled, learned_shortcut, mislead
from unmask.results import Measurement

Correct = Callable[[Tensor, Tensor, Tensor, torch.Generator], nn.Module]
"""Trains a network on data and labels that must not look at what is annotated."""

SHARES = ("accuracy", "accuracy_after", "accuracy_with_mark", "recall")
"""What lies between 0 and 1."""


@method("schramowski2020making", "ross2017right")
def correct_reasons(
    data: Float[Tensor, "batch *input"],
    labels: Int[Tensor, " labels"],
    *,
    explain: Explain,
    train: Train,
    annotation: Bool[Tensor, "*annotated"],
    correct: Correct | None = None,
    repeats: int = 3,
    purity: float = 1.0,
    samples: int = 64,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Mislead networks, let their explanations be criticised, and train them anew.

    $$
    \mathrm{gain} = \mathrm{acc}\bigl(M_{\setminus (T \cap R)}\bigr) - \mathrm{acc}(M)
    $$

    A patch R of one shade is put on every input; M learns from patches whose shade tells the class,
    and is tested on others whose shade tells nothing. T are the |R| positions of which most is said
    over the inputs. Whoever criticises is shown T and rejects what lies in R, no more: so an
    explanation that does not show the patch brings nothing. The network is then trained anew, from
    the same seed, without what was rejected.

    `recall` is |T and R| / |R|. `gain_by_chance` is the gain with |R| random positions in place of
    T, and `gain_of_all` that of rejecting all of R: what an explanation could bring at most. The
    intervals are Student's over the trainings. A `correct` that trains in another way than `train`
    gains by that as well, even by chance: `gain_over_chance` is what the explanation brought.

    The critic is assumed to know the patch when he sees it. Where the shortcut is no object that a
    person would reject, all this says nothing.

    >>> from unmask.planted import linear_network
    >>> def train(x, y, generator):  # a regression of the classes on the inputs
    ...     wide = torch.cat([x, torch.ones(len(x), 1)], 1)
    ...     return linear_network(torch.linalg.lstsq(wide, 2.0 * y - 1).solution[:-1])
    >>> x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 1] + 0.1 * x[:, 3] > 0).long()
    >>> patch = torch.tensor([True, False, False, False])
    >>> from unmask.results import Attribution
    >>> def explain(score, x):
    ...     return Attribution(x * score.model[0].weight[0])
    >>> found = correct_reasons(x, y, explain=explain, train=train, annotation=patch)
    >>> found.numbers["gain"] == found.numbers["gain_of_all"]
    True

    Args:
        data: inputs without the patch, their parts on one scale.
        labels: their classes.
        explain: makes the explanations.
        train: makes a trained network.
        annotation: R.
        correct: trains a network without what was rejected, such as one that calls
            `right_reasons`; by default `train` itself, on inputs among which the rejected positions
            were exchanged at random.
        repeats: networks.
        purity: the share of the rows whose shade tells the class; the others' are random.
        samples: inputs that are explained, at most.
        generator: source of the rows, of the shades and of the seeds of the trainings.
        batch_size: inputs that are explained at a time.
    """
    admit_training(data, labels, repeats)
    admission.batched(batch_size)
    generator = admission.drawing(generator)
    runs = mislead(
        data, labels, annotation, explain, train, repeats=repeats, purity=purity, samples=samples,
        controls=False, generator=generator, batch_size=batch_size,
    )  # fmt: skip
    found = repaired(runs, annotation, train, correct, generator, batch_size)
    right = learned_shortcut(runs, batch_size)["accuracy_with_mark"]
    each = [one | {"accuracy_with_mark": with_} for one, with_ in zip(found, right, strict=True)]
    shown = ("gain", "gain_by_chance", "gain_of_all")
    curves = {name: torch.tensor([one[name] for one in found]) for name in shown}
    return Measurement(
        over_repeats(each, shares=SHARES),
        {"repeat": torch.arange(1.0, repeats + 1)} | curves,
        {"Accuracy gained": ("repeat", *shown)},
    ).to(data.device)


def repaired(
    runs: Sequence[Misled],
    annotation: Bool[Tensor, "*input"],
    train: Train,
    correct: Correct | None,
    generator: torch.Generator,
    batch_size: int | None,
) -> list[dict[str, float]]:
    """What rejecting brings each misled network.

    Args:
        runs: the networks.
        annotation: where the marks are.
        train: makes networks.
        correct: makes networks that do not look at something.
        generator: source of random positions, and of the default correction.
        batch_size: inputs in one call of a network.
    """
    correct = correct or exchanging(train)
    return [_repaired(run, annotation, correct, generator, batch_size) for run in runs]


def exchanging(train: Train) -> Correct:
    """Training on inputs among which what is rejected was exchanged, so that it tells nothing.

    Args:
        train: makes a network.
    """

    def correct(
        data: Tensor, labels: Tensor, rejected: Tensor, generator: torch.Generator
    ) -> nn.Module:
        seed = generator.initial_seed()
        order = torch.randperm(len(data), generator=generator).to(data.device)
        exchanged = torch.where(rejected, data[order], data)
        return train(exchanged, labels, torch.Generator().manual_seed(seed))

    return correct


def _repaired(
    run: Misled,
    annotation: Tensor,
    correct: Correct,
    generator: torch.Generator,
    batch_size: int | None,
) -> dict[str, float]:
    where = annotation.to(run.data.device)
    before = accuracy(run.model, run.test, run.test_labels, batch_size)
    known: dict[tuple[int, ...], float] = {(): before}  # nothing rejected: it stays as it is

    def after(rejected: Tensor) -> float:
        key = tuple(rejected.flatten().nonzero()[:, 0].tolist())
        if key not in known:
            model = retrained(
                lambda x, y, source: correct(x, y, rejected, source), run.data, run.labels, run.seed
            )
            known[key] = accuracy(model, run.test, run.test_labels, batch_size)
        return known[key]

    count, device = int(where.sum()), generator.device
    order, chance = (
        torch.randperm(where.numel(), generator=generator, device=device).to(where.device)
        for _ in range(2)
    )
    shown = _first(
        order[run.attention.flatten()[order].argsort(descending=True, stable=True)], count, where
    )
    at_random = _first(chance, count, where)
    accuracy_after, by_chance = after(shown & where), after(at_random & where)
    return {
        "accuracy": before,
        "accuracy_after": accuracy_after,
        "gain": accuracy_after - before,
        "gain_by_chance": by_chance - before,
        "gain_over_chance": accuracy_after - by_chance,
        "gain_of_all": after(where) - before,
        "recall": float((shown & where).sum() / where.sum()),
    }


def _first(order: Int[Tensor, " positions"], count: int, like: Tensor) -> Tensor:
    chosen = torch.zeros(like.numel(), dtype=torch.bool, device=like.device)
    chosen[order[:count]] = True
    return chosen.view(like.shape)
