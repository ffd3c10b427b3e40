"""Facts of a census as columns of numbers, and as they read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1, log1p

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.players import Players, features

Row = dict[str, str]
"""A person: what is known under each heading, as text."""

FACTS = (
    "age",
    "workclass",
    "education",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
)
"""What the network is told. The weight of a row in the sample is no fact about a person."""

NUMBERS = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
MONEY = ("capital_gain", "capital_loss")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Census:
    """The columns made of some rows, and the rows in them.

    Args:
        columns: each a number ("age") or a fact and one of its values ("sex", "Male").
        centre: taken off each column.
        scale: what each column is divided by after that; 1 for a value of a fact, and
            for a number that is the same in all rows.
        inputs: the rows that the columns were made of.
        players: one per fact.
        baseline: every column at its mean over the rows.
        absent: what that says of each fact.
    """

    columns: tuple[tuple[str, str | None], ...]
    centre: Float[Tensor, " columns"]
    scale: Float[Tensor, " columns"]
    inputs: Float[Tensor, "batch columns"]
    players: Players
    baseline: Float[Tensor, " columns"]
    absent: tuple[str, ...]

    def encode(self, rows: Sequence[Row]) -> Float[Tensor, "batch columns"]:
        """Rows as numbers for a network. A value that was never met has no column."""
        return ((_raw(rows, self.columns) - self.centre) / self.scale).float()

    def told(self, row: Row) -> tuple[str, ...]:
        """What each player says of a person."""
        return tuple(
            _told(fact, _number(row, fact)) if fact in NUMBERS else row[fact] or UNKNOWN
            for fact in FACTS
        )


def encoded(rows: Sequence[Row]) -> Census:
    """Make columns of rows."""
    values = {
        fact: sorted({row[fact] or UNKNOWN for row in rows})
        for fact in FACTS
        if fact not in NUMBERS
    }
    columns = (
        *((fact, None) for fact in NUMBERS),
        *((fact, value) for fact in values for value in values[fact]),
    )
    raw = _raw(rows, columns)
    numeric = torch.tensor([value is None for _, value in columns])
    centre = torch.where(numeric, raw.mean(0), 0)
    scale = torch.where(numeric & (raw.std(0) > 0), raw.std(0), 1)
    groups = {
        fact.replace("_", " "): [
            i
            for i, (name, _) in enumerate(columns)
            if name == fact or (fact == "education" and name == "education_num")
        ]
        for fact in FACTS
    }
    return Census(
        columns=columns,
        centre=centre,
        scale=scale,
        inputs=((raw - centre) / scale).float(),
        players=features([f"{fact} {value or ''}".strip() for fact, value in columns], groups),
        baseline=((raw.mean(0) - centre) / scale).float(),
        absent=tuple(
            _mixture(rows, fact) if fact in values else _told(fact, float(raw[:, i].mean()))
            for fact in FACTS
            for i in (columns.index((fact, None)) if fact in NUMBERS else -1,)
        ),
    )


def _raw(
    rows: Sequence[Row], columns: Sequence[tuple[str, str | None]]
) -> Float[Tensor, "batch columns"]:
    place = {column: i for i, column in enumerate(columns)}
    table = torch.zeros(len(rows), len(columns), dtype=torch.float64)
    for row, entries in zip(rows, table.numpy(), strict=True):
        for fact in NUMBERS:
            entries[place[fact, None]] = _number(row, fact)
        for fact in FACTS:
            i = place.get((fact, row[fact] or UNKNOWN))
            if i is not None:
                entries[i] = 1
    return table


def _number(row: Row, fact: str) -> float:
    """A number as the network takes it: of money its logarithm, as few have much."""
    number = float(row[fact])
    return log1p(number) if fact in MONEY else number


def _told(fact: str, number: float) -> str:
    if fact in MONEY:
        return f"${expm1(number):,.0f}"
    return f"{number:.3g} {'years' if fact == 'age' else 'hours'}"


def _mixture(rows: Sequence[Row], fact: str) -> str:
    """The commonest value and its share: of a fact at its mean that is the largest part."""
    ((value, count),) = Counter(row[fact] or UNKNOWN for row in rows).most_common(1)
    return f"mixture, {count / len(rows):.0%} {value}"
