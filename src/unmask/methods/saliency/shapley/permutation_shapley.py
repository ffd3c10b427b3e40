"""Shapley values from orders of arrival drawn at random."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask.card import method
from unmask.game import Game
from unmask.methods.saliency.shapley.budget import exactly, rounds, settled
from unmask.methods.saliency.shapley.paired_coalitions import ends_of, odd_part
from unmask.results import Attribution

_AT_ONCE = 2**22
"""Entries of the masks that are made together."""
_KEPT = 2**20
"""Pairs of coalitions whose values are kept, so as not to ask for them again; 16 MiB."""
_TELLING = 8
"""Pairs of orders whose spread tells something of how far their mean is off."""
_BITS = 62
"""Players whose coalitions fit a whole number."""


@method(
    "castro2009polynomial", "mitchell2022sampling", axioms=("completeness", "dummy", "linearity")
)
def permutation_shapley(
    game: Game,
    *,
    samples: int | None = None,
    error: float | None = None,
    generator: torch.Generator | None = None,
) -> Attribution:
    r"""Let the players arrive in a random order, over and over, and note what each adds.

    $$
    \phi_i = \frac1{|\Pi|} \sum_{\pi \in \Pi}
             \bigl( v(\mathrm{before}_i(\pi) \cup \{i\}) - v(\mathrm{before}_i(\pi)) \bigr)
    $$

    Every order is taken with its reverse, which halves what pairs of players leave to chance. The
    values always sum to v(N) - v(empty), and a player that never matters gets nothing. They are
    right in the mean for any game, and the standard errors, from the spread between pairs of
    orders, rest on no model of it: take this where that matters more than accuracy, for
    `shapley_values` comes nearer with the same samples.

    A coalition that several orders pass through is evaluated once, and orders are drawn until the
    samples are used up. Where all 2^n coalitions cost no more than that, they are all evaluated and
    the errors are zero; of fewer than 8 pairs of orders they are None.

    Args:
        game: v.
        samples: coalitions to evaluate at most, 2 n + 2048 if not given; with a wanted error 2^20.
        error: the largest standard error that is wanted; orders are added until it is reached.
        generator: source of randomness.

    >>> game = Game(lambda own: 3.0 * own[:, 0] + own[:, 1:3].all(1), tuple("abcdefgh"))
    >>> permutation_shapley(game, samples=100).values
    tensor([[3.0000, 0.5000, 0.5000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000]],
           dtype=torch.float64)
    """
    n = len(game.names)
    turns = rounds(n, samples, error, 2 * n)
    size = next(turns)
    if size == 2**n:
        return exactly(game)
    generator = settled(generator)
    full, empty = ends_of(game)
    known = _Known(game, (full - empty) / 2)
    count, mean = 0, full.new_zeros(n)
    square = full.new_zeros(n)  # sum of squared deviations from the mean
    while True:
        while orders := _affordable(n, size - known.evaluations, count, size):
            order = torch.rand(orders, n, generator=generator, device=generator.device).argsort(1)
            added = known.added(order)
            count += orders
            step = added.mean(0) - mean
            square += (added - added.mean(0)).square().sum(0)
            square += step.square() * orders * (count - orders) / count
            mean = mean + step * orders / count
        errors = (square / (count * (count - 1))).sqrt() if count >= _TELLING else None
        if errors is not None and float(errors.max()) <= (error or 0):
            break
        size = next(turns, None)
        if size is None:
            break
        if size == 2**n:
            return exactly(game)
    return Attribution(
        mean[None],
        gap=(full - empty - mean.sum())[None],
        names=game.names,
        evaluations=known.evaluations,
        errors=None if errors is None else errors[None],
    )


def _affordable(players: int, left: int, done: int, samples: int) -> int:
    """Orders whose coalitions can all be evaluated, and whose masks fit memory.

    When most coalitions are known, orders cost little; there are never more than samples.
    """
    most = min(left // (2 * (players - 1)), samples - done)
    return min(most, max(1, _AT_ONCE // players**2))


class _Known:
    """The odd part of a game on the coalitions that were asked for, each evaluated once."""

    def __init__(self, game: Game, whole: Float[Tensor, ""]) -> None:
        self.evaluations = 2
        self._game = game
        self._whole = whole
        self._codes = torch.zeros(0, dtype=torch.long, device=whole.device)  # sorted
        self._values = whole.new_zeros(0)

    def added(self, order: Int[Tensor, "orders players"]) -> Float[Tensor, "orders players"]:
        """What each player adds on arrival, in the mean over each order and its reverse."""
        orders, n = order.shape
        place = order.argsort(1)
        # After k arrivals those of a place below k are there, and in reverse those of the others.
        there = place[:, None] < torch.arange(1, n, device=order.device)[:, None]
        odd = self._odd(there.flatten(0, 1)).view(orders, n - 1)
        ends = self._whole.expand(orders, 1)
        steps = torch.cat([-ends, odd, ends], 1).diff(dim=1)
        return steps.gather(1, place.to(steps.device))

    def _odd(self, masks: Bool[Tensor, "pairs players"]) -> Float[Tensor, " pairs"]:
        n = masks.shape[1]
        if n > _BITS:
            self.evaluations += 2 * len(masks)
            return odd_part(self._game, masks)
        bits = 2 ** torch.arange(n, device=masks.device)
        flipped = masks[:, 0]  # of a coalition and its complement, the one without the first player
        codes = ((masks ^ flipped[:, None]) * bits).sum(1).to(self._codes.device)
        wanted, back = codes.unique(return_inverse=True)
        slot = torch.searchsorted(self._codes, wanted)
        found = slot < len(self._codes)
        found[found.clone()] = self._codes[slot[found]] == wanted[found]
        values = self._values.new_zeros(len(wanted))
        values[found] = self._values[slot[found]]
        new = wanted[~found]
        values[~found] = odd_part(self._game, (new[:, None] & bits.to(new.device)) > 0)
        self.evaluations += 2 * len(new)
        if len(self._codes) + len(new) <= _KEPT:
            self._codes, order = torch.cat([self._codes, new]).sort()
            self._values = torch.cat([self._values, values[~found]])[order]
        return torch.where(flipped.to(back.device), -1, 1) * values[back]
