"""Prediction with a feature omitted: weight of evidence, and differences of information."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.internals import admit_any, refuse_broken
from unmask.masking import Batches, cached_rows
from unmask.methods.saliency.removal.evidence import (
    Belief,
    belief,
    check_laplace,
    counting,
    moved,
    refuse_certain,
)
from unmask.methods.saliency.removal.windows import written
from unmask.players import Players
from unmask.results import Attribution
from unmask.score import Score

_MARKS = 2**22
"""Pairs of an input and a replaced number that are compared at once."""


@method("robnik2008explaining", axioms=("dummy",))
def feature_omission(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    data: Float[Tensor, "rows *input"],
    players: Players | None = None,
    bins: int | None = 10,
    trained_on: int | float | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Weigh each feature as evidence: by how much its value raises the odds, in bits.

    $$
    A_i(x) = \log_2 \frac{p(y \mid x)}{1 - p(y \mid x)}
           - \log_2 \frac{p(y \mid x \setminus i)}{1 - p(y \mid x \setminus i)}, \qquad
    p(y \mid x \setminus i) = \sum_s p(x_i = a_s)\, p(y \mid x_i \leftarrow a_s)
    $$

    What the model says without a feature is what it says on average over the values that the
    feature has in the data, all others staying as they are. Two features that tell the same hide
    each other: of "a or b" neither is missed when both are there. And values are put in that may
    never go with the rest of x; `prediction_difference` asks what would.

    One bit is evidence that doubles the odds. Probabilities are corrected after Laplace to
    (p N + 1) / (N + K), of N rows in K classes, so that certainty is no infinite evidence.

    Args:
        score: log-odds of the class y; another score is taken for log-odds.
        x: the inputs.
        data: rows that tell how often each value occurs.
        players: columns that are left out together, such as those of a one-hot code; without
            them each is left out by itself.
        bins: a column of more values is cut into that many bins of equal frequency, each
            standing in with its mean; None asks for every value. Of players with more than one
            column every distinct row is tried.
        trained_on: N, by default the rows of the data; math.inf leaves probabilities as they are.
        batch_size: rows in one call of the model; by default what a processor's cache holds.

    >>> from unmask.score import log_odds
    >>> only_first = log_odds(lambda x: 2.0 * x[:, :1], 1)
    >>> data = torch.tensor([[1.0, 5.0], [-1.0, 7.0]])
    >>> feature_omission(only_first, data[:1], data=data, trained_on=1000).values
    tensor([[2.8750, 0.0000]])
    """
    omitted = _omitted(score, x, data, players, bins, trained_on, batch_size)
    return omitted.attribution(lambda whole, without: whole.odds[:, None] - without.odds)


@method("robnik2008explaining", axioms=("dummy",))
def information_difference(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    data: Float[Tensor, "rows *input"],
    players: Players | None = None,
    bins: int | None = 10,
    trained_on: int | float | None = None,
    batch_size: int | None = None,
) -> Attribution:
    r"""Count by how many bits each feature makes the class less of a surprise.

    $$
    A_i(x) = \log_2 p(y \mid x) - \log_2 p(y \mid x \setminus i)
    $$

    The same as `feature_omission` but for the measure. It is not symmetric: what speaks against
    the class is counted in other bits than what speaks for it.

    Args:
        score: log-odds of the class y; another score is taken for log-odds.
        x: the inputs.
        data: rows that tell how often each value occurs.
        players: columns that are left out together.
        bins: into which a column of more values is cut.
        trained_on: N of Laplace's correction.
        batch_size: rows in one call of the model.

    >>> from unmask.score import log_odds
    >>> only_first = log_odds(lambda x: 2.0 * x[:, :1], 1)
    >>> data = torch.tensor([[1.0, 5.0], [-1.0, 7.0]])
    >>> information_difference(only_first, data[:1], data=data, trained_on=1000).values
    tensor([[0.8156, 0.0000]])
    """
    omitted = _omitted(score, x, data, players, bins, trained_on, batch_size)
    return omitted.attribution(lambda whole, without: whole.of.log2()[:, None] - without.of.log2())


@method("robnik2008explaining", axioms=("dummy",))
def probability_difference(
    score: Score,
    x: Float[Tensor, "batch *input"],
    *,
    data: Float[Tensor, "rows *input"],
    players: Players | None = None,
    bins: int | None = 10,
    batch_size: int | None = None,
) -> Attribution:
    r"""See by how much each feature raises the probability of the class.

    $$
    A_i(x) = p(y \mid x) - p(y \mid x \setminus i)
    $$

    The same as `feature_omission` but for the measure, which hardly moves where the model is
    certain. Nothing is corrected.

    Args:
        score: log-odds of the class y; another score is taken for log-odds.
        x: the inputs.
        data: rows that tell how often each value occurs.
        players: columns that are left out together.
        bins: into which a column of more values is cut.
        batch_size: rows in one call of the model.

    >>> from unmask.score import log_odds
    >>> only_first = log_odds(lambda x: 2.0 * x[:, :1], 1)
    >>> data = torch.tensor([[1.0, 5.0], [-1.0, 7.0]])
    >>> probability_difference(only_first, data[:1], data=data).values
    tensor([[0.3808, 0.0000]])
    """
    omitted = _omitted(score, x, data, players, bins, float("inf"), batch_size)
    return omitted.attribution(lambda whole, without: whole.of[:, None] - without.of)


@dataclass(frozen=True)
class _Omitted:
    """What the model believes of each input, and without each of its features."""

    whole: Belief
    without: Belief
    shape: tuple[int, ...]
    dtype: torch.dtype
    names: tuple[str, ...] | None
    rows: int

    def attribution(self, measure: Callable[[Belief, Belief], Tensor]) -> Attribution:
        values = measure(self.whole, self.without)
        refuse_certain(values)
        shaped = values.view(len(values), *self.shape).to(self.dtype)
        return Attribution(shaped, names=self.names, evaluations=self.rows)


@dataclass(frozen=True)
class _Replacements:
    """Every value that stands in for a feature.

    A feature of fewer columns than the widest names its first column again.
    """

    columns: Int[Tensor, "features widest"]
    feature: Int[Tensor, " values"]
    numbers: Float[Tensor, "values widest"]
    weight: Float[Tensor, " values"]


def _omitted(
    score: Score,
    x: Float[Tensor, "batch *input"],
    data: Float[Tensor, "rows *input"],
    players: Players | None,
    bins: int | None,
    trained_on: int | float | None,
    batch_size: int | None,
) -> _Omitted:
    admit_any(score, x, batch_size)
    _check(x, data, players, bins)
    trained_on = float(len(data)) if trained_on is None else trained_on
    check_laplace(trained_on)
    x = x.detach()
    owner = torch.arange(x[0].numel()) if players is None else players.owner.flatten()
    replacements = _replacements(data.detach().to(x.device, torch.float64), owner, bins)
    score, classes = counting(score)
    batches = Batches(score, batch_size or cached_rows(x[0]))
    at_once = max(1, _MARKS // replacements.numbers.numel())
    values, changes, rows = [], [], 0
    with torch.inference_mode(False), torch.no_grad():
        for inputs in torch.arange(len(x), device=x.device).split(at_once):
            value, change, run = _changes(batches, x[inputs], inputs, replacements)
            values.append(value)
            changes.append(change)
            rows += run
    whole = belief(torch.cat(values))
    spread = Belief(whole.of[:, None], whole.against[:, None])
    without = moved(spread, torch.cat(changes))
    return _Omitted(
        whole.corrected(trained_on, classes()),
        without.corrected(trained_on, classes()),
        tuple(x.shape[1:]) if players is None else (len(players.names),),
        x.dtype,
        None if players is None else players.names,
        rows,
    )


def _changes(
    batches: Batches,
    x: Float[Tensor, "some *input"],
    inputs: Int[Tensor, " some"],
    replacements: _Replacements,
) -> tuple[Float[Tensor, " some"], Float[Tensor, "some features"], int]:
    """The log-odds of each input, and how the probability moves as each feature is averaged out.

    What moves is averaged, not what is reached: then a feature that the model does not look at
    makes no difference at all.
    """
    columns = replacements.columns[replacements.feature]
    numbers = replacements.numbers.to(x.dtype)
    own = x.flatten(1)[:, columns]
    differs = (own != numbers).any(-1)  # where not, the row would be x itself
    source, which = differs.nonzero().unbind(1)

    def rows() -> Iterator[Tensor]:
        for some, block in written(x, source, batches.rows):
            block.scatter_(1, columns[which[some]], numbers[which[some]])
            yield block.view(-1, *x.shape[1:])

    values = batches(x.split(batches.rows), len(x), inputs).double()
    refuse_broken(batches.score, values)
    change = values.new_zeros(len(x), len(replacements.columns))
    if len(source):
        replaced = batches(rows(), len(source), inputs[source]).double()
        refuse_broken(batches.score, replaced)
        moves = replacements.weight[which] * (replaced.sigmoid() - values[source].sigmoid())
        change.index_put_((source, replacements.feature[which]), moves, accumulate=True)
    return values, change, len(x) + len(source)


def _replacements(
    data: Float[Tensor, "rows *input"], owner: Int[Tensor, " positions"], bins: int | None
) -> _Replacements:
    data, owner = data.flatten(1), owner.to(data.device)
    groups = [(owner == i).nonzero()[:, 0] for i in range(int(owner.max()) + 1)]
    widest = max(len(group) for group in groups)
    columns, feature, numbers, weights = [], [], [], []
    for i, group in enumerate(groups):
        found, count = data[:, group].unique(dim=0, return_counts=True)
        if len(group) == 1 and bins is not None and len(found) > bins:
            found, count = _binned(found, count, bins)
        padded = torch.cat([torch.arange(len(group)), torch.zeros(widest - len(group)).long()])
        columns.append(group[padded.to(group.device)])
        numbers.append(found[:, padded.to(found.device)])
        weights.append(count / len(data))
        feature.append(torch.full((len(found),), i, device=data.device))
    return _Replacements(
        torch.stack(columns), torch.cat(feature), torch.cat(numbers), torch.cat(weights).double()
    )


def _binned(
    values: Float[Tensor, "values 1"], count: Int[Tensor, " values"], bins: int
) -> tuple[Float[Tensor, "bins 1"], Int[Tensor, " bins"]]:
    """The means of bins that hold about as many rows each; equal values stay together."""
    middle = count.cumsum(0) - count / 2
    _, bin_of = (middle * bins / count.sum()).floor().unique(return_inverse=True)
    filled = int(bin_of[-1]) + 1
    rows = count.new_zeros(filled).index_add(0, bin_of, count)
    sums = values.new_zeros(filled).index_add(0, bin_of, values[:, 0] * count)
    return (sums / rows)[:, None], rows


def _check(
    x: Float[Tensor, "batch *input"],
    data: Float[Tensor, "rows *input"],
    players: Players | None,
    bins: int | None,
) -> None:
    if not x.is_floating_point():
        raise TypeError(
            f"The values of a column are averaged into bins, but x holds {x.dtype}, such as token "
            "ids. Explain their embeddings, or take a method of a game."
        )
    admission.finite("The data", data)
    if data.ndim == 0 or len(data) == 0 or data.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"The data has shape {tuple(data.shape)}, but an input {tuple(x.shape[1:])}. "
            "Give at least one row, shaped like the inputs."
        )
    if players is not None:
        players.refuse_other(x.shape[1:])
    if bins is not None and bins < 1:
        raise ValueError(f"A column cannot be cut into {bins} bins. Give at least 1, or None.")
