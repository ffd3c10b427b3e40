"""Repaired data: columns changed until a given one can no longer be told from them."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

FEW = 20
"""Values of a column up to which each makes a group of its own."""
_MOST = 50
"""Groups that a column is cut into at most."""

Repaired = Callable[[float], Tensor]
"""The column, or the codes, at a level of repair from 0 to 1."""


def groups_of(column: Float[Tensor, " rows"], categorical: bool) -> Int[Tensor, " rows"]:
    """Rows that are alike in a column: of the same value, or in the same bin of a histogram.

    A group of one row tells nothing about a distribution: it joins the next.

    Args:
        column: numbers, or codes of categories.
        categorical: whether they are codes.
    """
    _, codes = column.unique(return_inverse=True)
    if not categorical and int(codes.max()) >= FEW:
        edges = np.histogram_bin_edges(column.double().cpu().numpy(), bins="auto")
        if len(edges) > _MOST + 1:
            edges = np.linspace(edges[0], edges[-1], _MOST + 1)
        inner = torch.from_numpy(edges[1:-1]).to(column.device)
        codes = torch.bucketize(column.double(), inner, right=True)
    return _joined(codes)


def numbers(
    column: Float[Tensor, " rows"],
    group: Int[Tensor, " rows"],
    geometric: bool,
    generator: torch.Generator,
) -> Repaired:
    """A column of numbers whose distribution is the same in all groups at level 1.

    Args:
        column: W.
        group: of each row.
        geometric: aims at the mean of the groups' quantile functions, along the number line;
            otherwise at their median, along the values that occur.
        generator: decides between equal numbers, so that a value that is common in one group
            is not a hint either.
    """
    w = column.double()
    noise = torch.rand(len(w), generator=generator, device=generator.device).to(w.device)
    order = noise.argsort()
    order = order[w[order].argsort(stable=True)]
    order = order[group[order].argsort(stable=True)]  # by group, then number, then chance
    size = group.bincount()
    first = size.cumsum(0) - size
    rank = torch.empty_like(group)
    rank[order] = torch.arange(len(w), device=w.device) - first[group[order]]
    u = (rank.double() + 0.5) / size[group]

    of_groups = []
    for start, count in zip(first.tolist(), size.tolist(), strict=True):
        values = w[order[start : start + count]]
        if geometric:
            place = (u * count - 0.5).clamp(0, count - 1)
            below = place.floor().long()
            above = (below + 1).clamp(max=count - 1)
            of_groups.append(torch.lerp(values[below], values[above], place - below))
        else:
            of_groups.append(values[(u * count).long().clamp(max=count - 1)])
    if geometric:
        target = torch.stack(of_groups).mean(0)
        return lambda level: torch.lerp(w, target, level).to(column)
    occurring, place = w.unique(return_inverse=True)
    wanted = torch.searchsorted(occurring, torch.stack(of_groups).median(0).values)
    return lambda level: occurring[_nearest(place + level * (wanted - place))].to(column)


def categories(
    codes: Int[Tensor, " rows"], group: Int[Tensor, " rows"], generator: torch.Generator
) -> Repaired:
    """Codes of categories that are as frequent in all groups at level 1.

    In every group as few rows as possible change, chosen at random; a row that has changed at one
    level has changed at all higher ones.

    Args:
        codes: the category of each row.
        group: of each row.
        generator: chooses the rows.
    """
    kinds, count = int(codes.max()) + 1, int(group.max()) + 1
    there = (group * kinds + codes).bincount(minlength=count * kinds).view(count, kinds)
    often = there.double() / there.sum(1, keepdim=True)
    wanted = often.quantile(0.5, dim=0)
    wanted = wanted if wanted.sum() > 0 else often.mean(0)  # no category is in half of the groups
    wanted = _whole(there.sum(1), wanted / wanted.sum())

    target, moves_at = codes.clone(), torch.full_like(codes, torch.inf, dtype=torch.float64)
    for g in range(count):
        rows = (group == g).nonzero()[:, 0]
        noise = torch.rand(len(rows), generator=generator, device=generator.device)
        rows = rows[noise.argsort().to(rows.device)]
        own = one_hot(codes[rows], kinds)
        ordinal = (own.cumsum(0) * own).sum(1) - 1  # the how-manieth of its category
        moving = rows[ordinal >= wanted[g, codes[rows]]]
        lacking = (wanted[g] - there[g]).clamp(min=0)
        target[moving] = torch.arange(kinds, device=codes.device).repeat_interleave(lacking)
        places = torch.arange(len(moving), device=codes.device).double()
        moves_at[moving] = (places + 0.5) / max(1, len(moving))
    return lambda level: torch.where(moves_at <= level, target, codes)


def _nearest(place: Float[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """Whole places; halves all go up, or rows would overtake each other."""
    return (place + 0.5).floor().long()


def _joined(codes: Int[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """Groups numbered from 0, each of at least two rows; a single row joins the next group."""
    sizes = codes.bincount().tolist()
    names, current, held = [], 0, 0
    for size in sizes:
        names.append(current)
        held += size
        if held >= 2:
            current, held = current + 1, 0
    if held and current:  # what is left over at the end joins the last
        names = [min(name, current - 1) for name in names]
    return torch.tensor(names, device=codes.device)[codes]


def _whole(
    sizes: Int[Tensor, " groups"], shares: Float[Tensor, " kinds"]
) -> Int[Tensor, "groups kinds"]:
    """Shares as whole numbers of rows: what is left goes to the largest remainders."""
    exact = sizes[:, None].double() * shares
    counts = exact.floor().long()
    left = sizes - counts.sum(1)
    by_remainder = (counts - exact).argsort(dim=1, stable=True).argsort(dim=1)
    return counts + (by_remainder < left[:, None])
