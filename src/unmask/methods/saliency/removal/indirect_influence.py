"""Audit for indirect influence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.methods.saliency.removal.repair import Repaired, categories, groups_of, numbers
from unmask.players import Players, features
from unmask.results import Measurement
from unmask.score import predicted

Quality = Callable[[Tensor, Tensor], float]
"""How good predicted classes are, given the true ones."""


def accuracy(classes: Int[Tensor, " batch"], labels: Int[Tensor, " batch"]) -> float:
    """The share of right answers.

    Args:
        classes: what was predicted.
        labels: what is true.
    """
    return float((classes == labels).double().mean())


@method("adler2018auditing")
def indirect_influence(
    model: Callable[[Tensor], Tensor],
    data: Float[Tensor, "batch columns"],
    *,
    labels: Int[Tensor, " batch"],
    feature: int | Sequence[int] | None = None,
    players: Players | None = None,
    categorical: Sequence[int] = (),
    geometric: bool = False,
    quality: Quality = accuracy,
    steps: int = 10,
    names: Sequence[str] | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Measurement:
    r"""Remove a column and every trace of it in the others, and see how much worse the model gets.

    $$
    \mathrm{II}(A) = q\bigl(f(X)\bigr) - q\bigl(f(X \setminus_1 A)\bigr)
    $$

    At level 1 of repair the column A is constant, and each of the others is distributed in the same
    way whatever A was: a number keeps its rank among the rows that are alike in A and takes the
    value that the median of those groups has at that rank (or, geometric, the mean); of a
    category as few rows as possible change until it is as frequent in all groups. Levels between
    go a part of the way. So a model that never reads A, but a column that stands for it, is found
    out: a postcode for race. The columns are repaired one by one; what only several together tell
    of A stays.

    The numbers are, for each column, the indirect influence and the direct one, where A alone is
    made constant. The curves are the quality over the levels and the share of answers that stay the
    same. Where the model is hardly better than chance, influence says little.

    Args:
        model: gives a row of logits per input, or one number above zero for the second class.
        data: the rows X.
        labels: their true classes.
        feature: A, a place or several; without it, every column in turn.
        players: who owns which columns; then features are players, and several columns of one, as
            those of a one-hot code, are one category.
        categorical: features whose numbers are codes of categories.
        geometric: repairs numbers to the mean of the groups, along the number line, where values
            arise that no row has.
        quality: q of predicted and true classes.
        steps: levels of repair above 0.
        names: of the features.
        generator: chooses rows where a category must change, and between equal numbers.
        batch_size: inputs in one call of the model.

    >>> a = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    >>> w = torch.tensor([1.0, 2.0, 3.0, 11.0, 12.0, 13.0])
    >>> reads_w = lambda x: x[:, 1] - 7.5
    >>> found = indirect_influence(reads_w, torch.stack([a, w], 1), labels=a.long(), feature=0)
    >>> found.numbers["direct influence of feature 1"]
    0.0
    >>> found.numbers["indirect influence of feature 1"]
    0.5
    """
    _check(model, data, labels, steps, batch_size)
    data = data.detach()
    played = players or features(data.shape[1])
    played.refuse_other(data.shape[1:])
    called = played.names if names is None else tuple(names)
    audited = _audited(feature, len(played.names), called)
    table = _table(data, played, categorical)
    size = batch_size or max(64, 2**18 // data.shape[1])

    def answers(rows: Tensor) -> Tensor:
        return torch.cat([predicted(model, part.clone()) for part in rows.split(size)])

    plain = answers(data)
    base = float(quality(plain, labels))
    levels = [step / steps for step in range(steps + 1)]
    found, curves = {"quality": base}, {"repair": data.new_tensor(levels, dtype=torch.float64)}
    for a in audited:
        name, chance = called[a], admission.drawing(generator)
        repaired = table.without(a, geometric, chance, explicit=feature is not None)
        at = [plain, *(answers(repaired(level)) for level in levels[1:])]
        good = [float(quality(classes, labels)) for classes in at]
        direct = float(quality(answers(table.constant(a)), labels))
        found[f"indirect influence of {name}"] = base - good[-1]
        found[f"direct influence of {name}"] = base - direct
        curves[f"quality without {name}"] = data.new_tensor(good, dtype=torch.float64)
        same = [float((classes == plain).double().mean()) for classes in at]
        curves[f"same answers without {name}"] = data.new_tensor(same, dtype=torch.float64)
    without = [f"without {called[a]}" for a in audited]
    panels = {one: ("repair", f"quality {one}", f"same answers {one}") for one in without}
    return Measurement(found, curves, panels)


@dataclass(frozen=True)
class _Table:
    """The data, feature by feature.

    Args:
        data: the rows.
        columns: of each feature.
        is_category: whether its numbers are codes, or it has several columns.
    """

    data: Float[Tensor, "rows columns"]
    columns: tuple[Tensor, ...]
    is_category: tuple[bool, ...]

    def codes(self, feature: int) -> tuple[Tensor, Tensor]:
        """The different values of a feature, and which of them each row has."""
        different, codes = self.data[:, self.columns[feature]].unique(dim=0, return_inverse=True)
        return different, codes

    def constant(self, feature: int) -> Float[Tensor, "rows columns"]:
        """The data with one feature at its median, or its commonest value."""
        columns, changed = self.columns[feature], self.data.clone()
        if self.is_category[feature]:
            different, codes = self.codes(feature)
            changed[:, columns] = different[codes.bincount().argmax()]
        else:
            changed[:, columns] = self.data[:, columns].median(0).values
        return changed

    def without(
        self, feature: int, geometric: bool, generator: torch.Generator, explicit: bool
    ) -> Repaired:
        """The data at a level of repair above 0: no trace of the feature at level 1."""
        different, codes = self.codes(feature)
        if len(different) < 2:
            if explicit:
                raise ValueError(
                    f"Feature {feature} is the same in all {len(codes)} rows, so nothing can tell "
                    "it. Audit a feature that varies."
                )
            return lambda level: self.data
        category = self.is_category[feature]
        first = self.data[:, self.columns[feature][0]]
        group = groups_of(codes.double() if category else first, category)
        if explicit and int(group.max()) == 0:
            raise ValueError(
                f"No two groups of rows are alike in feature {feature}: each of its "
                f"{len(different)} values is in one row. Give more rows."
            )
        ways: list[tuple[Tensor, Repaired]] = []
        for other, columns in enumerate(self.columns):
            if other == feature:
                continue
            if self.is_category[other]:
                values, kinds = self.codes(other)
                way = categories(kinds, group, generator)
                ways.append((columns, lambda level, v=values, w=way: v[w(level)]))
            else:
                way = numbers(self.data[:, columns[0]], group, geometric, generator)
                ways.append((columns, lambda level, w=way: w(level)[:, None]))
        still = self.constant(feature)

        def at(level: float) -> Tensor:
            changed = still.clone()
            for columns, way in ways:
                changed[:, columns] = way(level)
            return changed

        return at


def _table(data: Tensor, players: Players, categorical: Sequence[int]) -> _Table:
    owner = players.owner.to(data.device)
    columns = tuple((owner == i).nonzero()[:, 0] for i in range(len(players.names)))
    category = tuple(len(one) > 1 or i in categorical for i, one in enumerate(columns))
    return _Table(data, columns, category)


def _check(model: object, data: Tensor, labels: Tensor, steps: int, batch_size: int | None) -> None:
    admission.finite("The data", data)
    admission.settled(model)
    if data.ndim != 2 or len(data) < 2:
        raise ValueError(
            f"An audit compares rows, but the data have shape {tuple(data.shape)}. "
            "Give a tensor [rows, columns] of at least two rows."
        )
    if labels.shape != data.shape[:1]:
        raise ValueError(
            f"There are {len(data)} rows, but labels have shape {tuple(labels.shape)}. "
            "Give the true class of each row."
        )
    if labels.is_floating_point():
        raise TypeError(
            f"A label is a class, counted from 0, but the labels hold {labels.dtype}. "
            "Give whole numbers."
        )
    if steps < 1:
        raise ValueError(f"{steps} levels of repair are too few. Give at least 1.")
    admission.batched(batch_size)


def _audited(
    feature: int | Sequence[int] | None, count: int, names: Sequence[str]
) -> Sequence[int]:
    if len(names) != count:
        raise ValueError(
            f"There are {len(names)} names for {count} features. Give a name for every one."
        )
    if feature is None:
        return range(count)
    audited = (feature,) if isinstance(feature, int) else tuple(feature)
    for one in audited:
        if not 0 <= one < count:
            raise ValueError(
                f"Feature {one} does not exist: there are {count}. "
                f"Give a place from 0 to {count - 1}."
            )
    return audited
