"""How two players interact, by the size of the context in which they meet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unmask import admission
from unmask.game import LARGEST_TABLE, Game
from unmask.lattice import sizes

PAIRS = 200
"""Pairs that are drawn where all of them are more."""
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Of the n - 2 other players, the contexts that are looked at where all orders are too many."""
AT_ONCE = 2**22
"""Entries of the masks that are held at a time."""


@dataclass(frozen=True)
class OrderTable:
    r"""What was found of each pair in contexts of each size.

    Args:
        pairs: i and j.
        orders: m, how many of the other players are there.
        values: $I^{(m)}(i, j)$, the mean of what the pair adds together.
        errors: standard errors of the values; zero where all contexts were seen.
        sizes: the mean of its absolute value over the contexts.
        reach: the largest |v| that was met.
        contexts: how many of each order were seen, of every pair.
        evaluations: coalitions that were evaluated.
    """

    pairs: Int[Tensor, "pairs two"]
    orders: Int[Tensor, " orders"]
    values: Float[Tensor, "pairs orders"]
    errors: Float[Tensor, "pairs orders"]
    sizes: Float[Tensor, "pairs orders"]
    reach: float
    contexts: Int[Tensor, " orders"]
    evaluations: int

    @property
    def squares(self) -> Float[Tensor, "pairs orders"]:
        """Squared values without the bias of sampling, so that some may be negative.

        The mean of the products of two contexts, over all ways to choose two different ones.
        """
        return self.values.square() - self.errors.square()


def order_table(
    game: Game,
    *,
    pairs: Int[Tensor, "pairs two"] | None = None,
    orders: Sequence[int] | None = None,
    samples: int = 100,
    generator: torch.Generator | None = None,
) -> OrderTable:
    r"""The interaction of every pair in contexts of every size, without taking any mean of pairs.

    $$
    I^{(m)}(i, j) = E_{S \subseteq N \setminus \{i, j\},\, |S| = m}
        \bigl[ v(S \cup \{i, j\}) - v(S \cup \{i\}) - v(S \cup \{j\}) + v(S) \bigr]
    $$

    Args:
        game: v.
        pairs: as of `multi_order`.
        orders: as of `multi_order`.
        samples: as of `multi_order`.
        generator: as of `multi_order`.
    """
    n = len(game.names)
    if n < 2:
        raise ValueError(
            f"Two players interact, but this game has {n}. Cut the input into more parts."
        )
    if samples < 2:
        raise ValueError(
            f"A standard error takes 2 contexts at least, but samples is {samples}. Give some tens."
        )
    generator = admission.drawing(generator)
    sought = torch.tensor(_sought(orders, n))
    pairs = _drawn(n, generator) if pairs is None else _admitted(pairs, n)
    contexts = torch.tensor([min(samples, comb(n - 2, m)) for m in sought.tolist()])
    if n <= LARGEST_TABLE and 2**n <= 4 * len(pairs) * int(contexts.sum()):
        return _exact(game.table().detach().double(), pairs, sought)
    return _sampled(game, pairs, sought, contexts, generator)


def near_pairs(
    grid: tuple[int, int],
    *,
    distance: int = 2,
    count: int = PAIRS,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "pairs two"]:
    """Pairs of cells that lie close to each other, drawn without repeating any.

    Args:
        grid: rows and columns, as of `patches`.
        distance: how many rows or columns they may lie apart.
        count: pairs to draw; all, if there are no more.
        generator: source of randomness.

    >>> near_pairs((2, 2), distance=1).tolist()
    [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    """
    if min(grid) < 1 or distance < 1 or count < 1 or grid[0] * grid[1] < 2:
        raise ValueError(
            f"No two cells of a grid {grid[0]} x {grid[1]} lie up to {distance} apart and are "
            f"among {count} pairs. Give a grid of two cells at least, a distance and a count of 1."
        )
    cell = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1]))
    apart = (cell[:, None] - cell).abs().amax(-1)
    found = ((apart <= distance) & (apart > 0)).triu().nonzero()
    return _some_of(found, count, admission.drawing(generator))


def _some_of(pairs: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if len(pairs) <= count:
        return pairs
    chosen = torch.randperm(len(pairs), generator=generator, device=generator.device)[:count]
    return pairs[chosen.cpu().sort().values]


def _drawn(n: int, generator: torch.Generator) -> Tensor:
    return _some_of(torch.combinations(torch.arange(n)), PAIRS, generator)


def _admitted(pairs: Int[Tensor, "pairs two"], n: int) -> Int[Tensor, "pairs two"]:
    """Pairs in ascending order, checked."""
    pairs = pairs.cpu().long()
    shape = tuple(pairs.shape)
    if pairs.ndim != 2 or shape[1] != 2 or not len(pairs):
        raise ValueError(
            f"Pairs are two players each, one pair a row, but pairs has shape {shape}. "
            "Give at least one row of two numbers."
        )
    wrong = (pairs < 0).any(1) | (pairs >= n).any(1) | (pairs[:, 0] == pairs[:, 1])
    if wrong.any():
        raise ValueError(
            f"{pairs[wrong][0].tolist()} is no pair of players. "
            f"Give two different numbers from 0 to {n - 1}."
        )
    return pairs.sort(1).values


def _sought(orders: Sequence[int] | None, n: int) -> list[int]:
    """The orders to look at, in ascending order."""
    if orders is None:
        few = n <= LARGEST_TABLE
        orders = range(n - 1) if few else [int(share * (n - 2)) for share in SHARES]
    sought = sorted(set(orders))
    if not sought or sought[0] < 0 or sought[-1] > n - 2:
        raise ValueError(
            f"The order is the number of other players in the context, from 0 to {n - 2} of {n} "
            f"players, but got {list(orders)}. Leave it out for those that are usual."
        )
    return sought


def _exact(table: Tensor, pairs: Tensor, orders: Tensor) -> OrderTable:
    """All contexts of a pair at a time: two more axes of the table, of which differences are taken.

    It is a loop over pairs since the table is large; of all pairs together it would be 190 times
    as large.
    """
    n = len(table).bit_length() - 1
    context = sizes(n - 2).to(table.device)
    counts = table.new_tensor([comb(n - 2, m) for m in range(n - 1)])
    rows = []
    for i, j in pairs.tolist():
        v = table.view(2 ** (n - 1 - j), 2, 2 ** (j - 1 - i), 2, 2**i)
        delta = (v[:, 1, :, 1] - v[:, 1, :, 0] - v[:, 0, :, 1] + v[:, 0, :, 0]).flatten()
        both = torch.stack([delta, delta.abs()])
        rows.append(table.new_zeros(2, n - 1).index_add_(1, context, both) / counts)
    sought = orders.to(table.device)
    values, strength = torch.stack(rows, 1)[..., sought]
    return OrderTable(
        pairs=pairs,
        orders=orders,
        values=values,
        errors=torch.zeros_like(values),
        sizes=strength,
        reach=float(table.abs().max()),
        contexts=counts.long().cpu()[orders],
        evaluations=len(table),
    )


def _sampled(
    game: Game, pairs: Tensor, orders: Tensor, contexts: Tensor, generator: torch.Generator
) -> OrderTable:
    """The same from some contexts of each pair and order, or from all where these are no more."""
    n = len(game.names)
    sums: Tensor | None = None  # of delta, of its square, of its absolute value
    reach, evaluations = 0.0, 0
    for column, (m, count) in enumerate(zip(orders.tolist(), contexts.tolist(), strict=True)):
        whole = count == comb(n - 2, m)
        drawn = _every(pairs, n, m) if whole else _random(pairs, n, m, count, generator)
        for pair, context in drawn:
            four = context.repeat(4, 1, 1)
            four[:2].scatter_(2, pairs[pair, :1].expand(2, -1, -1), True)
            four[::2].scatter_(2, pairs[pair, 1:].expand(2, -1, -1), True)
            masks, back = four.flatten(0, 1), None
            if whole:  # pairs that share a player share coalitions
                masks, back = masks.unique(dim=0, return_inverse=True)
            v = game(masks).detach().double()
            evaluations += len(masks)
            reach = max(reach, float(v.abs().max()))
            v = (v if back is None else v[back.to(v.device)]).view(4, -1)
            delta = v[0] - v[1] - v[2] + v[3]
            if sums is None:
                sums = v.new_zeros(3, len(pairs), len(orders))
            moments = torch.stack([delta, delta.square(), delta.abs()])
            sums[:, :, column].index_add_(1, pair.to(v.device), moments)
    assert sums is not None  # there is a pair and an order
    counts = contexts.to(sums.device)
    values, squares, strength = sums / counts
    variance = (squares - values.square()).clamp(min=0) / (counts - 1).clamp(min=1)
    of_each = zip(orders.tolist(), contexts.tolist(), strict=True)
    complete = torch.tensor([count == comb(n - 2, m) for m, count in of_each])
    errors = variance.sqrt() * ~complete.to(sums.device)
    return OrderTable(pairs, orders, values, errors, strength, reach, contexts, evaluations)


def _every(pairs: Tensor, n: int, m: int) -> Iterator[tuple[Tensor, Bool[Tensor, "batch players"]]]:
    """All contexts of m players of every pair, a few at a time: whose they are, and the masks."""
    chosen = list(combinations(range(n - 2), m))
    chosen = torch.tensor(chosen, dtype=torch.long).reshape(len(chosen), m)
    rows = max(1, AT_ONCE // (4 * n))
    for block in torch.arange(len(pairs)).split(max(1, rows // len(chosen))):
        others = _others(pairs[block], n)
        for some in chosen.split(rows):
            members = others[:, some]  # [pairs, contexts, m]
            masks = torch.zeros(len(block), len(some), n, dtype=torch.bool)
            masks.scatter_(2, members, True)
            yield block.repeat_interleave(len(some)), masks.flatten(0, 1)


def _random(
    pairs: Tensor, n: int, m: int, count: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Bool[Tensor, "batch players"]]]:
    """The same of contexts drawn at random, each on its own."""
    others = _others(pairs, n)
    rows = torch.arange(len(pairs)).repeat_interleave(count)
    for pair in rows.split(max(1, AT_ONCE // (4 * n))):
        keys = torch.rand(len(pair), n - 2, generator=generator, device=generator.device)
        chosen = keys.cpu().argsort(1)[:, :m]
        masks = torch.zeros(len(pair), n, dtype=torch.bool)
        yield pair, masks.scatter_(1, others[pair].gather(1, chosen), True)


def _others(pairs: Tensor, n: int) -> Int[Tensor, "pairs others"]:
    """All players but the two of each pair."""
    place = torch.arange(n - 2).expand(len(pairs), -1)
    place = place + (place >= pairs[:, :1])
    return place + (place >= pairs[:, 1:])
