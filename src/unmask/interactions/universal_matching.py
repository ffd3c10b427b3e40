"""Universal matching: the logical model against the network, on every mask."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.card import method
from unmask.game import LARGEST_TABLE, Game, tabulated
from unmask.interactions.and_or import and_or
from unmask.interactions.terms.logic_values import logic_values
from unmask.results import Interactions, Measurement

EVERY = 64
"""Up to so many terms the curve has a point for each; beyond, one for every tenth part more."""
SAMPLES = 4096
AT_ONCE = 2**22
"""Entries of the tables that are held at a time."""


@method("ren2024where", "chen2024defining", axioms=("matching",))
def universal_matching(
    game: Game,
    *,
    terms: Interactions | None = None,
    samples: int | None = None,
    generator: torch.Generator | None = None,
) -> Measurement:
    r"""Compare a logical model with the network on all 2^n masked inputs.

    $$
    \hat v_k(S) = v(\emptyset) + \sum_{j \le k} I_j\, [\text{term } j \text{ fires on } S]
                  + \sum_{j > k} I_j\, p_j, \qquad \sigma_1 \ge \sigma_2 \ge \dots
    $$

    The numbers are the error |v - v_hat| of all terms together: `largest_error` and `mean_error`
    over the masks, and `largest_relative_error`, the largest as a share of the largest |v -
    v(empty)|, where v(empty) is the `empty` of the terms. The curves show how few of them do nearly
    as well: `terms` is k, `fidelity` the R2 over the masks of the k terms of the largest spread
    sigma, beside `largest_error` and `mean_error`. Terms that are left out stand in with their mean
    over all masks: their effect times the share p of masks on which they fire (see `Interactions`).
    Where v is the same on all masks, the fidelity is 1 without an error and 0 with one.

    With more than 20 players, or where `samples` is given, masks are drawn at random, each player
    present half the time, and the errors are those on the draws; the largest of all may be larger.

    Example:
        >>> game = Game(lambda masks: 3.0 * masks[:, 1:].any(1), ("tall", "red", "blue"))
        >>> matching = universal_matching(game)
        >>> round(matching.numbers["largest_error"], 9)
        0.0
        >>> matching.curves["fidelity"].round(decimals=6).tolist()
        [0.0, 1.0]

    Args:
        game: v.
        terms: the logical model; None for the sparsest AND-OR terms of the game.
        samples: masks to draw; None for all of them, or 4096 where there are too many.
        generator: of the draws; None for one of seed 0.
    """
    players = len(game.names)
    if terms is None:
        game = tabulated(game)
        terms = and_or(game)
    if terms.names != game.names:
        raise ValueError(
            f"The players of the game are {game.names}, those of the terms {terms.names}. "
            "Compare terms with the game they explain."
        )
    if samples is not None and samples < 1:
        raise ValueError(
            f"At least one mask must be drawn, but samples is {samples}. Give some thousands, or "
            "None for all masks."
        )
    if samples is None and players <= LARGEST_TABLE:
        masks, v = None, game.table().detach().double()
    else:
        masks = _drawn(samples or SAMPLES, players, generator)
        v = game(masks).detach().double()
        masks = masks.to(v.device)

    strongest = terms.spread.argsort(descending=True, stable=True)
    ranked = Interactions(
        members=terms.members[strongest].to(v.device),
        is_or=terms.is_or[strongest].to(v.device),
        effects=terms.effects[strongest].to(v),
        empty=terms.empty,
        names=terms.names,
    )
    counts = _counts(len(strongest))
    curves = _curves(ranked, counts, masks, v)
    reach = float((v - terms.empty).abs().max())
    largest = float(curves["largest_error"][-1])
    return Measurement(
        {
            "largest_error": largest,
            "mean_error": float(curves["mean_error"][-1]),
            "largest_relative_error": largest / reach if reach > 0 else float(largest > 0),
        },
        {"terms": torch.tensor(counts).to(v), **curves},
        {"error": ("terms", "largest_error", "mean_error")},
    )


def _drawn(
    samples: int, players: int, generator: torch.Generator | None
) -> Bool[Tensor, "batch players"]:
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    draws = torch.rand(samples, players, generator=generator, device=generator.device)
    return (draws < 0.5).cpu()


def _counts(terms: int) -> list[int]:
    """The numbers of terms at which the curve has a point; always 0 and all."""
    counts = list(range(min(terms, EVERY) + 1))
    while counts[-1] < terms:
        counts.append(min(terms, counts[-1] * 11 // 10))
    return counts


def _curves(
    ranked: Interactions,
    counts: list[int],
    masks: Bool[Tensor, "batch players"] | None,
    v: Float[Tensor, " masks"],
) -> dict[str, Float[Tensor, " points"]]:
    means = torch.cat([v.new_zeros(1), (ranked.effects * ranked.firing).cumsum(0)])
    standing_in = means[-1] - means[counts]  # for the terms that are left out
    error = (v - ranked.empty)[None]
    variation = (v - v.mean()).square().sum()
    squares, largest, mean = [], [], []
    stretches = list(pairwise(counts))
    size = max(1, AT_ONCE // len(v))
    blocks = (stretches[i : i + size] for i in range(0, len(stretches), size))
    done = 0
    for kept in _errors(error, ranked, blocks, masks):
        rows = kept - standing_in[done : done + len(kept), None]
        done += len(kept)
        squares.append(rows.square().sum(1))
        largest.append(rows.abs().amax(1))
        mean.append(rows.abs().mean(1))
    square = torch.cat(squares)
    fidelity = 1 - square / variation if variation > 0 else (square == 0).to(square)
    return {
        "fidelity": fidelity,
        "largest_error": torch.cat(largest),
        "mean_error": torch.cat(mean),
    }


def _errors(
    error: Float[Tensor, "1 masks"],
    ranked: Interactions,
    blocks: Iterator[list[tuple[int, int]]],
    masks: Bool[Tensor, "batch players"] | None,
) -> Iterator[Float[Tensor, "points masks"]]:
    """What is left of v after each count of terms, a block of counts at a time."""
    yield error
    for stretches in blocks:
        some = masks is not None
        added = _on_some(ranked, stretches, masks) if some else _on_all(ranked, stretches)
        left = error - added.cumsum(0)
        error = left[-1:]
        yield left


def _on_all(
    ranked: Interactions, stretches: list[tuple[int, int]]
) -> Float[Tensor, "points coalitions"]:
    """What each stretch of terms adds, on all coalitions."""
    chosen = slice(stretches[0][0], stretches[-1][1])
    own = replace(
        ranked,
        members=ranked.members[chosen],
        is_or=ranked.is_or[chosen],
        effects=ranked.effects[chosen],
    )
    return logic_values(own, _stretch(stretches).to(own.effects.device), len(stretches))


def _on_some(
    ranked: Interactions, stretches: list[tuple[int, int]], masks: Bool[Tensor, "batch players"]
) -> Float[Tensor, "points batch"]:
    """The same on the given masks, some terms at a time."""
    added = ranked.effects.new_zeros(len(masks), len(stretches))
    stretch = _stretch(stretches).to(ranked.effects.device)
    order = ranked.order
    size = max(1, AT_ONCE // len(masks))
    begin = stretches[0][0]
    for first in range(begin, stretches[-1][1], size):
        chosen = slice(first, min(first + size, stretches[-1][1]))
        members = ranked.members[chosen].float()  # counts up to some millions are exact
        present = masks.float() @ members.T
        fires = torch.where(ranked.is_or[chosen], present > 0, present == order[chosen])
        own = stretch[first - begin : chosen.stop - begin]
        added.index_add_(1, own, fires * ranked.effects[chosen])
    return added.T


def _stretch(stretches: list[tuple[int, int]]) -> Tensor:
    """Which stretch each term belongs to."""
    lengths = torch.tensor([last - first for first, last in stretches])
    return torch.repeat_interleave(torch.arange(len(stretches)), lengths)
