"""The types of result. All are frozen values; none draws, writes or solves itself.

`plot` (unmask.plot), `save` and `load` (unmask.store) and `frame` (unmask.store) take any of
them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from unmask.bootstrap import CONFIDENCE, bootstrap, means


@dataclass(frozen=True)
class Attribution:
    """What each part of each input contributes to the score.

    Args:
        values: shaped like the inputs; of a game, one row with a value per player.
        gap: (score of the input - score of the baseline) - sum of the values, per input;
            None where the method promises no such sum.
        names: of the last axis, where that is players or columns.
        evaluations: inputs that the model was run on to find this.
        errors: standard errors of the values, where they were sampled.
    """

    values: Float[Tensor, "batch *input"]
    gap: Float[Tensor, " batch"] | None = None
    names: tuple[str, ...] | None = None
    evaluations: int | None = None
    errors: Float[Tensor, "batch *input"] | None = None


@dataclass(frozen=True)
class Interactions:
    """A game written as AND and OR terms: the logical model of an input.

    A term T of effect I adds I to every coalition that holds all of T (AND) or any of T (OR).
    Calling the object evaluates that sum, so an explanation of a game is a game.

    Args:
        members: T, one row per term.
        is_or: whether a term is an OR.
        effects: I.
        empty: the value of the empty coalition.
        names: of the players.
        gap: (L1 of these terms - proven lower bound) / L1; None where no bound was sought.
        evaluations: coalitions that were evaluated to find this.
        residual: the share of the game's variance that the terms leave unexplained, on coalitions
            that they were not found from; None where that was not measured.
        residual_near_full: the same on coalitions that lack at most a fifth of the players.
    """

    members: Bool[Tensor, "terms players"]
    is_or: Bool[Tensor, " terms"]
    effects: Float[Tensor, " terms"]
    empty: float
    names: tuple[str, ...]
    gap: float | None = None
    evaluations: int | None = None
    residual: float | None = None
    residual_near_full: float | None = None

    @property
    def order(self) -> Int[Tensor, " terms"]:
        """How many players each term has."""
        return self.members.sum(-1)

    @property
    def firing(self) -> Float[Tensor, " terms"]:
        """The share p of all masks on which each term fires: 2^-|T| for an AND, 1 - 2^-|T| else."""
        all_of_it = 2.0 ** -self.order.to(self.effects)
        return torch.where(self.is_or, 1 - all_of_it, all_of_it)

    @property
    def spread(self) -> Float[Tensor, " terms"]:
        r"""How much each term moves the value: the standard deviation of what it adds.

        $$
        \sigma_T = |I(T)| \sqrt{p_T\,(1 - p_T)}
        $$

        over all masks, where p is the share on which it fires. An effect on very many players is
        felt on hardly any mask, or on nearly all, so that terms are ranked by this where few are
        to stand for all.
        """
        return self.effects.abs() * (self.firing * (1 - self.firing)).sqrt()

    def __call__(self, masks: Bool[Tensor, "batch players"]) -> Float[Tensor, " batch"]:
        # A slice at a time: as one matrix, all masks by all terms would outgrow any memory.
        slices = masks.split(max(1, 2**20 // max(1, len(self.effects))))
        return torch.cat([self._some(some) for some in slices])

    def _some(self, masks: Bool[Tensor, "some players"]) -> Float[Tensor, " some"]:
        # Counts are small whole numbers, which every float type that is used here holds exactly.
        present = masks.to(self.effects) @ self.members.to(self.effects).T  # |S and T|
        fires = torch.where(self.is_or, present > 0, present == self.order)
        return self.empty + fires.to(self.effects) @ self.effects


@dataclass(frozen=True)
class Examples:
    """Cases that explain: inputs of a dataset with weights, or inputs that were made.

    Args:
        index: places in the dataset.
        weight: how much each case counts.
        inputs: the cases themselves, where they were made and stand in no dataset.
    """

    index: Int[Tensor, "batch cases"] | None = None
    weight: Float[Tensor, "batch cases"] | None = None
    inputs: Shaped[Tensor, "batch *input"] | None = None


@dataclass(frozen=True)
class Synthesis:
    """Inputs made by optimisation.

    Args:
        inputs: what was made.
        score: the score that each reached.
        trace: the scores on the way, one row per input.
    """

    inputs: Float[Tensor, "batch *input"]
    score: Float[Tensor, " batch"]
    trace: Float[Tensor, "batch steps"]


@dataclass(frozen=True)
class Surrogate:
    """A simpler model in place of the network.

    Args:
        model: an estimator with `predict`, or a module.
        fidelity: share of the network's answers that the model gives too, or its R2.
        text: the model in words or rules, where it reads as such.
    """

    model: object
    fidelity: float
    text: str = ""


@dataclass(frozen=True)
class Measurement:
    """Named numbers and curves.

    Args:
        numbers: single values by name.
        curves: by name; the columns of one curve table share their length.
        panels: which curves are compared, by title: the curve that they are drawn over, then
            those that share the axes. What stands in no panel is drawn by itself.
    """

    numbers: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Float[Tensor, " points"]] = field(default_factory=dict)
    panels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = misdrawn(self.panels, self.curves)
        if wrong:
            raise ValueError(
                f"This Measurement cannot be drawn: {wrong}. Its curves are "
                f"{', '.join(map(repr, self.curves)) or 'none'}. Name those of a panel: first what "
                "they are drawn over, then the curves, all of one length."
            )

    def to(self, device: torch.device) -> "Measurement":
        """The same with its curves on a device, as a method gives them back on that of its input.

        Args:
            device: where the curves are to be.
        """
        curves = {name: curve.to(device) for name, curve in self.curves.items()}
        return Measurement(self.numbers, curves, self.panels)


def misdrawn(panels: Mapping[str, Sequence[str]], curves: Mapping[str, Tensor]) -> str | None:
    """What is wrong with panels, or None.

    Args:
        panels: names of curves, by title.
        curves: those that there are.
    """
    for title, names in panels.items():
        if len(names) < 2:
            return f"its panel {title!r} names {len(names)} of the two curves that it takes"
        unknown = [name for name in names if name not in curves]
        if unknown:
            return f"its panel {title!r} shows {unknown[0]!r}, which is no curve of it"
        if len({curves[name].shape for name in names}) > 1:
            return f"the curves of its panel {title!r} differ in length"
    return None


@dataclass(frozen=True)
class Rating:
    """How good the explanations of some inputs are, by one metric.

    Args:
        values: of each input; NaN where the metric has no meaning for it.
        higher_is_better: which way the metric points.
        curve: what the values were read from, a row per input.
        at: where the points of the curve lie.
        evaluations: inputs that the model was run on to find this.
    """

    values: Float[Tensor, " inputs"]
    higher_is_better: bool
    curve: Float[Tensor, "inputs points"] | None = None
    at: Float[Tensor, " points"] | None = None
    evaluations: int | None = None

    @property
    def mean(self) -> float:
        """Over the inputs for which the metric has a meaning."""
        return float(self.values.double().nanmean())

    @property
    def undefined(self) -> int:
        """For how many inputs the metric has no meaning."""
        return int(self.values.isnan().sum())

    def interval(
        self, confidence: float = CONFIDENCE, *, generator: torch.Generator | None = None
    ) -> tuple[float, float]:
        """Between which values the mean lies, by the bootstrap over the inputs.

        Args:
            confidence: the share of the draws that the interval holds.
            generator: source of the draws.
        """
        known = self.values[~self.values.isnan()].double().cpu()
        if len(known) == 0:
            return float("nan"), float("nan")
        found = bootstrap(
            lambda weights: {"mean": means(weights, known)},
            len(known),
            confidence=confidence,
            generator=generator,
        )
        return float(found["mean_low"]), float(found["mean_high"])


@dataclass(frozen=True)
class Dependence:
    """How an output changes with one or two columns, over the rows of a dataset.

    Args:
        points: values of the columns, a row for every place at which the model was asked. Of two
            columns, every value of the first with every value of the second, the second running
            faster.
        average: the output there, averaged over the rows of the data.
        curves: the output of each row by itself, where that was asked for.
        observed: the columns as they are in the data, so that one sees where points are rare.
        names: of the columns.
    """

    points: Float[Tensor, "points columns"]
    average: Float[Tensor, " points"]
    curves: Float[Tensor, "rows points"] | None = None
    observed: Float[Tensor, "observed columns"] | None = None
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Hierarchy:
    """Sets of players, each within the next, with a score of their own.

    Two sets of a hierarchy are disjoint, or one holds the other. Its leaves are single players.

    Args:
        members: a row per set.
        score: of each set.
        step: when each set was made, counted from 0 for the leaves.
        names: of the players.
        evaluations: sets that were scored to find this.
    """

    members: Bool[Tensor, "nodes players"]
    score: Float[Tensor, " nodes"]
    step: Int[Tensor, " nodes"]
    names: tuple[str, ...]
    evaluations: int | None = None


@dataclass(frozen=True)
class JointInteractions:
    """The games of several networks on one input, written with terms in common.

    Args:
        members: T, one row per term.
        is_or: whether a term is an OR.
        effects: I of each network; zero where a network does without the term.
        empty: the value of the empty coalition, of each network.
        names: of the players.
        networks: how the networks are called.
        gap: (what was minimised over all networks - proven lower bound) / what was minimised.
        evaluations: coalitions that were evaluated to find this, of all networks together.
    """

    members: Bool[Tensor, "terms players"]
    is_or: Bool[Tensor, " terms"]
    effects: Float[Tensor, "networks terms"]
    empty: Float[Tensor, " networks"]
    names: tuple[str, ...]
    networks: tuple[str, ...]
    gap: float | None = None
    evaluations: int | None = None

    def of(self, network: int) -> Interactions:
        """The logic of one network, without the terms that it does without."""
        used = self.effects[network] != 0
        return Interactions(
            self.members[used],
            self.is_or[used],
            self.effects[network][used],
            float(self.empty[network]),
            self.names,
        )


@dataclass(frozen=True)
class AndOrGraph:
    """AND and OR terms, and words: sets of players that several of the terms have in common.

    The leaves of the graph are the players, above them lie the words, above these the terms, and
    their sum is the value. A term is made of words and of the players that no word of it holds.

    Args:
        members: T, one row per term.
        is_or: whether a term is an OR.
        effects: I.
        empty: the value of the empty coalition.
        names: of the players.
        words: the players of each word, two at least.
        words_are_or: whether a word is an OR of its players; it serves terms of its own kind.
        uses: which words each term is made of; those of one term do not overlap.
        evaluations: coalitions that were evaluated to find this.
        unfaithfulness: the squared error of the terms on all coalitions, relative to that of the
            value of the empty one.
    """

    members: Bool[Tensor, "terms players"]
    is_or: Bool[Tensor, " terms"]
    effects: Float[Tensor, " terms"]
    empty: float
    names: tuple[str, ...]
    words: Bool[Tensor, "words players"]
    words_are_or: Bool[Tensor, " words"]
    uses: Bool[Tensor, "terms words"]
    evaluations: int | None = None
    unfaithfulness: float | None = None

    @property
    def terms(self) -> Interactions:
        """The same without the words: what the graph evaluates to."""
        return Interactions(self.members, self.is_or, self.effects, self.empty, self.names)


Result = (
    Attribution
    | Interactions
    | Examples
    | Synthesis
    | Surrogate
    | Measurement
    | Rating
    | Dependence
    | Hierarchy
    | JointInteractions
    | AndOrGraph
)
