"""plot: one verb for all results."""

from functools import singledispatch
from typing import get_args

from matplotlib.figure import Figure

from unmask.results import Result


@singledispatch
def plot(result: object) -> Figure:
    """Draw a result and return the figure. Nothing is shown, and pyplot is left alone.

    Each type of result has options of its own, said in the file that bears its name; all take
    `colours`, the accents of what is positive and negative, and those that need one axis take
    `ax`. With `ax`, room for the labels is the figure's affair: give it `layout="constrained"`.

    >>> import torch
    >>> from unmask.results import Attribution
    >>> figure = plot(Attribution(torch.tensor([[0.5, -0.2]]), names=("age", "income")))
    >>> figure.savefig("age.png")  # doctest: +SKIP

    Args:
        result: any type.
    """
    raise TypeError(
        f"plot takes a result, but got {type(result).__name__}. "
        f"Give one of {', '.join(kind.__name__ for kind in get_args(Result))}."
    )
