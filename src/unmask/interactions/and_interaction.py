"""AND interactions: the dividends of a game."""

from unmask.card import method
from unmask.game import Game
from unmask.lattice import MOEBIUS, coalitions, transform
from unmask.results import Interactions


@method(
    "harsanyi1963simplified",
    "ren2023defining",
    axioms=("matching", "dummy", "symmetry", "linearity"),
)
def and_interaction(game: Game) -> Interactions:
    r"""Write a game as AND terms: what each set of players adds only when all of it is there.

    $$
    I_\wedge(T) = \sum_{S \subseteq T} (-1)^{|T|-|S|}\, v(S), \qquad
    v(S) = v(\emptyset) + \sum_{\emptyset \ne T \subseteq S} I_\wedge(T)
    $$

    The terms reproduce v on every coalition, and no other AND terms do. All 2^n - 1 of them are
    returned, those of effect zero too, in lattice order. An OR of many players comes out as many
    AND terms that cancel; `and_or` finds the shorter account. An effect of order k is a
    difference of 2^k outputs, so the rounding of a model in float32 is multiplied likewise.

    Args:
        game: v.

    >>> import torch
    >>> both = Game(lambda masks: 3.0 * masks.all(1).double(), ("left", "right"))
    >>> and_interaction(both).effects
    tensor([0., 0., 3.], dtype=torch.float64)
    """
    v = game.table().detach().double()
    effects = transform(v - v[0], MOEBIUS)[1:]
    members = coalitions(len(game.names))[1:].to(v.device)
    return Interactions(
        members=members,
        is_or=members.new_zeros(len(members)),
        effects=effects,
        empty=float(v[0]),
        names=game.names,
        evaluations=len(v),
    )
