"""A course: a training that can be watched, and the samples on which it is watched."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Int, Shaped
from torch import Tensor, nn

from unmask.game import Game
from unmask.masking import masked
from unmask.players import Players
from unmask.score import log_odds
from unmask.views import View


@dataclass(frozen=True)
class Settings:
    """How a course is taught: plain steps at a rate that stays as it is.

    A rate that falls would end the training by itself, and so hide what too much of it does.

    Args:
        steps: updates of the parameters.
        batch_size: inputs per step.
        rate: the learning rate.
        momentum: of stochastic gradient descent; None for Adam.
        first: the first checkpoint after the start.
        growth: how many times later than one checkpoint the next one lies.
        padding: the id that fills up short texts, if the inputs are texts.
    """

    steps: int
    batch_size: int = 128
    rate: float = 0.01
    momentum: float | None = 0.9
    first: int = 1
    growth: float = 1.5
    padding: int | None = None

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps at which one looks: the start, a row that grows by a factor, and the end."""
        met = {0, self.steps}
        step = float(self.first)
        while step < self.steps:
            met.add(round(step))
            step *= self.growth
        return tuple(sorted(met))


@dataclass(frozen=True)
class Sample:
    """One input on which a network is watched.

    Args:
        input: without a batch axis.
        target: the class whose score is read: of training data the one that is taught.
        truth: the class that it is.
        players: its parts, equally many for all samples of a course.
        baseline: what stands where a part is hidden.
        view: what a person sees of it, where there is something to see.
    """

    input: Tensor
    target: int
    truth: int
    players: Players
    baseline: Tensor
    view: View | None = None

    def game(self, model: nn.Module) -> Game:
        """The log-odds of the target on every coalition of the parts.

        Args:
            model: in evaluation mode.
        """
        return masked(log_odds(model, self.target), self.input, self.players, self.baseline)


@dataclass(frozen=True)
class Course:
    """A training that can be watched.

    The data, the labels that are flipped and the samples are the same whatever the seed, which
    decides on the weights at the start and on the order of the data.

    Args:
        name: of the course, which is also that of the function that makes it.
        make: makes the network.
        inputs: what it learns from.
        labels: what it is taught of them.
        flipped: which labels are not the true ones.
        test_inputs: what it does not learn from.
        test_labels: the true classes of these.
        clean: training inputs whose label is true.
        mistaught: training inputs whose label is flipped.
        unseen: test inputs, of the same classes in turn.
        followed: how many of each of the three are watched through the whole training: the first.
        classes: the names of the network's outputs.
        settings: how it is taught.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Shaped[Tensor, "batch *input"]
    labels: Int[Tensor, " batch"]
    flipped: Bool[Tensor, " batch"]
    test_inputs: Shaped[Tensor, "test *input"]
    test_labels: Int[Tensor, " test"]
    clean: tuple[Sample, ...]
    mistaught: tuple[Sample, ...]
    unseen: tuple[Sample, ...]
    followed: int
    classes: tuple[str, ...]
    settings: Settings

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Those that are watched: clean ones, then mistaught ones, then unseen ones."""
        groups = (self.clean, self.mistaught, self.unseen)
        return tuple(sample for group in groups for sample in group[: self.followed])

    @property
    def watched_clean(self) -> slice:
        """Where the clean samples stand among those that are watched."""
        return slice(0, len(self.clean[: self.followed]))

    @property
    def watched_mistaught(self) -> slice:
        """Where the mistaught samples stand among those that are watched."""
        begin = self.watched_clean.stop
        return slice(begin, begin + len(self.mistaught[: self.followed]))

    @property
    def watched_unseen(self) -> slice:
        """Where the unseen samples stand among those that are watched."""
        begin = self.watched_mistaught.stop
        return slice(begin, begin + len(self.unseen[: self.followed]))
