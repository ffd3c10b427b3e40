"""Neighbour similarity: whether inputs that are alike are explained alike."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask import admission, internals
from unmask.card import method
from unmask.evaluation.association import spearman
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.stability.surroundings import chosen, whole
from unmask.masking import cached_rows
from unmask.results import Rating
from unmask.score import Score

Similarity = Callable[
    [Float[Tensor, "*batch numbers"], Float[Tensor, "*batch numbers"]], Float[Tensor, "*batch"]
]
"""How alike two explanations are, for many pairs at once."""


@method("alvarezmelis2018robustness")
def neighbour_similarity(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    data: Float[Tensor, "inputs *input"],
    explain: Explain,
    neighbours: int = 5,
    similarity: Similarity = spearman,
    layer: str | None = None,
    beyond_chance: bool = False,
    samples: int = 20,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""How alike the explanations of an input and of its nearest neighbours are.

    $$
    \frac1k \sum_{j \in N_k(i)} s\bigl(\Phi(x_i), \Phi(x_j)\bigr)
    $$

    The neighbours are the k nearest inputs of the data for which the model chooses the same
    class, an input itself and its copies left out. s is the rank correlation by default.

    Explanations may be alike because all of a class are. So there is a chance to compare with,
    the same over other inputs of the class, drawn at random: `beyond_chance` subtracts it, and is
    NaN where the class has no more inputs than neighbours.
    Explanations of pictures are compared pixel by pixel, and those of things that lie elsewhere
    are unlike for that alone: there, look for neighbours and explanations in a layer. It is NaN
    where the data hold no other input of the class, or no explanation ranks anything.

    >>> from unmask import Attribution, logit
    >>> x = torch.tensor([[1.0, 2.0, 4.0], [1.0, 3.0, 2.0], [1.0, 2.0, 3.0]])
    >>> rating = neighbour_similarity(
    ...     logit(lambda x: x[:, :2], 0), x, data=x, neighbours=1,
    ...     explain=lambda score, x: Attribution(x),
    ... )
    >>> [round(value, 3) for value in rating.values.tolist()]
    [1.0, 0.5, 1.0]

    Args:
        score: what is explained.
        x: the inputs.
        data: where neighbours are looked for; x may be among them.
        explain: makes the explanation Phi.
        neighbours: k.
        similarity: s, a function of two sets of rows, such as `overlap(10)`.
        layer: measures how near inputs are by what this layer puts out.
        beyond_chance: whether the similarity to other inputs of the class is subtracted.
        samples: how many of them are drawn, the same for all inputs of a class.
        generator: source of the draws.
        batch_size: inputs that are explained at a time, by default what a processor's cache holds.
    """
    near, far = similarities(
        score, x, data=data, explain=explain, neighbours=neighbours, similarity=similarity,
        layer=layer, samples=samples if beyond_chance else 0, generator=generator,
        batch_size=batch_size,
    )  # fmt: skip
    return Rating(near - far if beyond_chance else near, higher_is_better=True)


def similarities(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    data: Float[Tensor, "inputs *input"],
    explain: Explain,
    neighbours: int,
    samples: int,
    similarity: Similarity = spearman,
    layer: str | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """The mean similarity to the neighbours of each input, and to others of its class.

    Args:
        score: what is explained.
        x: the inputs.
        data: where neighbours are looked for.
        explain: makes the explanations.
        neighbours: how many.
        samples: how many others; with none their mean is NaN.
        similarity: of explanations.
        layer: measures how near inputs are.
        generator: source of the others.
        batch_size: inputs that are explained at a time.
    """
    internals.admit_any(score, x, batch_size)
    admission.finite("The data", data)
    admission.filled(data)
    if data.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"An input has shape {tuple(x.shape[1:])}, but one of the data "
            f"{tuple(data.shape[1:])}. Look for neighbours among inputs of the same kind."
        )
    whole("neighbours", neighbours, 1)
    whole("samples", samples, 0)
    rows = batch_size or cached_rows(x[0])
    nearness = _nearness(score, data, layer, rows)
    source = admission.drawing(generator)
    # One lot for each of the data, shared by all inputs: a batch of two is two batches of one.
    lots = torch.rand(len(data), generator=source, device=source.device).to(data.device)
    partners = []
    for some in x.split(min(rows, max(1, 2**22 // len(data)))):
        away, known = nearness(some)
        near = _first(away, known, neighbours)
        # A last column takes the places of neighbours that are missing.
        taken = torch.zeros(len(some), len(data) + 1, dtype=torch.bool, device=x.device)
        taken.scatter_(1, near % (len(data) + 1), True)
        far = _first(lots.expand_as(away), known & ~taken[:, :-1], samples)
        partners.append(torch.cat([near, far], 1))
    alike = _alike(score, x, data, explain, torch.cat(partners), similarity, rows)
    count = min(neighbours, len(data))
    return alike[:, :count].nanmean(1), alike[:, count:].nanmean(1)


def _first(
    values: Float[Tensor, "some inputs"], known: Bool[Tensor, "some inputs"], most: int
) -> Int[Tensor, "some first"]:
    """The places of the smallest values that are known; -1 where there are no more."""
    ordered = values.double().masked_fill(~known, torch.inf).sort(1)
    return torch.where(ordered.values < torch.inf, ordered.indices, -1)[:, :most]


def overlap(most: int) -> Similarity:
    r"""The share of the strongest parts of two explanations that they have in common.

    $$
    s(a, b) = |\mathrm{top}_k(|a|) \cap \mathrm{top}_k(|b|)| / k
    $$

    Ties go to the first.

    >>> float(overlap(2)(torch.tensor([[3.0, -2.0, 1.0]]), torch.tensor([[3.0, 1.0, 2.0]])))
    0.5

    Args:
        most: k.
    """
    whole("most", most, 1)

    def similarity(one: Tensor, other: Tensor) -> Tensor:
        if one.shape[-1] < most:
            raise ValueError(
                f"The strongest {most} parts are asked for, but explanations have "
                f"{one.shape[-1]}. Give a smaller number."
            )
        both = _strongest(one, most) & _strongest(other, most)
        return both.sum(-1).double() / most

    return similarity


def _strongest(values: Tensor, most: int) -> Bool[Tensor, "*batch numbers"]:
    return values.abs().argsort(dim=-1, descending=True, stable=True).argsort(-1) < most


@dataclass(frozen=True)
class _Nearness:
    """How far some inputs are from the data, and which of these may be neighbours."""

    score: Score
    data: Tensor
    places: Tensor
    classes: Int[Tensor, " inputs"]
    read: Callable[[Tensor], Tensor]

    def __call__(
        self, x: Tensor
    ) -> tuple[Float[Tensor, "some inputs"], Bool[Tensor, "some inputs"]]:
        own = _apart(x.flatten(1), self.data.flatten(1)) == 0
        known = ~own & (chosen(self.score, x)[:, None] == self.classes)
        return _apart(self.read(x), self.places), known


def _nearness(score: Score, data: Tensor, layer: str | None, rows: int) -> _Nearness:
    def read(points: Tensor) -> Tensor:
        return points.flatten(1)

    if layer is not None:
        model = internals.module_of(score, "neighbour_similarity")
        internals.layer(model, layer)

        @torch.inference_mode(False)
        @torch.no_grad()
        def read(points: Tensor) -> Tensor:
            with internals.record(model, [layer]) as outputs:
                score.output(points.clone())
            return outputs[layer].flatten(1).clone()

    parts = data.split(rows)
    classes = torch.cat([chosen(score, some) for some in parts])
    return _Nearness(score, data, torch.cat([read(some) for some in parts]), classes, read)


def _apart(one: Tensor, other: Tensor) -> Float[Tensor, "some inputs"]:
    # Not by products, which would leave a distance of an input to itself.
    return torch.cdist(one.double(), other.double(), compute_mode="donot_use_mm_for_euclid_dist")


def _alike(
    score: Score,
    x: Tensor,
    data: Tensor,
    explain: Explain,
    partners: Int[Tensor, "batch partners"],
    similarity: Similarity,
    size: int,
) -> Float[Tensor, "batch partners"]:
    """The similarity of each input to its partners; NaN where one is missing."""
    here = explained(score, x, explain, batch_size=size).values.flatten(1)
    found = torch.full(partners.shape, torch.nan, dtype=torch.float64, device=x.device).flatten()
    rows, places = (partners >= 0).nonzero(as_tuple=True)
    if len(rows) == 0:
        return found.view(partners.shape)
    partner = partners[rows, places]
    slots = rows * partners.shape[1] + places
    shared, where = None, partner
    if score.targets is None:
        used, where = partner.unique(return_inverse=True)  # each is explained once
        shared = explained(score, data[used], explain, batch_size=size).values.flatten(1)
    for some in torch.arange(len(partner), device=x.device).split(size):
        if shared is not None:
            there = shared[where[some]]
        else:
            there = explained(score, data[partner[some]], explain, rows=rows[some]).values.flatten(
                1
            )
        found[slots[some]] = similarity(here[rows[some]], there).double()
    return found.view(partners.shape)
