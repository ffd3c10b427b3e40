"""Right for the right reasons: training that keeps gradients away from what must not matter."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unmask import admission
from unmask.card import method
from unmask.internals import plain
from unmask.methods.saliency.descent import descend, seeded
from unmask.results import Surrogate

Labels = Int[Tensor, " labels"] | Float[Tensor, " labels *outputs"]
"""Classes; or, for a regression, numbers shaped like the output."""

_MARK = 0.67
"""The share of an input's largest gradient above which a part counts as used, as published."""

_MOST = 1000.0
"""The largest automatic weight: the authors' own, beyond which fresh networks hardly learn."""


@method("ross2017right")
def right_reasons(
    model: nn.Module,
    data: Float[Tensor, "batch *input"],
    *,
    labels: Labels,
    annotation: Bool[Tensor, "*annotated"],
    steps: int,
    weight: float | None = None,
    decay: float = 0.0,
    minibatch: int | None = None,
    rate: float = 0.01,
    generator: torch.Generator | None = None,
) -> Surrogate:
    r"""Train a copy of a network to be right without looking at what must not matter.

    $$
    L(\theta) = -\frac{1}{N} \sum_n \log p_{n y_n}
    + \lambda_1 \frac{1}{N} \sum_n \sum_d
      \Bigl( A_{nd} \frac{\partial}{\partial x_{nd}} \sum_k \log p_{nk} \Bigr)^2
    + \lambda_2 \lVert \theta \rVert^2
    $$

    The copy begins at the weights of the model, which stays as it is, and learns in the mode that
    the model is in: dropout acts if the model is in training mode. Layers that want no gradient
    do not learn. `fidelity` is the share of the model's answers that the copy gives too (for a
    regression, its R2): low after a fresh model, and after a trained one that was right for the
    wrong reasons. `text` tells what the two terms were before and after.

    A small gradient is asked for at the data only. What must not matter may still matter far from
    them, and a network may find the same wrong reason in parts that are not annotated. Networks of
    ReLU have no second derivative, but the penalty still reaches their weights.

    For a training loop of one's own there is `right_reasons_loss`; for the reasons that nobody
    annotated, `find_alternatives`.

    Args:
        model: p, which puts out a row of logits per input, or one logit for two classes.
        data: x.
        labels: y, the classes; numbers shaped like the output make it a regression, with squared
            error and the sum of the outputs in place of the sum of log p.
        annotation: A, True where an input must not matter; for all inputs, or with one axis more
            for each.
        steps: of Adam.
        weight: lambda_1; by default, as published, such that both terms begin alike, but at most
            1,000: the gradients of a fresh model say little of those to come. A model that was
            trained counts as one that knows only how common each class is.
        decay: lambda_2.
        minibatch: rows per step, by default all.
        rate: of Adam.
        generator: source of the order of the rows and of dropout.

    >>> from unmask.zoo.training import fresh
    >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> y, x[:, 0] = (x[:, 1] > 0).long(), x[:, 1]  # both columns tell the class
    >>> model = fresh(lambda: nn.Linear(2, 2), seed=0)
    >>> found = right_reasons(model, x, labels=y, annotation=torch.tensor([True, False]), steps=300)
    >>> slope = (found.model.weight[1] - found.model.weight[0]).abs()
    >>> bool(slope[1] > 50 * slope[0])
    True
    """
    _check(data, labels, annotation)
    generator = admission.drawing(generator)
    forbidden = plain(annotation).to(data.device).expand(data.shape)
    data, labels = plain(data), plain(labels).to(data.device)
    network = _copied(model)

    def reasons(rows: Tensor, weight: float) -> Reasons:
        return right_reasons_loss(
            network, data[rows], labels=labels[rows], annotation=forbidden[rows], weight=weight,
            decay=decay,
        )  # fmt: skip

    def measured() -> tuple[float, float]:
        with seeded(generator, data.device):
            found = reasons(torch.arange(min(len(data), minibatch or len(data))), 0.0)
        return float(found.answers.detach()), float(found.reasons.detach())

    wrong, steep = measured()
    if weight is None:
        weight = min(_MOST, max(wrong, _known(labels)) / steep) if steep > 0 else 1.0
    descend(
        network, lambda rows: reasons(rows, weight).loss, inputs=len(data), steps=steps,
        minibatch=minibatch, rate=rate, generator=generator,
    )  # fmt: skip
    less_wrong, less_steep = measured()
    network.eval()
    text = (
        f"weight of the reasons {weight:.4g}\n"
        f"answers: {wrong:.4g} before, {less_wrong:.4g} after\n"
        f"reasons: {steep:.4g} before, {less_steep:.4g} after"
    )
    return Surrogate(network, _fidelity(model, network, data, labels, minibatch), text)


@dataclass(frozen=True)
class Reasons:
    """The loss of a network that is to be right for the right reasons, and its parts.

    Args:
        loss: answers + weight * reasons + decay * size; has a graph.
        answers: the cross-entropy, or the squared error.
        reasons: how steep the answers are where they must not be.
        size: the sum of the squares of all parameters.
    """

    loss: Float[Tensor, ""]
    answers: Float[Tensor, ""]
    reasons: Float[Tensor, ""]
    size: Float[Tensor, ""]


def right_reasons_loss(
    model: Callable[[Tensor], Tensor],
    x: Float[Tensor, "batch *input"],
    *,
    labels: Labels,
    annotation: Bool[Tensor, "*annotated"],
    weight: float,
    decay: float = 0.0,
    of_label: bool = False,
) -> Reasons:
    """The loss of `right_reasons` on a batch, to be added up in a training loop of one's own.

    It costs about two of the usual steps, as it is differentiated twice. The published rule for
    the weight is that both terms begin in the same order of magnitude: `answers / reasons` of the
    first batch.

    Args:
        model: p.
        x: the batch.
        labels: y.
        annotation: A, for all inputs or for each.
        weight: lambda_1.
        decay: lambda_2.
        of_label: whether to ask for the slope of log p of the label alone, not of the sum over all
            classes.
    """
    if weight < 0 or decay < 0:
        raise ValueError(
            f"A weight of {weight} and a decay of {decay} would reward what they should punish. "
            "Give numbers of at least 0."
        )
    _check(x, labels, annotation)
    with torch.inference_mode(False), torch.enable_grad():
        point = plain(x).requires_grad_()
        answers, told = _answers(model(point.clone()), labels, of_label)
        slope = None
        if told.requires_grad:
            (slope,) = torch.autograd.grad(
                told.sum(), point, create_graph=True, retain_graph=True, allow_unused=True
            )
        if slope is None:
            raise ValueError(
                "The output does not depend on x by any differentiable path. "
                "Look for detach(), argmax or no_grad in the model."
            )
        wide = torch.promote_types(slope.dtype, torch.float32)
        forbidden = plain(annotation).to(slope.device, wide)
        reasons = (slope.to(wide) * forbidden).square().reshape(len(x), -1).sum(1).mean()
        parameters = model.parameters() if isinstance(model, nn.Module) else ()
        size = sum((p.to(wide).square().sum() for p in parameters), slope.new_zeros((), dtype=wide))
        loss = answers + weight * reasons + decay * size
    return Reasons(loss, answers, reasons, size)


@dataclass(frozen=True)
class Alternative:
    """A network that answers without what the ones before it relied on.

    Args:
        model: the network.
        annotation: what it was trained not to look at, for each input.
        accuracy: the share of the data that it answers right.
    """

    model: nn.Module
    annotation: Bool[Tensor, "batch *input"]
    accuracy: float


def find_alternatives(
    model: nn.Module,
    data: Float[Tensor, "batch *input"],
    *,
    labels: Int[Tensor, " labels"],
    steps: int,
    rounds: int = 5,
    enough: float = 0.9,
    mark: float = _MARK,
    weight: float | None = None,
    minibatch: int | None = None,
    rate: float = 0.01,
    generator: torch.Generator | None = None,
) -> tuple[Alternative, ...]:
    """Train one network after the other, each without the reasons of those before it.

    Where nobody can annotate what must not matter, this shows what a network could rely on: after
    each training, those parts of an input whose gradient is above a share of its largest are
    annotated, and the next network begins at the same weights. It ends with the first network
    that answers too little of what the first one did: then no further reason is in the data. That
    network is the last of the result.

    Args:
        model: where every training begins; it should be fresh.
        data: the inputs.
        labels: their classes.
        steps: of each training.
        rounds: networks at most.
        enough: the share of the first network's accuracy below which it ends.
        mark: the share of an input's largest gradient above which a part counts as used.
        weight: lambda_1 of `right_reasons`.
        minibatch: rows per step.
        rate: of Adam.
        generator: source of the order of the rows and of dropout.
    """
    if rounds < 1 or not 0 <= mark < 1 or not 0 <= enough <= 1:
        raise ValueError(
            f"{rounds} rounds that mark above {mark} and end below {enough} find nothing. "
            "Give at least 1 round, a mark from 0 up to but without 1, and a share up to 1."
        )
    generator = admission.drawing(generator)
    annotation = torch.zeros(data.shape, dtype=torch.bool, device=data.device)
    found: list[Alternative] = []
    for _ in range(rounds):
        trained = right_reasons(
            model, data, labels=labels, annotation=annotation, steps=steps, weight=weight,
            minibatch=minibatch, rate=rate, generator=generator,
        ).model  # fmt: skip
        assert isinstance(trained, nn.Module)  # so right_reasons says; Surrogate is wider
        right = [_classes(trained, part) for part in data.split(minibatch or len(data))]
        accuracy = float((torch.cat(right) == labels.to(data.device)).double().mean())
        found.append(Alternative(trained, annotation, accuracy))
        if accuracy < enough * found[0].accuracy:
            break
        slopes = [_slopes(trained, part) for part in data.split(minibatch or len(data))]
        size = torch.cat(slopes).abs().reshape(len(data), -1)
        used = size > mark * size.amax(1, keepdim=True)
        annotation = annotation | used.reshape(data.shape)
    return tuple(found)


def _answers(
    output: Tensor, labels: Tensor, of_label: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, "batch ..."]]:
    """The loss of the answers, and what has to be flat where an input must not matter."""
    output = output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
    labels = plain(labels).to(output.device)
    if labels.is_floating_point():
        if output.shape != labels.shape and output.shape != (*labels.shape, 1):
            raise ValueError(
                f"A regression needs labels shaped like the output {tuple(output.shape)}, but "
                f"got {tuple(labels.shape)}. Reshape them, or give classes as whole numbers."
            )
        wanted = labels.to(output).reshape(output.shape)
        return functional.mse_loss(output, wanted), output
    logp = _logits(output).log_softmax(1)
    if int(labels.max()) >= logp.shape[1] or int(labels.min()) < 0:
        raise ValueError(
            f"Classes run from {int(labels.min())} to {int(labels.max())}, but the model has "
            f"{logp.shape[1]} outputs. Number them from 0 to {logp.shape[1] - 1}."
        )
    of_labels = logp.gather(1, labels.long()[:, None])
    return -of_labels.mean(), of_labels if of_label else logp


def _logits(output: Tensor) -> Float[Tensor, "batch classes"]:
    """One output is the log-odds of class 1."""
    if output.ndim == 1:
        output = output[:, None]
    if output.ndim != 2:
        raise ValueError(
            "Classes are learned from one row of logits per input, but the model returned shape "
            f"{tuple(output.shape)}. Reduce it to [batch, classes]."
        )
    return torch.cat([torch.zeros_like(output), output], 1) if output.shape[1] == 1 else output


def _slopes(model: nn.Module, x: Tensor) -> Tensor:
    """The gradient of the sum of all log p."""
    with torch.inference_mode(False), torch.enable_grad():
        point = plain(x).requires_grad_()
        told = _logits(model(point.clone())).log_softmax(1)
        return torch.autograd.grad(told.sum(), point)[0]


@torch.no_grad()
def _classes(model: nn.Module, x: Tensor) -> Int[Tensor, " batch"]:
    return _logits(model(x.clone())).argmax(1)  # it may begin in place


@torch.no_grad()
def _fidelity(
    model: nn.Module, network: nn.Module, data: Tensor, labels: Tensor, minibatch: int | None
) -> float:
    model = _copied(model).eval()  # the model's own mode may draw at random, and is not ours to set
    parts = data.split(minibatch or len(data))
    if not labels.is_floating_point():
        same = [_classes(model, part) == _classes(network, part) for part in parts]
        return float(torch.cat(same).double().mean())
    old, new = (torch.cat([m(part.clone()).double() for part in parts]) for m in (model, network))
    spread = (old - old.mean(0)).square().sum()
    return float(1 - (new - old).square().sum() / spread) if spread > 0 else float(old.equal(new))


def _known(labels: Tensor) -> float:
    """The loss of a model that knows the labels' distribution, and no more."""
    if labels.is_floating_point():
        return float(labels.double().var(0, correction=0).mean())
    share = labels.long().bincount().double() / len(labels)
    return float(-torch.special.xlogy(share, share).sum())


def _copied(model: nn.Module) -> nn.Module:
    with torch.inference_mode(False):
        network = copy.deepcopy(model)
    for parameter in network.parameters():
        parameter.grad = None
    return network


def _check(x: Tensor, labels: Tensor, annotation: Tensor) -> None:
    admission.differentiable(x)
    if labels.ndim == 0 or len(labels) != len(x):
        raise ValueError(
            f"There are {len(x)} inputs, but labels have shape {tuple(labels.shape)}. "
            "Give one label per input."
        )
    if labels.is_floating_point():
        admission.finite("The labels", labels)
    if annotation.shape not in (x.shape, x.shape[1:]):
        raise ValueError(
            f"The annotation has shape {tuple(annotation.shape)}, one input "
            f"{tuple(x.shape[1:])}. Give one value per part of an input, for all {len(x)} inputs "
            "or with one axis more for each."
        )
