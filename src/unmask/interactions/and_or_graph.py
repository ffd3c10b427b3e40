"""The AND-OR graph: the few terms that tell nearly all, made of the words they share."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmask.card import method
from unmask.game import Game
from unmask.interactions.and_or import given_or_found
from unmask.interactions.graph.pruned import Pruning, pruning
from unmask.interactions.graph.words import words
from unmask.results import AndOrGraph, Interactions, Measurement

UNFAITHFULNESS, RATIO, FEWEST, MOST, MERGES = 0.1, 0.95, 15, 80, 5
"""The limits of the paper."""
_EXACT = 1e-18
"""Of the squares of what is to be told: an error below this is that of rounding."""


@method("ren2023defining")
def and_or_graph(
    game: Game,
    *,
    terms: Interactions | None = None,
    unfaithfulness: float = UNFAITHFULNESS,
    ratio: float = RATIO,
    fewest: int = FEWEST,
    most: int = MOST,
    merges: int = MERGES,
) -> AndOrGraph:
    r"""Sum up a game in a graph: players form words, words form terms, and terms the value.

    Terms are left out one by one, always the one without which the squared error is the least,
    and the fewest are kept with which both of these keep their limits:

    $$
    \text{unfaithfulness} = \frac{\sum_S (v(S) - g(S))^2}{\sum_S (v(S) - v(\emptyset))^2}, \qquad
    R = \frac{\sum_{\text{kept}} |I|}{\sum_{\text{kept}} |I| + |\sum_{\text{dropped}} I|}
    $$

    g is the game of the kept terms, with the effects that they had. The search goes on from
    there: sets of players that several kept ANDs, or several kept ORs, have in common become
    words where that shortens the description of them all (`words`). Words change the picture, not
    the value: calling the graph's `terms` gives g, and if nothing is left out that is v.

    With R, effects of opposite sign that are left out make up for each other, as in the paper; the
    unfaithfulness in the result is of all coalitions. If no number of terms up to `most` keeps
    both limits, `most` are kept, and the unfaithfulness tells what is lost. The paper tries only
    the weakest 20 or 40 terms at a time; here all are compared, at the price of one pass over
    them. Its code length has strengths in the units of v beside an entropy without any; here the
    mean strength is one, so that v in other units has the same graph.

    Args:
        game: v, with few enough players for a table of 2^n values.
        terms: an explanation of v; by default `and_or(game)`.
        unfaithfulness: the most that may be lost; 0 to leave out nothing but what changes nothing.
        ratio: the least R.
        fewest: terms that are kept in any case, if there are so many.
        most: terms that are kept at most.
        merges: the most words of either kind.

    >>> from unmask.planted import terms_of
    >>> told = terms_of("abcde", ands={("a", "b", i): 1.0 for i in "cde"})
    >>> graph = and_or_graph(Game(told, told.names))
    >>> [[graph.names[i] for i in word.nonzero()[:, 0]] for word in graph.words]
    [['a', 'b']]
    """
    _admit(unfaithfulness, ratio, fewest, most, merges)
    v, terms = _given(game, terms)
    found = pruning(terms, v)
    lost = _unfaithful(found, v)
    keeps = (lost <= unfaithfulness + _EXACT) & (found.ratio >= ratio)
    all_of_them = len(terms.effects)
    allowed = range(min(fewest, all_of_them), min(most, all_of_them) + 1)
    count = next((k for k in allowed if keeps[all_of_them - k]), allowed[-1])
    return _graph(terms, found, count, merges, float(lost[all_of_them - count]))


@method("ren2023defining")
def and_or_graph_complexity(
    game: Game, *, terms: Interactions | None = None, most: int = MOST, merges: int = MERGES
) -> Measurement:
    r"""Trade the size of an AND-OR graph against its unfaithfulness.

    $$
    \text{unfaithfulness}(k) = \frac{\sum_S (v(S) - g_k(S))^2}{\sum_S (v(S) - v(\emptyset))^2}
    $$

    where $g_k$ is the game of the k terms that `and_or_graph` would keep as the last ones. Curves
    over `terms`, k from 0 to `most`: `unfaithfulness`; `ratio`, R; and of the graph `nodes`, which
    are players, words and terms and the root, and `edges`, both with words, and
    `edges_without_words`. Numbers: `possible_terms`, how many the explanation has, and their own
    `unfaithfulness`, zero where they reproduce v.

    Args:
        game: v, with few enough players for a table of 2^n values.
        terms: an explanation of v; by default `and_or(game)`.
        most: the largest graph to look at.
        merges: the most words of either kind.

    >>> from unmask.planted import terms_of
    >>> told = terms_of("abcde", ands={("a", "b", i): 1.0 for i in "cde"})
    >>> found = and_or_graph_complexity(Game(told, told.names))
    >>> found.curves["edges"].tolist(), found.curves["edges_without_words"].tolist()
    ([0.0, 4.0, 8.0, 11.0], [0.0, 4.0, 8.0, 12.0])
    """
    _admit(0.0, 0.0, 0, most, merges)
    v, terms = _given(game, terms)
    found = pruning(terms, v)
    lost = _unfaithful(found, v).flip(0)
    counts = range(min(most, len(terms.effects)) + 1)
    graphs = [_graph(terms, found, k, merges, 0.0) for k in counts]
    told = torch.tensor([_size(graph) for graph in graphs], dtype=torch.float64, device=v.device)
    return Measurement(
        {"possible_terms": float(len(terms.effects)), "unfaithfulness": float(lost[-1])},
        {
            "terms": torch.arange(len(counts), dtype=torch.float64, device=v.device),
            "unfaithfulness": lost[: len(counts)].clone(),
            "ratio": found.ratio.flip(0)[: len(counts)].clone(),
            "nodes": told[:, 0],
            "edges": told[:, 1],
            "edges_without_words": told[:, 2],
        },
        {"size of the graph": ("terms", "nodes", "edges", "edges_without_words")},
    )


def _given(
    game: Game, terms: Interactions | None
) -> tuple[Float[Tensor, " coalitions"], Interactions]:
    """The table, and the terms that have an effect."""
    v, terms = given_or_found(game, terms)
    some = terms.effects != 0
    return v, Interactions(
        terms.members[some], terms.is_or[some], terms.effects[some], terms.empty, terms.names
    )


def _unfaithful(found: Pruning, v: Float[Tensor, " coalitions"]) -> Float[Tensor, " counts"]:
    """The error relative to that of v(empty); of a game that never changes, nothing is lost."""
    whole = (v - v[0]).square().sum()
    return found.error / whole if whole > 0 else torch.zeros_like(found.error)


def _graph(terms: Interactions, found: Pruning, count: int, merges: int, lost: float) -> AndOrGraph:
    kept = found.last(count)
    members, is_or, effects = terms.members[kept], terms.is_or[kept], terms.effects[kept]
    # An OR of one player is an AND as well, and of no use for words of either kind.
    sets, kinds, uses = [], [], []
    for kind in (False, True):
        own = is_or == kind
        made = words(members[own], effects[own].abs(), merges)
        whole = torch.zeros(count, len(made.members), dtype=torch.bool, device=members.device)
        whole[own] = made.uses
        sets.append(made.members)
        kinds.append(torch.full((len(made.members),), kind, device=members.device))
        uses.append(whole)
    return AndOrGraph(
        members=members,
        is_or=is_or,
        effects=effects,
        empty=terms.empty,
        names=terms.names,
        words=torch.cat(sets),
        words_are_or=torch.cat(kinds),
        uses=torch.cat(uses, 1),
        evaluations=2 ** len(terms.names),
        unfaithfulness=lost,
    )


def _size(graph: AndOrGraph) -> tuple[int, int, int]:
    """Nodes and edges, and edges without words. The players that no term holds are none."""
    count = len(graph.effects)
    spoken = (graph.uses.double() @ graph.words.double()) > 0
    loose: Bool[Tensor, "terms players"] = graph.members & ~spoken
    nodes = int(graph.members.any(0).sum()) + len(graph.words) + count + 1
    edges = int(graph.words.sum() + graph.uses.sum() + loose.sum()) + count
    return nodes, edges, int(graph.members.sum()) + count


def _admit(unfaithfulness: float, ratio: float, fewest: int, most: int, merges: int) -> None:
    if not unfaithfulness >= 0:
        raise ValueError(
            f"The unfaithfulness is a share of at least 0, but is {unfaithfulness}. "
            "Give a small number such as 0.1, or 0 for an exact graph."
        )
    if not 0 <= ratio <= 1:
        raise ValueError(
            f"The ratio is the share of the strength that is told, from 0 to 1, but is {ratio}. "
            "Give a number such as 0.95."
        )
    if not 0 <= fewest <= most:
        raise ValueError(
            f"A graph keeps from {fewest} to {most} terms, which is no range. Give fewest of at "
            "least 0, and most of at least that."
        )
    if merges < 0:
        raise ValueError(f"There cannot be {merges} words. Give merges of at least 0.")
