"""The axioms that a card promises, as properties over random games and networks.

A method is held to them by its card alone. Games come as tables, networks as seeds; what is
compared is read off the type of the result.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strategies import NAMES, numbers, relu_network, tabled, tables, tensors
from supplies import supplies
from unmask import Game, catalogue, logit
from unmask.lattice import coalitions
from unmask.results import Attribution, Interactions, Measurement

ENTRIES = catalogue.methods()
WIDTH = 4


def promising(axiom, subject):
    """The methods of a game, or of a score and an input, that promise an axiom."""
    chosen = {
        name: entry
        for name, entry in ENTRIES.items()
        if axiom in entry.axioms and (subject in entry.needs)
    }
    return pytest.mark.parametrize("entry", chosen.values(), ids=chosen)


@st.composite
def pairs(draw):
    """Two games of the same players."""
    v = draw(tables(1, 5))
    return v, draw(tensors(len(v)))


def of_game(entry, game):
    """The method on a game; whatever else it needs is small and always the same."""
    wanted = {name: value for name, value in supplies(entry=entry).items() if name in entry.needs}
    return catalogue.fill(entry, wanted | {"game": game})


def of_score(entry, score, x, baseline):
    made = supplies(dtype=torch.float64, entry=entry)
    wanted = {name: value for name, value in made.items() if name in entry.needs}
    if "baseline" in wanted:
        wanted["baseline"] = baseline
    return catalogue.fill(entry, wanted | {"score": score, "x": x})


def doubt(result):
    """How far a result may be from what it stands for, by its own account."""
    if isinstance(result, Interactions):
        return (result.gap or 0.0) * float(result.effects.abs().sum())
    return 0.0


def by_term(result):
    """(members, AND or OR) -> effect; of one player AND and OR are the same."""
    effects = {}
    for members, is_or, effect in zip(
        result.members.tolist(), result.is_or.tolist(), result.effects.tolist(), strict=True
    ):
        term = frozenset(i for i, member in enumerate(members) if member)
        key = (term, is_or and len(term) > 1)
        effects[key] = effects.get(key, 0.0) + effect
    return effects


def close(one, other, scale):
    assert abs(one - other) <= 1e-8 * max(1.0, scale)


def size(v):
    return float(v.abs().max())


def with_null_player(v, place):
    """The game in which one more player takes part and never matters."""
    low = 2**place
    return v.view(-1, 1, low).expand(-1, 2, low).reshape(-1).clone()


def swapped(v, i, j):
    """The game in which two players have changed places."""
    n = len(v).bit_length() - 1

    def moved(place):
        a, b = place >> i & 1, place >> j & 1
        return place & ~(1 << i | 1 << j) | b << i | a << j

    return v[[moved(place) for place in range(2**n)]]


# Of games


@promising("matching", "game")
@given(v=tables(1, 5))
def test_matching(entry, v):
    result = of_game(entry, tabled(v))
    if isinstance(result, Interactions):
        values = result(coalitions(len(v).bit_length() - 1))
        assert (values - v).abs().max() <= 1e-8 * max(1.0, size(v))
    else:
        assert isinstance(result, Measurement)
        assert result.numbers["largest_error"] <= 1e-8 * max(1.0, size(v))


@promising("completeness", "game")
@given(v=tables(1, 5))
def test_completeness_of_a_game(entry, v):
    result = of_game(entry, tabled(v))
    if isinstance(result, Attribution):
        assert result.values.shape == (1, len(v).bit_length() - 1)
        total = float(result.values.sum())
        if result.gap is not None:
            close(float(result.gap), float(v[-1] - v[0]) - total, size(v))
    else:
        assert isinstance(result, Interactions)
        close(result.empty, float(v[0]), size(v))
        total = float(result.effects.sum())
    close(total, float(v[-1] - v[0]), size(v))


@promising("dummy", "game")
@given(v=tables(1, 4), place=st.integers(0, 4))
def test_a_null_player_gets_nothing(entry, v, place):
    null = place % len(v).bit_length()
    result = of_game(entry, tabled(with_null_player(v, null)))
    if isinstance(result, Attribution):
        close(float(result.values[0, null]), 0.0, size(v))
    else:
        assert isinstance(result, Interactions)
        # A sparser explanation is the one without the terms of a null player.
        wasted = float(result.effects[result.members[:, null]].abs().sum())
        assert wasted <= 1e-8 * max(1.0, size(v)) + doubt(result)


@promising("symmetry", "game")
@given(v=tables(2, 5), first=st.integers(0, 4), further=st.integers(0, 3))
def test_renamed_players_keep_what_is_theirs(entry, v, first, further):
    n = len(v).bit_length() - 1
    i = first % n
    j = (i + 1 + further % (n - 1)) % n
    one, other = of_game(entry, tabled(v)), of_game(entry, tabled(swapped(v, i, j)))
    exchange = {i: j, j: i}
    if isinstance(one, Attribution):
        for player in range(one.values.shape[1]):
            mine, theirs = one.values[0, player], other.values[0, exchange.get(player, player)]
            close(float(mine), float(theirs), size(v))
    else:
        assert isinstance(one, Interactions)
        renamed = by_term(other)
        for (term, is_or), effect in by_term(one).items():
            moved = (frozenset(exchange.get(player, player) for player in term), is_or)
            close(effect, renamed.get(moved, 0.0), size(v))


@promising("linearity", "game")
@given(pair=pairs(), factor=numbers(3.0))
def test_sums_of_games_are_explained_by_sums(entry, pair, factor):
    v, w = pair
    one, other, both = (of_game(entry, tabled(u)) for u in (v, w, v + factor * w))
    scale = size(v) + size(w) * max(1, abs(factor))
    if isinstance(one, Attribution):
        difference = both.values - one.values - factor * other.values
        assert difference.abs().max() <= 1e-8 * max(1.0, scale)
    else:
        assert isinstance(one, Interactions)
        one, other, both = by_term(one), by_term(other), by_term(both)
        for term in one.keys() | other.keys() | both.keys():
            expected = one.get(term, 0.0) + factor * other.get(term, 0.0)
            close(both.get(term, 0.0), expected, scale)


# Of scores. Networks without kinks, where integrals along a path are exact to the last digits.


def smooth(seed):
    return relu_network([WIDTH, 6, 3], seed, kink=nn.Tanh)


def inputs(test):
    drawn = given(
        seed=st.integers(0, 1000),
        x=tensors(2, WIDTH),
        baseline=tensors(WIDTH),
        which=st.integers(0, 2),
    )
    return settings(max_examples=8)(drawn(test))


def ends(score, x, baseline):
    with torch.no_grad():
        return score(x) - score(baseline.expand_as(x))


@promising("completeness", "score")
@inputs
def test_completeness_of_a_score(entry, seed, x, baseline, which):
    for network in (smooth(seed), relu_network([WIDTH, 6, 3], seed)):
        score = logit(network, which)
        result = of_score(entry, score, x, baseline)
        assert isinstance(result, Attribution)
        assert result.gap is not None
        gap = ends(score, x, baseline) - result.values.flatten(1).sum(1)
        assert torch.allclose(result.gap, gap, atol=1e-8)
        assert (gap.abs() <= 0.05 * max(1.0, size(x), size(baseline))).all()


@promising("dummy", "score")
@inputs
def test_a_feature_that_the_network_ignores_gets_nothing(entry, seed, x, baseline, which):
    network = relu_network([WIDTH, 6, 3], seed)
    with torch.no_grad():
        network[0].weight[:, which] = 0
    result = of_score(entry, logit(network, 1), x, baseline)
    assert isinstance(result, Attribution)
    assert (result.values[:, which].abs() <= 1e-10).all()


@promising("symmetry", "score")
@inputs
def test_features_that_are_alike_get_the_same(entry, seed, x, baseline, which):
    network = relu_network([WIDTH, 6, 3], seed)
    with torch.no_grad():
        network[0].weight[:, 3] = network[0].weight[:, which]
    x, baseline = x.clone(), baseline.clone()
    x[:, 3], baseline[3] = x[:, which], baseline[which]
    result = of_score(entry, logit(network, 1), x, baseline)
    assert isinstance(result, Attribution)
    assert torch.allclose(result.values[:, 3], result.values[:, which], atol=1e-9)


@promising("linearity", "score")
@inputs
def test_sums_of_scores_are_explained_by_sums(entry, seed, x, baseline, which):
    first, second = smooth(seed), smooth(seed + 1)

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = first, second

        def forward(self, x):
            return self.first(x) + 2 * self.second(x)

    one, other, both = (
        of_score(entry, logit(network, which), x, baseline) for network in (first, second, Sum())
    )
    assert isinstance(one, Attribution)
    scale = max(1.0, size(one.values), size(other.values))
    assert (both.values - one.values - 2 * other.values).abs().max() <= 1e-3 * scale


# The tests themselves: each must catch a method that breaks its promise.


def fair(game: Game) -> Attribution:
    """Everyone the same: complete, symmetric and linear, but it pays the idle."""
    v, n = game.table(), len(game.names)
    return Attribution(((v[-1] - v[0]) / n).expand(1, n))


def greedy(game: Game) -> Attribution:
    """All to the first: neither symmetric nor fair to a null player."""
    v = game.table()
    values = torch.zeros(1, len(game.names), dtype=v.dtype)
    values[0, 0] = (v[-1] - v[0]).abs() + 1
    return Attribution(values)


def single(game: Game) -> Interactions:
    """Single players only: matches none but additive games."""
    v, n = game.table(), len(game.names)
    alone = v[[2**i for i in range(n)]] - v[0]
    return Interactions(
        torch.eye(n).bool(), torch.zeros(n).bool(), alone.abs(), float(v[0]), game.names
    )


V = torch.tensor([1.0, 3.0, 0.0, -2.0, 5.0, 4.0, 1.0, 6.0], dtype=torch.float64)
W = torch.tensor([0.0, 2.0, 2.0, 1.0, -3.0, 1.0, 0.0, -7.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("axiom", "drawn", "broken"),
    [
        (test_matching, {"v": V}, single),
        (test_completeness_of_a_game, {"v": V}, greedy),
        (test_completeness_of_a_game, {"v": V}, single),
        (test_a_null_player_gets_nothing, {"v": V, "place": 1}, fair),
        (test_renamed_players_keep_what_is_theirs, {"v": V, "first": 0, "further": 1}, greedy),
        (test_sums_of_games_are_explained_by_sums, {"pair": (V, W), "factor": 1.0}, greedy),
        (test_sums_of_games_are_explained_by_sums, {"pair": (V, W), "factor": 1.0}, single),
    ],
)
def test_broken_promises_are_caught(axiom, drawn, broken):
    entry = catalogue.Entry(broken.__name__, "", "", "", "", ("game",), {}, None, (), (), broken)
    with pytest.raises(AssertionError):
        axiom.hypothesis.inner_test(entry=entry, **drawn)


def test_networks_and_games_differ():
    """The strategies would prove little if they made the same thing again and again."""
    assert not torch.equal(smooth(0)[0].weight, smooth(1)[0].weight)
    assert len(set(NAMES)) == 20
