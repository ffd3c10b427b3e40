"""Trained networks and the logic of some inputs, for the plates about universal matching."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unmask import zoo
from unmask.gallery.trainings import small
from unmask.game import Game, tabulated
from unmask.interactions import and_or_games
from unmask.interactions.terms.logic_values import fewest_terms, logic_values
from unmask.masking import masked
from unmask.results import Interactions
from unmask.zoo.exhibit import Exhibit

PRECISION = 2e-2


@dataclass(frozen=True)
class Matched:
    """A network on one input, and its logic.

    Args:
        game: what the network says of every mask, as a table.
        terms: the sparsest AND-OR terms.
    """

    game: Game
    terms: Interactions

    def logic(self, most: int | None = None) -> Float[Tensor, " coalitions"]:
        """What the terms say of every mask; those left out stand in with their mean.

        Args:
            most: how many to take, those of the largest spread first; None for all.
        """
        chosen = self.terms.spread.argsort(descending=True, stable=True)[:most]
        part = torch.full(self.terms.is_or.shape, -1)
        part[chosen] = 0
        rest = (self.terms.effects * self.terms.firing)[part < 0].sum()
        return logic_values(self.terms, part)[0] + self.terms.empty + rest

    def error(self) -> float:
        """The largest of all terms together, beside the largest change of the output."""
        v = self.game.table().double()
        return float((self.logic() - v).abs().max() / (v - v[0]).abs().max())

    def fewest(self, fidelity: float) -> int:
        """How many terms reach an R2 over all masks.

        Args:
            fidelity: the R2.
        """
        count = fewest_terms(self.terms, self.game.table(), fidelity)
        return len(self.terms.effects) if count is None else count


def networks(quick: bool) -> tuple[Exhibit, ...]:
    """Networks of several kinds."""
    if small(quick):
        return zoo.digits(), zoo.breast_cancer(), zoo.diabetes()
    return zoo.mnist(), zoo.cifar10(), zoo.adult(), zoo.sst2()


def matched(shown: Exhibit, inputs: Sequence[int]) -> list[Matched]:
    """The logic of the class that the network names, on some inputs.

    Args:
        shown: the network.
        inputs: their places.
    """
    games: list[Game] = []
    for i in inputs:
        x = shown.inputs[i]
        with torch.no_grad():
            named = int(shown.model(x[None])[0].argmax())
        score = shown.score(shown.model, named)
        games.append(tabulated(masked(score, x, shown.players(i), shown.baseline(i))))
    found = and_or_games(games, precision=PRECISION)
    return [Matched(game, terms) for game, terms in zip(games, found, strict=True)]
