"""Networks that estimate a number from the rows of a table."""

from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.players import features
from unmask.score import Score, logit
from unmask.views import TableView
from unmask.zoo.cache import trained_once
from unmask.zoo.data import house_rows
from unmask.zoo.exhibit import Exhibit
from unmask.zoo.mlp import MLP
from unmask.zoo.training import Recipe, trained

_COLUMNS = {
    "median_income": "income",
    "housing_median_age": "age of houses",
    "rooms": "rooms per household",
    "bedrooms": "bedrooms per household",
    "population": "population",
    "occupancy": "people per household",
    "latitude": "latitude",
    "longitude": "longitude",
}
_SHOWN = 200
"""Rows that are kept to be explained."""


@cache
def houses() -> Exhibit:
    """A perceptron that estimates what a house costs, from eight facts of its neighbourhood.

    The rows are block groups of California in the census of 1990, the output is their median house
    value in 100,000 dollars, of which the network explains about four fifths. It reads standardised
    columns, and a hidden fact is at its mean, zero. Needs UNMASK_DATA.
    """
    rows = house_rows()
    facts = torch.tensor([_facts(row) for row in rows], dtype=torch.float64)
    value = torch.tensor([float(row["median_house_value"]) for row in rows]) / 1e5
    return _estimator("houses", facts, value, tuple(_COLUMNS.values()), epochs=20)


@cache
def diabetes() -> Exhibit:
    """A perceptron that estimates how far diabetes will be in a year, from ten measurements.

    The output is the published measure of progression over its standard deviation. The columns
    come standardised with scikit-learn, and a hidden one is at its mean, zero.
    """
    from sklearn.datasets import load_diabetes

    table = cast(Any, load_diabetes(scaled=False))
    target = torch.tensor(table.target).float()
    names = tuple(str(name) for name in table.feature_names)
    facts = torch.tensor(table.data)
    return _estimator("diabetes", facts, target / target.std(), names, epochs=40)


def _facts(row: dict[str, str]) -> list[float]:
    households = float(row["households"])
    return [
        float(row["median_income"]),
        float(row["housing_median_age"]),
        float(row["total_rooms"]) / households,
        float(row["total_bedrooms"]) / households,
        float(row["population"]),
        float(row["population"]) / households,
        float(row["latitude"]),
        float(row["longitude"]),
    ]


def _estimator(
    name: str,
    facts: Float[Tensor, "rows columns"],
    value: Float[Tensor, " rows"],
    names: tuple[str, ...],
    epochs: int,
) -> Exhibit:
    order = torch.randperm(len(facts), generator=torch.Generator().manual_seed(0))
    facts, value = facts[order], value[order]
    mean, deviation = facts[_SHOWN:].mean(0), facts[_SHOWN:].std(0)
    # Few block groups are prisons or hotels, with hundreds of rooms per household.
    inputs = ((facts - mean) / deviation).clamp(-4, 4).float()
    train = trained if len(facts) < 1000 else _kept
    model = train(
        lambda: MLP((len(names), 64, 64, 1)),
        inputs[_SHOWN:],
        value[_SHOWN:].float(),
        Recipe(epochs=epochs, batch_size=128, rate=3e-3, decay=0.01, numbers=True),
    )
    players = features(names)
    absent = tuple(f"{number:,.4g}" for number in mean.tolist())

    def view(i: int) -> TableView:
        return TableView(tuple(f"{number:,.4g}" for number in facts[i].tolist()), absent)

    return Exhibit(
        name=name,
        model=model,
        inputs=tuple(inputs[:_SHOWN]),
        labels=None,
        classes=("value",),
        players=lambda i: players,
        view=view,
        baseline=lambda i: torch.zeros(len(names)),
        score=_read,
    )


def _kept(make: Any, inputs: Tensor, labels: Tensor, recipe: Recipe) -> nn.Module:
    return trained_once("houses", make, inputs, labels, recipe)


def _read(model: nn.Module, target: int) -> Score:
    """The estimate itself, whatever is asked for: there is only one."""
    return logit(model, 0)
