"""Training inputs with a wrong label, found by what is said of them."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unmask import admission
from unmask.card import method
from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.retrained import (
    Train,
    accuracy,
    admit_training,
    over_repeats,
    parted,
    retrained,
    seed_from,
)
from unmask.internals import plain
from unmask.results import Examples, Measurement
from unmask.score import log_odds, loss

_BLOCK = 2**22
"""Similarities that are looked at together."""


@method("zhu2022detecting")
def find_label_errors(
    model: nn.Module,
    data: Float[Tensor, "batch *input"],
    *,
    labels: Int[Tensor, " labels"],
    explain: Explain,
    neighbours: int = 5,
    batch_size: int | None = None,
) -> Examples:
    r"""Rank inputs by how much their explanations are like those of inputs with another label.

    $$
    u_b = \frac1k \sum_{j \in N_k(b),\, y_j \ne y_b} \cos(a_b, a_j)
          - \frac1k \sum_{j \in N_k(b),\, y_j = y_b} \cos(a_b, a_j)
    $$

    a_b holds the explanations of the input for all classes, one after another, so that it does not
    depend on the label in doubt; the two sums run over the k nearest with another label and with
    the same. The most suspicious come first. An input that is alone with its label counts as unlike
    its own, and so does one of which nothing is said.

    The model may well have learned from these inputs. `label_errors_found` measures whether this
    finds more than the loss of the model does.

    >>> from unmask.planted import linear_network
    >>> x = torch.tensor([[1.0], [1.1], [0.9], [-1.0], [-1.1], [-0.9]])
    >>> y = torch.tensor([1, 1, 0, 0, 0, 0])  # the third is wrong
    >>> from unmask.results import Attribution
    >>> def explain(score, x):
    ...     return Attribution(x)
    >>> found = find_label_errors(
    ...     linear_network(torch.ones(1)), x, labels=y, explain=explain, neighbours=2
    ... )
    >>> int(found.index[0, 0])
    2

    Args:
        model: what is explained.
        data: the inputs.
        labels: what each is said to be.
        explain: makes the explanations.
        neighbours: k.
        batch_size: inputs that are explained at a time.
    """
    admit_training(data, labels, 2)
    admission.batched(batch_size)
    admission.settled(model)
    data, labels = plain(data), plain(labels).long().to(data.device)
    said = explained_for_all(model, data, int(labels.max()) + 1, explain, batch_size)
    weight, index = strangeness(said, labels, neighbours).sort(descending=True, stable=True)
    return Examples(index[None], weight[None])


@method("northcutt2021confident", "zhu2022detecting")
def label_errors_found(
    data: Float[Tensor, "batch *input"],
    labels: Int[Tensor, " labels"],
    *,
    explain: Explain,
    train: Train,
    share: float = 0.1,
    neighbours: int = 5,
    repeats: int = 3,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Make some labels wrong, and count how many of them explanations find.

    $$
    \mathrm{found} = \frac{1}{k} \bigl|\{\, b : b \text{ is wrong and among the } k
    \text{ most suspicious} \,\}\bigr|
    $$

    k is the number of labels made wrong. A network is trained on all labels, right and wrong, and
    inputs are ranked by `find_label_errors`. Beside it stand rankings that need no explanation: by
    the loss of the network (`_by_loss`), by the same neighbourhood of the inputs themselves in
    place of their explanations (`_by_inputs`, which needs no network either), and by chance. The
    first k of each ranking are removed and the network is trained anew from the same seed; `gain`
    is the accuracy on other inputs that this brings, beside that of removing just the wrong ones
    (`gain_by_truth`).

    `advantage` is found less the better of the two rankings that need no explanation, in each
    training: below zero, explanations bring nothing here. Intervals are Student's over the
    trainings.

    >>> from unmask.planted import linear_network
    >>> def train(x, y, generator):  # a regression of the classes on the inputs
    ...     return linear_network(torch.linalg.lstsq(x, 2.0 * y - 1).solution)
    >>> x = torch.randn(80, 3, generator=torch.Generator().manual_seed(0))
    >>> from unmask.results import Attribution
    >>> def explain(score, x):
    ...     return Attribution(x * score.model[0].weight[0])
    >>> found = label_errors_found(x, (x[:, 0] > 0).long(), explain=explain, train=train)
    >>> found.numbers["found"] > found.numbers["found_by_chance"]
    True

    Args:
        data: inputs.
        labels: their classes, taken to be right.
        explain: makes the explanations.
        train: makes a trained network.
        share: of the labels that are made wrong.
        neighbours: of `find_label_errors`.
        repeats: trainings.
        generator: source of the rows, of the wrong labels and of the seeds of the trainings.
        batch_size: inputs that are explained at a time.
    """
    admit_training(data, labels, repeats)
    admission.batched(batch_size)
    if not 0 < share < 0.5:
        raise ValueError(
            f"A share of {share} of wrong labels cannot be found as the few among many. "
            "Give a share above 0 and below 0.5."
        )
    generator = admission.drawing(generator)
    data, labels = plain(data), plain(labels).long().to(data.device)
    looked_at = torch.linspace(0, 1, 21, dtype=torch.float64)
    each, drawn = [], []
    for _ in range(repeats):
        rows, held_out = (part.to(data.device) for part in parted(len(data), generator))
        x, y, test, test_y = data[rows], labels[rows], data[held_out], labels[held_out]
        given, wrong = mislabelled(y, int(labels.max()) + 1, share, generator)
        seed = seed_from(generator)
        model = retrained(train, x, given, seed)
        doubts = _doubts(model, x, given, explain, neighbours, generator, batch_size)
        doubts["_by_truth"] = wrong.double()
        before, k = accuracy(model, test, test_y, batch_size), int(wrong.sum())
        numbers, curves = {"accuracy": before}, {}
        for how, doubt in doubts.items():
            order = doubt.sort(descending=True, stable=True).indices
            kept = order[k:].sort().values
            anew = retrained(train, x[kept], given[kept], seed)
            numbers[f"gain{how}"] = accuracy(anew, test, test_y, batch_size) - before
            if how != "_by_truth":
                numbers[f"found{how}"] = float(wrong[order[:k]].double().mean())
                curves[f"found{how}"] = _found(wrong[order], looked_at)
        rivals = max(numbers["found_by_loss"], numbers["found_by_inputs"])
        each.append(numbers | {"advantage": numbers["found"] - rivals})
        drawn.append(curves)
    together = {name: torch.stack([one[name] for one in drawn]).mean(0) for name in drawn[0]}
    return Measurement(
        over_repeats(each, shares=("accuracy", *together)),
        {"looked_at": looked_at} | together,
        {"Wrong labels found": ("looked_at", *together)},
    ).to(data.device)


def explained_for_all(
    model: nn.Module,
    x: Float[Tensor, "batch *input"],
    classes: int,
    explain: Explain,
    batch_size: int | None = None,
) -> Float[Tensor, "batch numbers"]:
    """The explanations of each input for every class, in log-odds, one after another.

    Args:
        model: what is explained.
        x: the inputs.
        classes: how many.
        explain: makes the explanations.
        batch_size: inputs that are explained at a time.
    """
    scores = (log_odds(model, target) for target in range(classes))
    parts = [explained(score, x, explain, batch_size=batch_size).values for score in scores]
    return torch.cat([part.flatten(1) for part in parts], 1)


def strangeness(
    rows: Float[Tensor, "batch numbers"], labels: Int[Tensor, " batch"], neighbours: int
) -> Float[Tensor, " batch"]:
    """How much more each row is like its nearest of other labels than like those of its own.

    Args:
        rows: to be compared by the cosine of the angle between them.
        labels: of each.
        neighbours: that are compared with, of other labels and of its own.
    """
    if neighbours < 1:
        raise ValueError(f"{neighbours} neighbours tell nothing. Give at least 1.")
    direction = functional.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=1)
    every = torch.arange(len(rows), device=rows.device)
    found = []
    for some in every.split(max(1, _BLOCK // len(rows))):
        alike = direction[some] @ direction.T
        same = labels[some, None] == labels
        others = _nearest(alike, ~same, neighbours)
        own = _nearest(alike, same & (some[:, None] != every), neighbours)
        found.append(others - own)
    return torch.cat(found)


def mislabelled(
    labels: Int[Tensor, " batch"], classes: int, share: float, generator: torch.Generator
) -> tuple[Int[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """Labels of which a share is wrong, each other class being as likely, and which these are.

    Args:
        labels: the right ones.
        classes: how many.
        share: of the labels.
        generator: source of chance.
    """
    device, count = generator.device, max(1, round(share * len(labels)))
    chosen = torch.randperm(len(labels), generator=generator, device=device)[:count]
    step = torch.randint(1, classes, (count,), generator=generator, device=device)
    chosen, step = chosen.to(labels.device), step.to(labels)
    given, wrong = labels.clone(), torch.zeros_like(labels, dtype=torch.bool)
    given[chosen] = (labels[chosen] + step) % classes
    wrong[chosen] = True
    return given, wrong


def _doubts(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    explain: Explain,
    neighbours: int,
    generator: torch.Generator,
    batch_size: int | None,
) -> dict[str, Float[Tensor, " batch"]]:
    """How suspicious each input is, by each ranking."""
    said = explained_for_all(model, x, int(labels.max()) + 1, explain, batch_size)
    surprise = loss(model, labels)
    every = torch.arange(len(x), device=x.device).split(batch_size or len(x))
    with torch.no_grad():
        surprised = torch.cat([surprise(x[some], some) for some in every])
    flat = x.flatten(1)
    return {
        "": strangeness(said, labels, neighbours),
        "_by_loss": surprised,
        "_by_inputs": strangeness(flat - flat.mean(0), labels, neighbours),
        "_by_chance": torch.rand(len(x), generator=generator, device=generator.device).to(x.device),
    }


def _nearest(alike: Tensor, allowed: Tensor, count: int) -> Float[Tensor, " rows"]:
    """The mean of the largest that are allowed; where none is, the least that can be."""
    largest = alike.masked_fill(~allowed, -torch.inf).topk(min(count, alike.shape[1]), 1).values
    known = largest.isfinite()
    total = torch.where(known, largest, 0).sum(1)
    return torch.where(known.any(1), total / known.sum(1).clamp(min=1), -1.0)


def _found(ranked: Bool[Tensor, " batch"], looked_at: Tensor) -> Float[Tensor, " points"]:
    """The share of the wrong labels among the first so many."""
    reached = torch.cat([ranked.new_zeros(1), ranked]).double().cumsum(0).cpu() / int(ranked.sum())
    return reached[(looked_at * len(ranked)).round().long()]
