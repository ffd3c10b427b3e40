"""One explained input, as the page shows it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from unmask.players import Players
from unmask.results import Attribution, Interactions, Measurement
from unmask.views import ImageView, TableView, TextView, View

# What may follow the class in a prediction: nothing, or its probability.
_PROBABILITY = re.compile(r"[\s,:;-]*\(?\s*(p\s*=\s*)?(\d+([.,]\d+)?\s*%|[01]?[.,]\d+)?\s*\)?")


@dataclass(frozen=True)
class Case:
    """One explained input.

    Args:
        title: what the reader picks the input by.
        prediction: the class that the network says and its probability, such as "cat (98 %)".
        truth: the class it ought to say; None where nobody knows.
        score: what number was read, such as "log-odds of cat".
        players: the parts that the reader may hide.
        view: what the reader sees of the input.
        terms: the logic of the prediction.
        table: the network's own values on all masks, in lattice order.
        attributions: by the name of their method; one value per player or per position.
        matching: the largest error of the logic and its curve (`universal_matching`).
        sparsity: how many terms it takes, and their strength per order (`sparsity`).
        ends: where there is no table, the network's values with everything hidden and shown.
    """

    title: str
    prediction: str
    truth: str | None
    score: str
    players: Players
    view: View
    terms: Interactions
    table: Float[Tensor, " coalitions"] | None
    attributions: Mapping[str, Attribution]
    matching: Measurement
    sparsity: Measurement
    ends: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        names, n = self.players.names, len(self.players.names)
        if self.terms.names != names:
            raise ValueError(
                f"The terms of {self.title!r} are about the players {_few(self.terms.names)}, but "
                f"its players are {_few(names)}. Give the terms of the same game."
            )
        if self.table is not None and len(self.table) != 2**n:
            raise ValueError(
                f"The table of {self.title!r} has {len(self.table)} values, but {n} players have "
                f"{2**n} coalitions. Give game.table(), or None."
            )
        self._check_view()
        for name, attribution in self.attributions.items():
            shape = tuple(attribution.values.shape)
            if shape not in ((1, n), (1, *self.players.owner.shape)):
                raise ValueError(
                    f"The attribution {name!r} of {self.title!r} has shape {shape}, but one value "
                    f"per player is {(1, n)} and one per position "
                    f"{(1, *self.players.owner.shape)}. Give a batch of one of these."
                )

    def _check_view(self) -> None:
        shape, n = tuple(self.players.owner.shape), len(self.players.names)
        view = self.view
        if isinstance(view, ImageView) and shape[-2:] != tuple(view.pixels.shape[:2]):
            raise ValueError(
                f"The picture of {self.title!r} has {tuple(view.pixels.shape[:2])} pixels, but its "
                f"players lie on an input of shape {shape}. Show it in the size of the input."
            )
        if isinstance(view, TextView) and shape[:1] != (len(view.pieces),):
            raise ValueError(
                f"The text of {self.title!r} has {len(view.pieces)} pieces, but its players lie on "
                f"an input of shape {shape}. Give one piece per position."
            )
        if isinstance(view, TableView) and {len(view.present), len(view.absent)} != {n}:
            raise ValueError(
                f"The row of {self.title!r} has {len(view.present)} present and "
                f"{len(view.absent)} absent values, but {n} players. Give one of each per player."
            )

    @property
    def right(self) -> bool | None:
        """Whether the prediction names the true class; None where that is not known."""
        if self.truth is None:
            return None
        said, truth = self.prediction.strip(), self.truth.strip()
        if not said.startswith(truth):
            return False
        return _PROBABILITY.fullmatch(said[len(truth) :]) is not None


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)})" if len(names) > 4 else "")
