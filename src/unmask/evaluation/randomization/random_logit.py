"""Random logit: does an explanation change when another class is explained?"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.randomization.cost import Counted
from unmask.evaluation.randomization.parameter_randomization import Mean
from unmask.evaluation.randomization.similarity import Similarity, rank_similarity
from unmask.internals import admit_any
from unmask.masking import cached_rows
from unmask.results import Rating
from unmask.score import Score


@method("sixt2020explanations")
def random_logit(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    explain: Explain,
    samples: int = 1,
    similarity: Similarity = rank_similarity,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Rating:
    r"""Explain another class that is drawn at random, and see how alike the explanations are.

    $$
    \frac1n \sum_{j=1}^n \mathrm{similarity}\bigl(A(F_y), A(F_{y + o_j})\bigr)
    $$

    Lower is better where classes exclude each other. The class y is found where F reacts most to
    the model's output; for another, that output's place is exchanged with its own, so that F may
    be a logit, log-odds or a probability. Offsets o are the same for all inputs and differ from
    each other; classes are counted in a circle. Of two classes the probabilities, like the
    log-odds, are each other's mirror, and signed explanations of them as unlike as can be: read
    logits there. Where F does not react to the output, as a saturated probability, the rating is
    NaN.

    >>> from unmask import logit
    >>> from unmask.results import Attribution
    >>> model = torch.nn.Linear(4, 3)
    >>> x = torch.tensor([[1.0, -2.0, 3.0, 5.0]])
    >>> blind = random_logit(logit(model, 0), x, explain=lambda _, x: Attribution(x.abs()))
    >>> blind.values.tolist()
    [1.0]

    Args:
        score: F, of a model with a row of numbers per input.
        x: the inputs.
        explain: A.
        samples: n, other classes; all of them where there are fewer.
        similarity: of two explanations of the same input.
        generator: source of randomness.
        batch_size: inputs that are explained at a time.
    """
    admit_any(score, x, batch_size)
    generator = admission.drawing(generator)
    if samples < 1:
        raise ValueError(f"{samples} other classes are too few. Give at least 1.")
    y, count = classes_read(score, x, batch_size)
    drawn = torch.randperm(count - 1, generator=generator, device=generator.device)
    counted = Counted(explain)
    here = explained(score, x, counted, batch_size=batch_size).values
    mean = Mean()
    for offset in (1 + drawn[:samples]).tolist():
        other = exchanged(score, y.clamp(min=0), (y.clamp(min=0) + offset) % count)
        there = explained(other, x, counted, batch_size=batch_size).values
        mean.add(similarity(here, there))
    spent = None if counted.evaluations is None else counted.evaluations + len(x)
    return Rating(torch.where(y < 0, torch.nan, mean.value), False, evaluations=spent)


def classes_read(
    score: Score, x: Float[Tensor, "batch *input"], batch_size: int | None = None
) -> tuple[Int[Tensor, " batch"], int]:
    """Which class a score reads of each input, -1 where that cannot be seen, and of how many.

    Args:
        score: reads a row of numbers per input.
        x: the inputs.
        batch_size: inputs in one call of the model.
    """
    found, count = [], 0
    with torch.inference_mode(False):
        for rows in torch.arange(len(x), device=x.device).split(batch_size or cached_rows(x[0])):
            with torch.no_grad():
                output = score.output(x[rows].clone())
            if output.ndim != 2 or output.shape[1] < 2:
                raise ValueError(
                    "Another class is explained where there are two at least, but the model "
                    f"returned shape {tuple(output.shape)}. Give a model with a row of logits per "
                    "input."
                )
            found.append(_strongest(score.at(rows), output.detach()))
            count = output.shape[1]
    return torch.cat(found), count


def exchanged(score: Score, one: Int[Tensor, " batch"], other: Int[Tensor, " batch"]) -> Score:
    """The score of a model two of whose outputs have changed places.

    Args:
        score: a score.
        one: an output, one for each input.
        other: another.
    """

    def read(output: Tensor, rows: Tensor | None) -> Tensor:
        a, b = one.to(output.device), other.to(output.device)
        if rows is not None:
            a, b = a[rows], b[rows]
        place = torch.arange(output.shape[1], device=output.device).repeat(len(output), 1)
        place.scatter_(1, a[:, None], b[:, None]).scatter_(1, b[:, None], a[:, None])
        return score.read(output.gather(1, place), rows)

    return Score(score.model, read, f"{score.name}, of another class", len(one))


def _strongest(score: Score, output: Tensor) -> Int[Tensor, " batch"]:
    """The output that the score reacts to most; of two equal ones, that with which it rises."""
    with torch.enable_grad():
        z = output.double().requires_grad_()
        values = score.of(z)
        if not values.requires_grad:
            raise ValueError(
                f"The {score.name} does not depend on the model's output by any differentiable "
                "path, so its class cannot be told. Score a logit, log-odds or a probability."
            )
        (slope,) = torch.autograd.grad(values.sum(), z)
    size = slope.abs()
    most = size >= size.amax(1, keepdim=True) * (1 - 1e-9)
    rank = 2 * most.int() + (most & (slope > 0)).int()
    # The first of those that are alike, on every device.
    place = (rank * output.shape[1] + torch.arange(output.shape[1], 0, -1).to(rank) - 1).argmax(1)
    return torch.where(size.amax(1) > 0, place, -1)
