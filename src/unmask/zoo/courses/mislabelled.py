"""A course some of whose labels are flipped, and the samples on which it is watched."""

from collections.abc import Callable, Sequence

from jaxtyping import Int, Shaped
from torch import Tensor, nn

from unmask.players import Players
from unmask.views import View
from unmask.zoo.courses.course import Course, Sample, Settings
from unmask.zoo.courses.labels import flipped, in_turn

FLIPPED = 0.1
"""The share of labels that are flipped: enough to be learned by heart, too few to hide the rest."""


def mislabelled(
    name: str,
    make: Callable[[], nn.Module],
    inputs: Shaped[Tensor, "batch *input"],
    truth: Int[Tensor, " batch"],
    *,
    train: int,
    players: Callable[[int], Players],
    baseline: Callable[[int], Tensor],
    view: Callable[[int], View | None],
    classes: tuple[str, ...],
    settings: Settings,
    kept: int,
    followed: int,
    eligible: Sequence[int] | None = None,
    of: Callable[[int], Tensor] | None = None,
) -> Course:
    """A course in which a tenth of the labels is flipped.

    Args:
        name: of the course.
        make: makes the network.
        inputs: those to learn from, then those to test on.
        truth: their true classes.
        train: how many there are to learn from.
        players: the parts of the i-th input.
        baseline: what stands where a part of the i-th input is hidden.
        view: what a person sees of the i-th input.
        classes: the names of the network's outputs.
        settings: how it is taught.
        kept: samples of each of the three groups, the classes in turn.
        followed: how many of these are watched through the whole training.
        eligible: the inputs that may be samples; None for all.
        of: the i-th input as a sample; None for the row of the inputs.
    """
    labels, wrong = flipped(truth[:train], FLIPPED, len(classes))
    places = range(len(inputs)) if eligible is None else eligible

    def samples(those: Sequence[int]) -> tuple[Sample, ...]:
        return tuple(
            Sample(
                input=inputs[i] if of is None else of(i),
                target=int(labels[i] if i < train else truth[i]),
                truth=int(truth[i]),
                players=players(i),
                baseline=baseline(i),
                view=view(i),
            )
            for i in in_turn(those, truth, kept)
        )

    return Course(
        name=name,
        make=make,
        inputs=inputs[:train],
        labels=labels,
        flipped=wrong,
        test_inputs=inputs[train:],
        test_labels=truth[train:],
        clean=samples([i for i in places if i < train and not wrong[i]]),
        mistaught=samples([i for i in places if i < train and wrong[i]]),
        unseen=samples([i for i in places if i >= train]),
        followed=followed,
        classes=classes,
        settings=settings,
    )
