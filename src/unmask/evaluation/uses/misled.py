"""Networks that were led to a shortcut, made on purpose, beside others that were not."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from unmask.evaluation.explained import Explain, explained
from unmask.evaluation.retrained import Train, accuracy, parted, retrained, seed_from
from unmask.internals import plain
from unmask.score import log_odds, predicted


@dataclass(frozen=True)
class Misled:
    """A network that learned from inputs whose mark tells their class.

    Args:
        model: the network.
        data: what it learned from.
        labels: their classes.
        test: other inputs, whose marks tell nothing.
        test_labels: their classes.
        marked_test: the same inputs, whose marks tell the class again.
        attention: the share of what is said of an input that falls on each position.
        seed: of the training.
        control: a network that learned from marks that tell nothing.
        control_attention: the same of that one, on the same inputs.
    """

    model: nn.Module
    data: Float[Tensor, "batch *input"]
    labels: Int[Tensor, " batch"]
    test: Float[Tensor, "held_out *input"]
    test_labels: Int[Tensor, " held_out"]
    marked_test: Float[Tensor, "held_out *input"]
    attention: Float[Tensor, "*input"]
    seed: int
    control: nn.Module | None = None
    control_attention: Float[Tensor, "*input"] | None = None


def mislead(
    data: Float[Tensor, "batch *input"],
    labels: Int[Tensor, " batch"],
    annotation: Bool[Tensor, "*annotated"],
    explain: Explain,
    train: Train,
    *,
    repeats: int,
    purity: float,
    samples: int,
    controls: bool,
    generator: torch.Generator,
    batch_size: int | None,
) -> tuple[Misled, ...]:
    """Train networks on marked data, each on other rows and from another seed.

    Args:
        data: inputs without marks.
        labels: their classes.
        annotation: where the marks are.
        explain: makes the explanations.
        train: makes the networks.
        repeats: how many.
        purity: the share of the rows whose mark tells their class; the others' are random.
        samples: inputs that are explained, at most.
        controls: whether to train the same number on marks that tell nothing.
        generator: source of the rows, the marks and the seeds.
        batch_size: inputs that are explained at a time.
    """
    admit_marks(data, annotation, purity, samples)
    data, labels = plain(data), plain(labels).long().to(data.device)
    annotation, classes = plain(annotation).to(data.device), int(labels.max()) + 1

    def any_class(count: int) -> Tensor:
        drawn = torch.randint(classes, (count,), generator=generator, device=generator.device)
        return drawn.to(labels)

    def marked(x: Tensor, shade: Tensor) -> Tensor:
        return marks(x, shade, annotation, data, classes)

    def one() -> Misled:
        rows, held_out = (part.to(data.device) for part in parted(len(data), generator))
        x, y, test, test_y = data[rows], labels[rows], data[held_out], labels[held_out]
        sure = torch.rand(len(x), generator=generator, device=generator.device) < purity
        shade = torch.where(sure.to(y.device), y, any_class(len(x)))
        learned, asked = marked(x, shade), marked(test, any_class(len(test)))
        seed, other_seed = seed_from(generator), seed_from(generator)
        model, control, of_control = retrained(train, learned, y, seed), None, None
        if controls:
            control = retrained(train, marked(x, any_class(len(x))), y, other_seed)
            of_control = attention_of(control, asked[:samples], explain, batch_size)
        return Misled(
            model=model,
            data=learned,
            labels=y,
            test=asked,
            test_labels=test_y,
            marked_test=marked(test, test_y),
            attention=attention_of(model, asked[:samples], explain, batch_size),
            seed=seed,
            control=control,
            control_attention=of_control,
        )

    return tuple(one() for _ in range(repeats))


def marks(
    x: Float[Tensor, "batch *input"],
    shade: Int[Tensor, " batch"],
    annotation: Bool[Tensor, "*input"],
    data: Float[Tensor, "rows *input"],
    classes: int,
) -> Float[Tensor, "batch *input"]:
    """Inputs with a patch of one shade, from the lowest value of the data to the highest.

    Args:
        x: the inputs.
        shade: of each input, as the class that it stands for.
        annotation: where the patch is.
        data: say what the lowest and the highest value are.
        classes: as many shades.
    """
    low, high = data.min(), data.max()
    part = shade.to(data) / (classes - 1)
    value = low * (1 - part) + high * part
    return torch.where(annotation, value.view(-1, *[1] * (x.ndim - 1)), x)


def attention_of(
    model: nn.Module,
    x: Float[Tensor, "batch *input"],
    explain: Explain,
    batch_size: int | None = None,
) -> Float[Tensor, "*input"]:
    """The share of what is said of an input, whatever its sign, that falls on each position.

    The explanations are of the class that the network chooses, in log-odds.

    Args:
        model: the network.
        x: the inputs, over which the shares are averaged.
        explain: makes the explanations.
        batch_size: inputs that are explained at a time.
    """
    said = said_of(model, x, explain, batch_size).abs().flatten(1)
    total = said.sum(1, keepdim=True)
    return (said / torch.where(total > 0, total, 1)).mean(0).view(x.shape[1:])


def said_of(
    model: nn.Module,
    x: Float[Tensor, "batch *input"],
    explain: Explain,
    batch_size: int | None = None,
) -> Float[Tensor, "batch *input"]:
    """Explanations of the classes that a network chooses, a value for each position.

    Args:
        model: the network.
        x: the inputs.
        explain: makes the explanations.
        batch_size: inputs that are explained at a time.
    """
    score = log_odds(model, answers_of(model, x, batch_size))
    said = explained(score, x, explain, batch_size=batch_size).values
    if said.shape != x.shape:
        raise ValueError(
            f"The explanation has shape {tuple(said.shape)}, but the inputs {tuple(x.shape)}. "
            "Give a function that says something of every position."
        )
    return said


def answers_of(
    model: nn.Module, x: Float[Tensor, "batch *input"], batch_size: int | None = None
) -> Int[Tensor, " batch"]:
    """The classes that a network chooses.

    Args:
        model: the network.
        x: the inputs.
        batch_size: inputs in one call of the network.
    """
    parts = torch.arange(len(x), device=x.device).split(batch_size or len(x))
    return torch.cat([torch.as_tensor(predicted(model, x[some])) for some in parts])


def shares_on_mark(
    attention: Sequence[Float[Tensor, "*input"]], annotation: Bool[Tensor, "*input"]
) -> Float[Tensor, " networks"]:
    r"""How much more is said of a marked position than of another, from 0 to 1.

    $$
    s = \frac{m_R}{m_R + m_{\setminus R}}
    $$

    m is the mean over the positions of a part; one half, if the mark is like the rest, as where
    nothing is said of anything.

    Args:
        attention: of each network.
        annotation: R.
    """
    maps = torch.stack([one.double() for one in attention])
    inside = maps[:, annotation.to(maps.device)].mean(1)
    outside = maps[:, ~annotation.to(maps.device)].mean(1)
    both = inside + outside
    return torch.where(both > 0, inside / both, 0.5).cpu()


def learned_shortcut(
    runs: Sequence[Misled], batch_size: int | None = None
) -> dict[str, list[float]]:
    """How often the misled networks are right where marks tell the class, and where not."""
    return {
        "accuracy_with_mark": [
            accuracy(run.model, run.marked_test, run.test_labels, batch_size) for run in runs
        ],
        "accuracy": [accuracy(run.model, run.test, run.test_labels, batch_size) for run in runs],
    }


def admit_marks(
    data: Float[Tensor, "batch *input"],
    annotation: Bool[Tensor, "*annotated"],
    purity: float,
    samples: int,
) -> None:
    """Refuse a mark that does not fit the inputs, leaves nothing of them, or has one shade only."""
    if annotation.dtype != torch.bool or annotation.shape != data.shape[1:]:
        raise ValueError(
            f"The annotation is {annotation.dtype} of shape {tuple(annotation.shape)}, one input "
            f"has shape {tuple(data.shape[1:])}. Give True where the mark is, shaped like an input."
        )
    if not annotation.any() or annotation.all():
        raise ValueError(
            f"The mark covers {int(annotation.sum())} of {annotation.numel()} positions. "
            "Annotate some of them, but not all."
        )
    if not data.min() < data.max():
        raise ValueError(
            f"All values of the data are {float(data.min())}, so marks have one shade only. "
            "Give data that vary."
        )
    if not 0 < purity <= 1:
        raise ValueError(
            f"A share of {purity} of the marks tells nothing. Give a purity above 0, up to 1."
        )
    if samples < 1:
        raise ValueError(f"{samples} inputs explain nothing. Give samples of at least 1.")
