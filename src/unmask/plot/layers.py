"""Nodes in layers, each put near what it is joined to, so that few lines cross."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

SWEEPS = 24


@dataclass(frozen=True)
class Layers:
    """Places between 0 and 1, layer by layer, and what joins them.

    Args:
        players: where each player lies.
        words: where each word lies.
        terms: where each term lies.
        drawn: which players are part of anything.
        of_words: the players of each word.
        uses: the words of each term.
        loose: the players of each term that no word of it holds.
    """

    players: Float[np.ndarray, " players"]
    words: Float[np.ndarray, " words"]
    terms: Float[np.ndarray, " terms"]
    drawn: Bool[np.ndarray, " players"]
    of_words: Bool[np.ndarray, "words players"]
    uses: Bool[np.ndarray, "terms words"]
    loose: Bool[np.ndarray, "terms players"]


def arranged(
    members: Bool[np.ndarray, "terms players"],
    of_words: Bool[np.ndarray, "words players"],
    uses: Bool[np.ndarray, "terms words"],
    order: Sequence[int] | None = None,
) -> Layers:
    """Move each layer in turn to the mean places of its neighbours; keep what crosses least.

    Args:
        members: the players of each term.
        of_words: the players of each word.
        uses: the words of each term.
        order: that the players keep; without one they are moved as well.
    """
    spoken = np.asarray(uses.astype(int) @ of_words.astype(int) > 0)
    loose = members & ~spoken
    drawn = np.asarray(members.any(0))
    first = [i for i in (order if order is not None else range(len(drawn))) if drawn[i]]
    players = np.full(len(drawn), 0.5)
    players[first] = _spread(len(first))
    best, fewest = None, np.inf
    terms, words = np.zeros(len(members)), np.zeros(len(of_words))
    for _ in range(SWEEPS):
        words = _ranked(_mean(of_words, players))
        below = loose.sum(1) * _mean(loose, players) + (uses * of_words.sum(1)) @ words
        terms = _ranked(below / np.maximum(1, members.sum(1)))
        found = Layers(players.copy(), words, terms, drawn, of_words, uses, loose)
        crossed = crossings(found)
        if crossed < fewest:
            best, fewest = found, crossed
        if order is not None:
            break
        above = loose.sum(0) * _mean(loose.T, terms) + of_words.sum(0) * _mean(of_words.T, words)
        above = above / np.maximum(1, loose.sum(0) + of_words.sum(0))
        players[drawn] = _ranked(above[drawn])
    assert best is not None  # there is at least one sweep
    return best


def crossings(layers: Layers) -> int:
    """How many pairs of lines between the same two layers cross."""
    return (
        _crossed(layers.loose, layers.terms, layers.players)
        + _crossed(layers.uses, layers.terms, layers.words)
        + _crossed(layers.of_words, layers.words, layers.players)
    )


def _crossed(joined: np.ndarray, above: np.ndarray, below: np.ndarray) -> int:
    upper, lower = joined.nonzero()
    up, down = above[upper], below[lower]
    opposed = (up[:, None] - up) * (down[:, None] - down) < 0
    return int(opposed.sum()) // 2


def _mean(joined: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The mean place of all that each is joined to."""
    return joined @ places / np.maximum(1, joined.sum(1))


def _ranked(wanted: np.ndarray) -> np.ndarray:
    """Evenly spread places in the wanted order."""
    places = np.empty(len(wanted))
    places[wanted.argsort(kind="stable")] = _spread(len(wanted))
    return places


def _spread(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / max(1, count)
