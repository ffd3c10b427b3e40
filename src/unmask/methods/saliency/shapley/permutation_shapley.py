"""Shapley values from orders of arrival drawn at random."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unmask import admission
from unmask.card import method
from unmask.game import Game
from unmask.methods.saliency.shapley.budget import exactly, rounds
from unmask.methods.saliency.shapley.paired_coalitions import ends_of, odd_part
from unmask.results import Attribution

_AT_ONCE = 2**22
"""Entries of the masks that are made together."""
_AHEAD = 4
"""How many times the orders that are sure to fit are looked at together: coalitions recur."""
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
    generator = admission.drawing(generator)
    full, empty = ends_of(game)
    known = _Known(game, (full - empty) / 2)
    count, mean = 0, full.new_zeros(n)
    square = full.new_zeros(n)  # sum of squared deviations from the mean
    spare = torch.zeros(0, n, dtype=torch.long, device=generator.device)  # orders still to be taken
    while True:
        while drawn := _affordable(n, size - known.evaluations, count, size):
            lacking = max(0, drawn - len(spare))
            chances = torch.rand(lacking, n, generator=generator, device=generator.device)
            order = torch.cat([spare, chances.argsort(1)])
            added = known.added(order, size - known.evaluations)
            orders, spare = len(added), order[len(added) :]
            count += orders
            middle = added.mean(0)
            step = middle - mean
            square += (added - middle).square().sum(0)
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
    """Orders to look at together: some more than fit if none of their coalitions were known.

    When most coalitions are known, orders cost little; there are never more than samples.
    """
    fit = left // (2 * (players - 1))
    most = min(fit if players > _BITS else _AHEAD * fit, samples - done)
    return min(most, max(1, _AT_ONCE // players**2))


class _Known:
    """The odd part of a game on the coalitions that were asked for, each evaluated once."""

    def __init__(self, game: Game, whole: Float[Tensor, ""]) -> None:
        self.evaluations = 2
        self._game = game
        self._whole = whole
        self._codes = torch.zeros(0, dtype=torch.long, device=whole.device)  # sorted
        self._values = whole.new_zeros(0)

    def added(
        self, order: Int[Tensor, "orders players"], left: int = 2**62
    ) -> Float[Tensor, "taken players"]:
        """What each player adds on arrival, in the mean over each order and its reverse.

        Args:
            order: who arrives when.
            left: evaluations that may still be made. Orders are taken one after the other, as long
                as that would do even if all coalitions of the next were new.
        """
        n = order.shape[1]
        odd = self._odd_of_masks(order) if n > _BITS else self._odd_of_codes(order, left)
        ends = self._whole.expand(len(odd), 1)
        steps = torch.cat([-ends, odd, ends], 1).diff(dim=1)
        return torch.empty_like(steps).scatter_(1, order[: len(odd)].to(steps.device), steps)

    def _odd_of_masks(self, order: Int[Tensor, "orders players"]) -> Float[Tensor, "orders steps"]:
        orders, n = order.shape
        # After k arrivals those of a place below k are there, and in reverse those of the others.
        there = order.argsort(1)[:, None] < torch.arange(1, n, device=order.device)[:, None]
        self.evaluations += 2 * orders * (n - 1)
        return odd_part(self._game, there.flatten(0, 1)).view(orders, n - 1)

    def _odd_of_codes(
        self, order: Int[Tensor, "orders players"], left: int
    ) -> Float[Tensor, "taken steps"]:
        orders, n = order.shape
        bits = 2 ** torch.arange(n, device=self._codes.device)
        codes = bits[order.to(bits.device)].cumsum(1)[:, :-1].flatten()
        flipped = codes & 1  # of a coalition and its complement, the one without the first player
        wanted, back = (codes ^ -flipped & (2**n - 1)).unique(return_inverse=True)
        slot = torch.searchsorted(self._codes, wanted)
        found = self._codes.new_zeros(len(wanted), dtype=torch.bool)
        if len(self._codes):
            slot.clamp_(max=len(self._codes) - 1)
            found = self._codes[slot] == wanted
        turn = torch.arange(orders, device=back.device).repeat_interleave(n - 1)
        first = turn.new_full((len(wanted),), orders).scatter_reduce_(0, back, turn, "amin")
        new = first[~found].bincount(minlength=orders)
        taken = int((new.cumsum(0) - new <= left // 2 - (n - 1)).sum())
        back, flipped = back[: taken * (n - 1)], flipped[: taken * (n - 1)]
        values = self._values.new_zeros(len(wanted))
        if len(self._codes):
            values[found] = self._values[slot[found]]
        ask = ~found & (first < taken)
        new = wanted[ask]
        values[ask] = asked = odd_part(self._game, (new[:, None] & bits) != 0).to(values)
        self.evaluations += 2 * len(new)
        if len(self._codes) + len(new) <= _KEPT:
            self._codes, place = torch.cat([self._codes, new]).sort()
            self._values = torch.cat([self._values, asked])[place]
        return torch.where(flipped > 0, -values[back], values[back]).view(taken, n - 1)
