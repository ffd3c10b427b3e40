"""The network of the plates about tables: house prices where data are at hand, else diabetes."""

import os

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import zoo
from unmask.score import Score, logit
from unmask.zoo.exhibit import Exhibit

INCOME = ("income", "bmi")
"""The column that says most, of either table."""
AGE = ("age of houses", "age")


def estimator(quick: bool) -> Exhibit:
    """The network: of Californian houses, or of diabetes where nothing is to be read or trained."""
    if quick or not os.environ.get("UNMASK_DATA"):
        return zoo.diabetes()
    return zoo.houses()


def rows(shown: Exhibit) -> Float[Tensor, "batch columns"]:
    """The rows that the network was not trained on."""
    return torch.stack(shown.inputs)


def estimate(shown: Exhibit) -> Score:
    """The number that the network estimates."""
    return logit(shown.model, 0)


def column(shown: Exhibit, names: tuple[str, ...]) -> int:
    """The place of the one of these columns that the table has."""
    called = shown.players(0).names
    return next(called.index(name) for name in names if name in called)


def setting(shown: Exhibit) -> str:
    """What the network is, in a sentence."""
    about = {
        "houses": "median house value, in 100,000 dollars, of block groups of California in 1990",
        "diabetes": "progression of diabetes in a year, in standard deviations",
    }[shown.name]
    return (
        f"A perceptron with two hidden layers of 64 units estimates the {about}, from "
        f"{len(shown.players(0).names)} standardised columns; shown are {len(shown.inputs)} rows "
        "that it was not trained on."
    )
