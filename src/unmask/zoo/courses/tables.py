"""Networks that learn to read the rows of a table."""

from functools import cache
from typing import Any, cast

import torch

from unmask.players import Players, features
from unmask.views import TableView
from unmask.zoo.census import Row, encoded
from unmask.zoo.courses.course import Course, Settings
from unmask.zoo.courses.mislabelled import mislabelled
from unmask.zoo.data import adult_rows
from unmask.zoo.mlp import MLP

TOGETHER = {
    "family": ("marital status", "relationship"),
    "capital": ("capital gain", "capital loss"),
}
"""Facts of the census that say much the same, as one player: ten players, and not twelve."""


@cache
def breast_cancer() -> Course:
    """A perceptron learns to tell tumours by ten measurements, a tenth of them under wrong names.

    Each measurement is three columns and one player; a hidden one is at its mean over the training
    samples, which is zero. 400 samples of the Wisconsin set train it, 169 test it. It needs nothing
    and takes seconds.
    """
    from sklearn.datasets import load_breast_cancer

    table = cast(Any, load_breast_cancer())
    order = torch.randperm(len(table.data), generator=torch.Generator().manual_seed(0))
    raw = torch.tensor(table.data)[order]
    mean, deviation = raw[:400].mean(0), raw[:400].std(0)
    names = [str(name).removeprefix("mean ") for name in table.feature_names[:10]]
    groups = {name: (i, i + 10, i + 20) for i, name in enumerate(names)}
    players = features([str(name) for name in table.feature_names], groups)
    return mislabelled(
        "breast_cancer",
        lambda: MLP((30, 64, 64, 64, 2)),
        ((raw - mean) / deviation).float(),
        torch.tensor(table.target)[order].long(),
        train=400,
        players=lambda i: players,
        baseline=lambda i: torch.zeros(30),
        view=lambda i: None,
        classes=tuple(str(name) for name in table.target_names),
        settings=Settings(steps=2882, batch_size=32, first=4, growth=1.6),
        kept=30,
        followed=20,
    )


@cache
def adult() -> Course:
    """A perceptron learns from the US census of 1994 who earned over $50,000, a tenth of it wrong.

    The first 2,000 training rows train it, the first 1,000 test rows test it. A row has ten
    players: its facts, of which two that tell of the family are one, and the two that tell of
    capital. A hidden fact is at its mean over the training rows. Needs UNMASK_DATA.
    """
    rows = adult_rows()
    train = [row for row in rows if row["split"] == "train"][:2000]
    test = [row for row in rows if row["split"] == "test"][:1000]
    table = encoded(train)
    players = joined(table.players)
    chosen = [*train, *test]

    def told(facts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(", ".join(facts[i] for i in group) for group in _groups(table.players))

    def view(i: int) -> TableView:
        return TableView(told(table.told(chosen[i])), told(table.absent))

    return mislabelled(
        "adult",
        lambda: MLP((len(table.columns), 100, 100, 100, 100, 2)),
        torch.cat([table.inputs, table.encode(test)]),
        torch.tensor([_rich(row) for row in chosen]),
        train=len(train),
        players=lambda i: players,
        baseline=lambda i: table.baseline,
        view=view,
        classes=("at most $50,000", "over $50,000"),
        settings=Settings(steps=4988, batch_size=100, rate=0.02),
        kept=60,
        followed=30,
    )


def joined(players: Players) -> Players:
    """The facts of a census as players, those that say much the same as one.

    Args:
        players: one for each fact.
    """
    groups = _groups(players)
    of = torch.tensor([next(p for p, group in enumerate(groups) if i in group)
                       for i in range(len(players.names))])  # fmt: skip
    names = {fact: name for name, facts in TOGETHER.items() for fact in facts}
    firsts = (players.names[group[0]] for group in groups)
    return Players(of[players.owner], tuple(names.get(fact, fact) for fact in firsts))


def _groups(players: Players) -> list[tuple[int, ...]]:
    """Which facts make up each player, in the order of the first fact of each."""
    other = {fact: facts for facts in TOGETHER.values() for fact in facts}
    groups = [
        tuple(players.names.index(one) for one in other.get(fact, (fact,)))
        for fact in players.names
    ]
    return list(dict.fromkeys(groups))


def _rich(row: Row) -> int:
    return int(row["income"] == ">50K")
