import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from strategies import relu_network, tabled, tables
from unmask import Game, features, log_odds, logit, masked, predicted
from unmask.evaluation import contribution_fidelity, logic_fidelity, on_trial
from unmask.interactions import and_or
from unmask.methods.saliency import shapley_exact
from unmask.planted import and_or_network, planted_game, planted_terms, terms_of
from unmask.results import Attribution
from unmask.zoo import breast_cancer, digits


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def said(*rows):
    return Attribution(torch.tensor(rows, dtype=torch.float64))


def game_of(terms):
    return Game(terms, terms.names)


def slow_distance(terms, values):
    """The linear programme itself: shares of every term, and what is over or short per player."""
    count, n = terms.members.shape
    places = [(t, i) for t in range(count) for i in range(n) if terms.members[t, i]]
    cost = np.concatenate([np.zeros(len(places)), np.ones(2 * n)])
    balance = np.zeros((n + count, len(cost)))
    for column, (t, i) in enumerate(places):
        balance[i, column] = float(terms.effects[t])
        balance[n + t, column] = 1
    balance[:n, len(places) : len(places) + n] = np.eye(n)
    balance[:n, len(places) + n :] = -np.eye(n)
    target = np.concatenate([np.array(values, dtype=float), np.ones(count)])
    return linprog(cost, A_eq=balance, b_eq=target, bounds=(0, None)).fun


def slow_fidelity(terms, values):
    nothing = slow_distance(terms, [0.0] * len(values))
    size = sum(map(abs, values)) + nothing
    return 1 - slow_distance(terms, values) / size


@pytest.mark.parametrize("seed", range(12))
def test_the_closed_form_agrees_with_the_linear_programme(seed):
    terms = planted_terms(6, 5, 4, seeded(seed))
    values = 2 * torch.randn(4, 6, generator=seeded(seed + 50), dtype=torch.float64)
    values[3] *= float(terms.effects.sum() / values[3].sum())  # of the right sum
    for row in values.tolist():
        found = logic_fidelity(game_of(terms), said(row), terms=[terms])
        assert found.mean == pytest.approx(slow_fidelity(terms, row), abs=1e-9)


def orders(terms, order):
    """What each player adds when they come in this order."""
    own = torch.zeros(1, len(order), dtype=torch.bool)
    added, before = [0.0] * len(order), float(terms(own))
    for i in order:
        own = own.clone()
        own[0, i] = True
        added[i], before = float(terms(own)) - before, float(terms(own))
    return added


@pytest.mark.parametrize("seed", range(10))
def test_shapley_values_and_every_order_are_paid_in_full(seed):
    """Whichever order, an AND goes to the last of its players and an OR to the first."""
    game, terms = planted_game(5, 4, 3, seeded(seed))
    told = [orders(terms, order) for order in itertools.permutations(range(5))]
    for values in [*told[::7], np.mean(told, axis=0).tolist()]:
        assert logic_fidelity(game, said(values)).mean == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_credit_for_a_player_of_no_term_costs_what_it_is(seed):
    """Moving e from the truth to an idle player leaves e without pay there and e short elsewhere;
    only if another may be owed it too can the truth's own shares be moved about."""
    terms = planted_terms(5, 4, 2, seeded(seed))
    wider = terms_of(
        (*terms.names, "idle"),
        ands=_named(terms, False),
        ors=_named(terms, True),
    )
    share = terms.effects / terms.order
    truth = [*(share @ terms.members.double()).tolist(), 0.0]
    nothing = slow_distance(wider, [0.0] * 6)
    for e in (0.5, -2.0):
        values = list(truth)
        values[5], values[0] = e, values[0] - e
        found = logic_fidelity(game_of(wider), said(values), terms=[wider]).mean
        least = abs(e) / (sum(map(abs, values)) + nothing)
        assert 1 - found >= least - 1e-12
        assert found == pytest.approx(slow_fidelity(wider, values), abs=1e-9)


def _named(terms, is_or):
    return {
        tuple(name for name, there in zip(terms.names, row, strict=True) if there): effect
        for row, effect, kind in zip(
            terms.members.tolist(), terms.effects.tolist(), terms.is_or.tolist(), strict=True
        )
        if kind == is_or
    }


def test_numbers_by_hand():
    terms = terms_of("abc", ands={("a", "b"): 4.0}, ors={("b", "c"): -2.0})
    game = game_of(terms)
    for values, moved in (
        ([2.0, 1.0, -1.0], 0),
        ([4.0, 0.0, -2.0], 0),
        ([0.0, 2.0, 0.0], 0),
        ([0.0, 0.0, 2.0], 4),  # c can at best get 0: 2 to be taken off, and 2 to be given to b
        ([5.0, -2.0, -1.0], 2),
        ([2.0, 1.0, 0.0], 1),
        ([0.0, 0.0, 0.0], 2),
    ):
        share = moved / (sum(map(abs, values)) + 2)  # of nothing at all 2 is missing
        assert logic_fidelity(game, said(values)).mean == pytest.approx(1 - share, abs=1e-6)


def test_nothing_may_be_the_right_answer():
    """A term and its contrary on the same players can be paid out as nothing."""
    terms = terms_of("ab", ands={("a", "b"): 1.0}, ors={("a", "b"): -1.0})
    found = logic_fidelity(game_of(terms), said([0.0, 0.0]), terms=[terms])
    assert found.mean == 1
    assert found.evaluations == 0


@pytest.mark.parametrize("metric", [logic_fidelity, contribution_fidelity])
def test_a_constant_score_has_no_logic(metric):
    flat = Game(lambda own: torch.full((len(own),), 3.0), tuple("abc"))
    assert math.isnan(metric(flat, said([1.0, 2.0, 3.0])).mean)


def slow_contributions(v, n, values):
    """Over all orders, one after the other."""
    error = size = 0.0
    for order in itertools.permutations(range(n)):
        own = 0
        for i in order:
            added = float(v[own | 1 << i] - v[own])
            error += (added - values[i]) ** 2
            size += added**2
            own |= 1 << i
    return 1 - error / size


@given(v=tables(2, 5), seed=st.integers(0, 100))
def test_contributions_agree_with_all_orders(v, seed):
    n = len(v).bit_length() - 1
    values = torch.randn(n, generator=seeded(seed), dtype=torch.float64)
    found = contribution_fidelity(tabled(v), Attribution(values[None])).mean
    if (v == v[0]).all():
        assert math.isnan(found)
    else:
        expected = slow_contributions(v, n, values.tolist())
        assert found == pytest.approx(expected, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_no_explanation_foretells_more_than_the_shapley_values(seed):
    game, terms = planted_game(6, 4, 3, seeded(seed))
    best = (terms.effects / terms.order) @ terms.members.double()
    top = contribution_fidelity(game, Attribution(best[None])).mean
    for i in range(6):
        for step in (0.1, -0.1):
            other = best.clone()
            other[i] += step
            assert contribution_fidelity(game, Attribution(other[None])).mean < top


def test_of_an_additive_score_all_is_foretold():
    weights = torch.tensor([4.0, 3, 2, 1]).double()
    game = Game(lambda own: own.double() @ weights, tuple("abcd"))
    assert contribution_fidelity(game, Attribution(weights[None])).mean == pytest.approx(1)
    assert contribution_fidelity(game, said([0.0] * 4)).mean == pytest.approx(0)
    # Off by 1 at one of them: 1 / (16 + 9 + 4 + 1).
    found = contribution_fidelity(game, said([5.0, 3.0, 2.0, 1.0]))
    assert found.mean == pytest.approx(1 - 1 / 30)
    assert found.higher_is_better
    assert found.evaluations == 16


@pytest.mark.parametrize("metric", [logic_fidelity, contribution_fidelity])
def test_many_inputs_are_as_many_games(metric):
    terms = planted_terms(5, 3, 2, seeded(3))
    score = logit(and_or_network(terms), 0)
    x = torch.randint(2, (3, 5), generator=seeded(8)).double()
    x[0] = 1
    nothing = torch.full((5,), 0.5).double()
    values = torch.randn(3, 5, generator=seeded(4), dtype=torch.float64)
    found = metric(on_trial(score, x, features(5), nothing), Attribution(values)).values
    for i in range(3):
        alone = metric(masked(score, x[i], features(5), nothing), Attribution(values[i : i + 1]))
        assert float(alone.values) == pytest.approx(float(found[i]), abs=1e-6)


def test_broken_calls_are_refused():
    terms = terms_of("abc", ands={("a", "b"): 4.0})
    game = game_of(terms)
    told = said([1.0, 2.0, 3.0])
    other = terms_of("abd", ands={("a", "b"): 4.0})
    for wrong in ([], [terms, terms], [other]):
        with pytest.raises(ValueError, match="Give the terms of each input"):
            logic_fidelity(game, told, terms=wrong)
    wide = Game(lambda own: own.double().sum(1), tuple(map(str, range(21))))
    for metric in (logic_fidelity, contribution_fidelity):
        with pytest.raises(ValueError, match="Group the players"):
            metric(wide, Attribution(torch.ones(1, 21)))
        with pytest.raises(ValueError, match="must be finite"):
            metric(game, said([math.nan, 1.0, 2.0]))


@pytest.mark.parametrize(("exhibit", "blind"), [(breast_cancer, True), (digits, False)])
def test_on_networks(exhibit, blind):
    """Of ten columns with a thousand terms of both signs all can be paid; of a digit not."""
    shown = exhibit()
    x = shown.inputs[0]
    score = log_odds(shown.model, int(predicted(shown.model, x[None])))
    game = masked(score, x, shown.players(0), shown.baseline(0))
    terms = [and_or(game)]
    truth = shapley_exact(game).values
    assert logic_fidelity(game, Attribution(truth), terms=terms).mean == pytest.approx(1, abs=1e-5)
    wrong = truth[:, torch.randperm(truth.shape[1], generator=seeded(1))]
    found = logic_fidelity(game, Attribution(wrong), terms=terms).mean
    assert found == pytest.approx(1, abs=1e-5) if blind else found < 0.98
    least = contribution_fidelity(game, Attribution(truth)).mean
    assert contribution_fidelity(game, Attribution(wrong)).mean < least
    # A table of numbers and a network of a table: what is said of each is not all there is.
    assert 0 < least < 1


def test_a_network_and_its_game_agree():
    score = logit(relu_network([6, 8, 3], 0, dtype=torch.float64), 1)
    x = torch.randn(2, 6, generator=seeded(), dtype=torch.float64)
    nothing = torch.zeros(6).double()
    trial = on_trial(score, x, features(6), nothing)
    truth = torch.cat(
        [
            shapley_exact(masked(score, row, features(6), torch.zeros(6).double())).values
            for row in x
        ]
    )
    assert logic_fidelity(trial, Attribution(truth)).values.tolist() == pytest.approx(
        [1, 1], abs=1e-6
    )


def test_a_score_that_rounding_alone_moves_has_no_logic():
    weights = torch.rand(4, 8, generator=seeded())
    score = logit(lambda x: (x @ weights).softmax(1).sum(1, keepdim=True), 0)
    trial = on_trial(score, torch.rand(8, 4, generator=seeded(1)), features(4), torch.zeros(4))
    assert len(trial.under(torch.rand(16, 4, generator=seeded(2)) < 0.5).unique()) > 1
    told = Attribution(torch.tensor([[4.0, 3.0, 2.0, 1.0]]).expand(8, 4))
    assert logic_fidelity(trial, told).values.isnan().all()
    assert contribution_fidelity(trial, told).values.isnan().all()
