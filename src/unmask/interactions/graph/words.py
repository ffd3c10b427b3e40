"""Words: sets of players that many terms have in common, by the shortest description."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.lattice import coalitions

ENTROPY = 10.0
"""How much the entropy of the words counts beside the length of the terms."""
MOST_IN_COMMON = 12
"""Of up to so many parts that two terms share, every choice is tried as a word."""


@dataclass(frozen=True)
class Words:
    """Sets of players with two members at least, and which terms are made of them.

    Args:
        members: the players of each.
        uses: the words of each term; those of one term share no player.
    """

    members: Bool[Tensor, "words players"]
    uses: Bool[Tensor, "terms words"]


def words(
    members: Bool[Tensor, "terms players"],
    strength: Float[Tensor, " terms"],
    merges: int,
    entropy: float = ENTROPY,
) -> Words:
    r"""Merge parts of terms into words as long as that shortens the description of them all.

    A term is written as the parts it is made of, at first its players. A part that is met in
    terms of strength t in all has the share $f = t / \sum t$ and a code of the length
    $\log 1/f$, so that with H the entropy of f the description costs

    $$
    \Bigl( \sum t + \mathrm{entropy} \Bigr)\, H
    $$

    Candidates are all sets of parts that two terms have in common. The one that saves most per
    player becomes a part of its own, in all terms that hold it.

    Args:
        members: the players of each term.
        strength: of each term; only ratios matter, as the mean is taken as one.
        merges: the most words to make.
        entropy: the factor of the entropy.
    """
    players = members.shape[1]
    weight = strength.double() / strength.double().mean().clamp_min(1e-300)
    parts = torch.eye(players, dtype=torch.bool, device=members.device)
    uses = members.clone()
    for _ in range(merges):
        sets = _candidates(uses)
        if len(sets) == 0:
            break
        held = _holds(uses, sets)
        grown = (sets.double() @ parts.double()).sum(1)
        saved = (
            _cost(weight, uses, None, held, entropy) - _cost(weight, uses, sets, held, entropy)
        ) / grown
        best = int(saved.argmax())
        if saved[best] <= 1e-9 * entropy:  # rounding is no saving
            break
        chosen = held[:, best]
        word = parts[sets[best]].any(0)
        uses = torch.cat([uses & ~(chosen[:, None] & sets[best]), chosen[:, None]], 1)
        parts = torch.cat([parts, word[None]])
    made, used = parts[players:], uses[:, players:]
    several = used.sum(0) > 1  # a later word may have taken over where an earlier one stood
    return Words(made[several], used[:, several])


def _candidates(uses: Bool[Tensor, "terms parts"]) -> Bool[Tensor, "sets parts"]:
    """All sets of two parts or more that two terms have in common."""
    first, second = torch.triu_indices(len(uses), len(uses), 1, device=uses.device)
    shared = (uses[first] & uses[second]).unique(dim=0)
    shared = shared[shared.sum(1) > 1]
    found = []
    for common in shared:
        place = common.nonzero()[:, 0]
        if len(place) > MOST_IN_COMMON:
            found.append(common[None])
            continue
        sets = torch.zeros(2 ** len(place), uses.shape[1], dtype=torch.bool, device=uses.device)
        sets[:, place] = coalitions(len(place)).to(uses.device)
        found.append(sets[sets.sum(1) > 1])
    return torch.cat(found).unique(dim=0) if found else shared


def _holds(
    uses: Bool[Tensor, "terms parts"], sets: Bool[Tensor, "sets parts"]
) -> Bool[Tensor, "terms sets"]:
    return uses.double() @ sets.double().T == sets.sum(1)


def _cost(
    weight: Float[Tensor, " terms"],
    uses: Bool[Tensor, "terms parts"],
    sets: Bool[Tensor, "sets parts"] | None,
    held: Bool[Tensor, "terms sets"],
    entropy: float,
) -> Float[Tensor, " costs"]:
    """Of the description as it is, or with each of the sets as a word of its own."""
    total = (weight @ uses.double())[None]
    if sets is not None:
        merged = (weight @ held.double())[:, None]
        total = torch.cat([total - merged * sets, merged], 1)
    mass = total.sum(1)
    share = total.clamp_min(0) / mass.clamp_min(1e-300)[:, None]
    return (mass + entropy) * torch.special.entr(share).sum(1)
