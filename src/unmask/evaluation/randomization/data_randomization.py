"""Data randomisation: does an explanation tell what was learnt from what was only memorised?"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.randomization.cost import Counted
from unmask.evaluation.randomization.parameter_randomization import Mean
from unmask.evaluation.randomization.similarity import Similarity, rank_similarity
from unmask.evaluation.retrained import Train, retrained, seed_from
from unmask.masking import cached_rows
from unmask.results import Rating
from unmask.score import Score, logit, predicted


@method("adebayo2018sanity")
def data_randomization(
    data: Float[Tensor, "batch *input"],
    labels: Int[Tensor, " labels"],
    *,
    explain: Explain,
    train: Train,
    x: Float[Tensor, "others *input"] | None = None,
    reading: Callable[[nn.Module, Tensor], Score] = logit,
    similarity: Similarity = rank_similarity,
    min_train_accuracy: float = 0.95,
    repeats: int = 3,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""Train on permuted labels, and see how alike the explanations are to those of true labels.

    $$
    \frac1R \sum_{r=1}^R \mathrm{similarity}\bigl(A(F_r), A(F^\pi_r)\bigr)
    $$

    F_r has learnt the true labels and F^pi_r a permutation of them, which it can only know by
    heart. Lower is better, but how low it can be depends on how alike two networks with true
    labels and different seeds are. The curve holds that ceiling, over the share 0 of the labels
    that are permuted, and the rating, over 1. An explanation passes where it falls.

    Explained is the class that the first network with true labels chooses. Training is not
    counted among the evaluations.

    >>> from unmask.results import Attribution
    >>> data, labels = torch.eye(3), torch.tensor([0, 1, 2])
    >>> def train(data, labels, generator):  # knows three rows by heart
    ...     model = torch.nn.Linear(3, 3, bias=False)
    ...     model.weight.data = torch.nn.functional.one_hot(labels, 3).float().T
    ...     return model
    >>> blind = lambda score, x: Attribution(x)
    >>> data_randomization(data, labels, explain=blind, train=train).curve.tolist()
    [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]

    Args:
        data: what the networks learn from.
        labels: its classes.
        explain: A.
        train: makes a trained network of data, labels and a generator.
        x: what is explained, best what no network has seen; the data where nothing is given.
        reading: the score of a network and classes.
        similarity: of two explanations of the same input.
        min_train_accuracy: what each network must reach on its own labels.
        repeats: R, pairs of networks; two at least, so that there is a ceiling.
        generator: source of the permutations, and of what training draws.
        batch_size: inputs that are explained at a time.
    """
    found = relearnt(
        data, labels, explain, train, {"": similarity}, x, reading, min_train_accuracy, repeats,
        generator, batch_size,
    )  # fmt: skip
    permuted, ceiling = found.permuted[""], found.ceiling[""]
    curve = torch.stack([ceiling, permuted], 1)
    at = torch.tensor([0.0, 1.0], dtype=curve.dtype, device=curve.device)
    return Rating(permuted, False, curve, at, found.evaluations)


@dataclass(frozen=True)
class Relearnt:
    """How alike explanations of networks are, by the name of a similarity.

    Args:
        permuted: of true labels, and of permuted ones.
        ceiling: both of true labels, from different seeds.
        evaluations: inputs that the networks were run on.
    """

    permuted: dict[str, Float[Tensor, " inputs"]]
    ceiling: dict[str, Float[Tensor, " inputs"]]
    evaluations: int | None


def relearnt(
    data: Float[Tensor, "batch *input"],
    labels: Int[Tensor, " labels"],
    explain: Explain,
    train: Train,
    similarities: dict[str, Similarity],
    x: Float[Tensor, "others *input"] | None,
    reading: Callable[[nn.Module, Tensor], Score],
    min_train_accuracy: float,
    repeats: int,
    generator: torch.Generator | None,
    batch_size: int | None,
) -> Relearnt:
    """Train on true and on permuted labels, and compare the explanations in several ways.

    Args:
        data: what the networks learn from.
        labels: its classes.
        explain: makes the explanations.
        train: makes a trained network.
        similarities: of two explanations of the same input, by name.
        x: what is explained; the data where nothing is given.
        reading: the score of a network and classes.
        min_train_accuracy: what each network must reach on its own labels.
        repeats: pairs of networks.
        generator: source of randomness.
        batch_size: inputs that are explained at a time.
    """
    x = data if x is None else x
    _admit(data, labels, x, repeats, batch_size)
    generator = admission.drawing(generator)
    counted = Counted(explain)
    classes: Tensor | None = None
    permuted = {name: Mean() for name in similarities}
    ceiling = {name: Mean() for name in similarities}
    first = last = x
    for repeat in range(repeats):
        maps = []
        order = torch.randperm(len(labels), generator=generator, device=generator.device)
        for told, said in ((labels, "true"), (labels[order.to(labels.device)], "permuted")):
            model = retrained(train, data, told, seed_from(generator))
            _must_know(model, data, told, said, min_train_accuracy)
            if classes is None:
                classes = _predicted(model, x)
            maps.append(
                explained(reading(model, classes), x, counted, batch_size=batch_size).values
            )
        true, other = maps
        pairs = [(last, true)] if repeat > 0 else []
        pairs += [(true, first)] if repeat > 1 and repeat == repeats - 1 else []
        first, last = true if repeat == 0 else first, true
        for name, alike in similarities.items():
            permuted[name].add(alike(true, other))
            for one, two in pairs:
                ceiling[name].add(alike(one, two))
    return Relearnt(
        {name: mean.value for name, mean in permuted.items()},
        {name: mean.value for name, mean in ceiling.items()},
        counted.evaluations,
    )


def _admit(data: Tensor, labels: Tensor, x: Tensor, repeats: int, batch_size: int | None) -> None:
    for what, inputs in (("The data", data), ("The input", x)):
        admission.finite(what, inputs)
        admission.filled(inputs)
    admission.batched(batch_size)
    if labels.shape != data.shape[:1]:
        raise ValueError(
            f"There are {len(data)} rows of data, but labels of shape {tuple(labels.shape)}. "
            "Give one class for each row."
        )
    if len(labels.unique()) < 2:
        raise ValueError(
            f"All {len(labels)} labels are the same, and a permutation of them too. "
            "Give data of two classes at least."
        )
    if repeats < 2:
        raise ValueError(
            f"{repeats} pairs of networks give no ceiling, which takes two with true labels. "
            "Give at least 2."
        )


def _predicted(model: nn.Module, x: Tensor) -> Int[Tensor, " batch"]:
    with torch.inference_mode(False):
        return torch.cat([predicted(model, some.clone()) for some in x.split(cached_rows(x[0]))])


def _must_know(model: nn.Module, data: Tensor, labels: Tensor, said: str, least: float) -> None:
    accuracy = float((_predicted(model, data) == labels).double().mean())
    if not accuracy >= least:
        raise RuntimeError(
            f"A network did not learn its {said} labels: it knows {accuracy:.1%} of them, and at "
            f"least {least:.1%} were asked for. Train for longer, make it wider, or give fewer "
            "rows."
        )
