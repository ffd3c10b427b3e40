"""OR interactions: the dividends of the mirrored game."""

from unmask.card import method
from unmask.game import Game
from unmask.lattice import MIRROR, MOEBIUS, coalitions, transform
from unmask.results import Interactions


@method("li2023defining", axioms=("matching", "dummy", "symmetry", "linearity"))
def or_interaction(game: Game) -> Interactions:
    r"""Write a game as OR terms: what each set of players adds as soon as any of it is there.

    $$
    I_\vee(T) = -\sum_{S \subseteq T} (-1)^{|T|-|S|}\, v(N \setminus S), \qquad
    v(S) = v(\emptyset) + \sum_{T \cap S \ne \emptyset} I_\vee(T)
    $$

    Seen from the other side, an OR is an AND: the output changes only when all of T is hidden.
    So these are the dividends of the game v(N \ S), with the opposite sign. The terms reproduce v
    on every coalition, and no other OR terms do. All 2^n - 1 of them are returned, those of
    effect zero too, in lattice order.

    Args:
        game: v.

    >>> import torch
    >>> either = Game(lambda masks: 3.0 * masks.any(1).double(), ("left", "right"))
    >>> or_interaction(either).effects
    tensor([0., 0., 3.], dtype=torch.float64)
    """
    v = game.table().detach().double()
    effects = transform(v[0] - v, MOEBIUS @ MIRROR)[1:]
    members = coalitions(len(game.names))[1:].to(v.device)
    return Interactions(
        members=members,
        is_or=members.new_ones(len(members)),
        effects=effects,
        empty=float(v[0]),
        names=game.names,
        evaluations=len(v),
    )
