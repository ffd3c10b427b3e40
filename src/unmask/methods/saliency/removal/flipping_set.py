"""Flipping set: few parts without which the decision would be another."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.card import method
from unmask.game import LARGEST_TABLE, Game
from unmask.lattice import coalitions
from unmask.results import Attribution


@method("li2016understanding", axioms=("dummy",))
def flipping_set(game: Game) -> Attribution:
    r"""Erase part after part until the decision flips, and give back what was not needed.

    $$
    E \subseteq N: \quad \mathrm{sign}\, v(N \setminus E) \ne \mathrm{sign}\, v(N)
    $$

    Next goes whichever part, in the absence of those before, brings the value furthest towards
    the other side. Once it has crossed, parts are given back as long as the decision stays
    flipped: so none of the set can be spared, though a smaller set of other parts may do, which
    `smallest_flipping_set` finds. At most n (n + 1) coalitions are asked.

    The values are 1 for the parts of the set and 0 for all others; all are 0 where the greedy way
    leads to no flip. The paper learns the set by reinforcement; this is a search for the same.

    Args:
        game: v, whose sign is the decision, such as log-odds of the class that was chosen. A
            value of 0 counts as a decision against it.

    >>> weights = torch.tensor([3.0, 1.0, -2.0])
    >>> flipping_set(Game(lambda masks: masks.float() @ weights, ("a", "b", "c"))).values
    tensor([[1., 0., 0.]], dtype=torch.float64)
    """
    asked = _Asked(game)
    return asked.result(_greedy(asked, len(game.names)))


@method("li2016understanding", axioms=("dummy",))
def smallest_flipping_set(game: Game) -> Attribution:
    r"""Find a smallest set of parts whose erasure flips the decision.

    $$
    \min_{E \subseteq N} |E| \quad \text{with} \quad
    \mathrm{sign}\, v(N \setminus E) \ne \mathrm{sign}\, v(N)
    $$

    Sets are tried by size, up to that of `flipping_set`; of several of the smallest size the one
    that carries the value furthest is taken. The values are 1 for its parts and 0 for all others;
    all are 0 where nothing flips the decision.

    Args:
        game: v, whose sign is the decision; of at most 20 players.

    >>> weights = torch.tensor([2.0, 2.0, -1.0])
    >>> smallest_flipping_set(Game(lambda masks: masks.float() @ weights, ("a", "b", "c"))).values
    tensor([[1., 1., 0.]], dtype=torch.float64)
    """
    n = len(game.names)
    if n > LARGEST_TABLE:
        raise ValueError(
            f"{n} players have 2^{n} sets; at most {LARGEST_TABLE} players can be searched. Group "
            "the players into fewer, larger parts, or take flipping_set."
        )
    asked = _Asked(game)
    best = _greedy(asked, n)
    sets = coalitions(n)
    sizes = sets.sum(1)
    for size in range(1, int(best.sum()) if best.any() else n + 1):
        some = sets[sizes == size]
        beyond = asked.beyond(some)
        if (beyond > 0).any():
            best = some[int(beyond.argmax())]
            break
    return asked.result(best)


class _Asked:
    """How far sets flip the decision of a game, and how much was asked."""

    def __init__(self, game: Game) -> None:
        self.game = game
        whole = game(torch.ones(1, len(game.names), dtype=torch.bool))
        self.positive = bool(whole[0] > 0)
        self.device = whole.device
        self.coalitions = 1

    def beyond(self, erased: Bool[Tensor, "sets players"]) -> Float[Tensor, " sets"]:
        """Above 0 where the decision flips. A value of 0 is not for it, so it flips one above 0."""
        self.coalitions += len(erased)
        values = self.game(~erased).detach().double().cpu()
        if self.positive:
            return torch.where(values > 0, -values, -values + torch.finfo(values.dtype).tiny)
        return values

    def result(self, erased: Bool[Tensor, " players"]) -> Attribution:
        values = erased[None].double().to(self.device)
        return Attribution(values, None, self.game.names, self.coalitions)


def _greedy(asked: _Asked, n: int) -> Bool[Tensor, " players"]:
    """A set of which no part can be spared; empty where none was found."""
    one_more = torch.eye(n, dtype=torch.bool)
    erased = torch.zeros(n, dtype=torch.bool)
    flipped = False
    while not flipped and not erased.all():
        left = (~erased).nonzero()[:, 0]
        beyond = asked.beyond(erased | one_more[left])
        best = int(beyond.argmax())
        erased[left[best]] = True
        flipped = bool(beyond[best] > 0)
    if not flipped:
        return torch.zeros_like(erased)
    while erased.sum() > 1:
        within = erased.nonzero()[:, 0]
        beyond = asked.beyond(erased & ~one_more[within])
        best = int(beyond.argmax())
        if beyond[best] <= 0:
            break
        erased[within[best]] = False
    return erased
