"""Networks that read the rows of a table."""

from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from unmask.players import features
from unmask.score import log_odds
from unmask.views import TableView
from unmask.zoo.cache import trained_once
from unmask.zoo.census import encoded
from unmask.zoo.data import adult_rows
from unmask.zoo.exhibit import Exhibit
from unmask.zoo.mlp import MLP
from unmask.zoo.training import Recipe, trained


@cache
def breast_cancer() -> Exhibit:
    """A perceptron that tells malignant from benign tumours by ten measurements of cell nuclei.

    Each measurement is given as mean over the nuclei of a sample, standard error and mean of
    the three largest: three columns, one player. The network reads standardised columns, and a
    hidden measurement is at its mean over the training samples, which is zero. 400 of the 569
    samples of the Wisconsin set train it; the inputs are the other 169.
    """
    from sklearn.datasets import load_breast_cancer

    table = cast(Any, load_breast_cancer())
    order = torch.randperm(len(table.data), generator=torch.Generator().manual_seed(0))
    raw = torch.tensor(table.data)[order]
    labels = torch.tensor(table.target)[order]
    mean, deviation = raw[:400].mean(0), raw[:400].std(0)
    inputs = ((raw - mean) / deviation).float()
    model = trained(
        lambda: MLP((30, 32, 32, 2)),
        inputs[:400],
        labels[:400],
        Recipe(epochs=30, batch_size=32, rate=3e-3, decay=0.01, smoothing=0.05),
    )

    names = [str(name).removeprefix("mean ") for name in table.feature_names[:10]]
    groups = {name: (i, i + 10, i + 20) for i, name in enumerate(names)}
    players = features([str(name) for name in table.feature_names], groups)
    absent = _measurements(mean)

    def view(i: int) -> TableView:
        return TableView(_measurements(raw[400 + i]), absent)

    return Exhibit(
        name="breast_cancer",
        model=model,
        inputs=tuple(inputs[400:]),
        labels=tuple(labels[400:].tolist()),
        classes=tuple(str(name) for name in table.target_names),
        players=lambda i: players,
        view=view,
        baseline=lambda i: torch.zeros(30),
        score=log_odds,
    )


@cache
def adult() -> Exhibit:
    """A perceptron that tells by twelve facts of the US census who earned over $50,000 in 1994.

    A categorical fact is a column for each of its values, and one player; education also has a
    column for its years. Numbers are standardised, amounts of money after the logarithm of one
    dollar more. A hidden fact is at its mean over the training rows: for a categorical one that
    is a mixture of its values. The network learns from the original training rows; the inputs
    are the first 200 test rows. Needs UNMASK_DATA.
    """
    rows = adult_rows()
    table = encoded([row for row in rows if row["split"] == "train"])
    test = [row for row in rows if row["split"] == "test"][:200]
    labels = torch.tensor([row["income"] == ">50K" for row in rows if row["split"] == "train"])
    model = trained_once(
        "adult",
        lambda: MLP((len(table.columns), 64, 64, 2)),
        table.inputs,
        labels.long(),
        Recipe(epochs=6, batch_size=256, rate=3e-3, decay=0.01),
    )
    return Exhibit(
        name="adult",
        model=model,
        inputs=tuple(table.encode(test)),
        labels=tuple(int(row["income"] == ">50K") for row in test),
        classes=("at most $50,000", "over $50,000"),
        players=lambda i: table.players,
        view=lambda i: TableView(table.told(test[i]), table.absent),
        baseline=lambda i: table.baseline,
        score=log_odds,
    )


def _measurements(row: Float[Tensor, " 30"]) -> tuple[str, ...]:
    """Ten measurements as they read: mean, standard error, mean of the three largest."""
    return tuple(
        f"{_short(mean, 3)} ± {_short(error, 2)}, worst {_short(worst, 3)}"
        for mean, error, worst in row.view(3, 10).T.tolist()
    )


def _short(number: float, digits: int) -> str:
    """A number to a few digits that count, without an exponent."""
    return f"{float(f'{number:.{digits}g}'):,g}"
