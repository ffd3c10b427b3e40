"""The sparsest AND-OR terms, against linear programming, planted terms and bounds made by hand."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

from logics import l1, network_table, read, rebuilt, subsets, terms_table
from strategies import NAMES, tabled, tables
from unmask import Game, Interactions
from unmask.interactions.and_or import and_or, and_or_tables


def dictionary(n: int) -> np.ndarray:
    """One column per AND term and then per OR term of somebody, one row per coalition."""
    all_ = subsets(n)
    ands = [[float(term <= there) for term in all_[1:]] for there in all_]
    ors = [[float(bool(term & there)) for term in all_[1:]] for there in all_]
    return np.concatenate([ands, ors], axis=1)


def programme_optimum(
    v: Tensor, *, noise: float = 0.0, order_weights: list[float] | None = None
) -> float:
    """The least weighted L1 norm of all AND and OR terms, by the simplex method."""
    n = len(v).bit_length() - 1
    atoms = dictionary(n)[1:]
    u = (v - v[0]).numpy()[1:]
    orders = [len(term) for term in subsets(n)[1:]] * 2
    cost = np.array([1.0 if order_weights is None else order_weights[k - 1] for k in orders])
    if noise:
        columns = np.concatenate([atoms, -atoms, -np.eye(len(u))], axis=1)
        cost = np.concatenate([cost, cost, np.zeros(len(u))])
        bounds = [(0, None)] * (2 * atoms.shape[1]) + [(-noise, noise)] * len(u)
    else:
        columns = np.concatenate([atoms, -atoms], axis=1)
        cost, bounds = np.concatenate([cost, cost]), [(0, None)] * (2 * atoms.shape[1])
    found = linprog(
        cost, A_eq=scipy.sparse.csr_matrix(columns), b_eq=u, bounds=bounds, method="highs-ds"
    )
    assert found.status == 0
    return float(found.fun)


def weighted(terms: Interactions, weights: list[float]) -> float:
    return float((terms.effects.abs() * torch.tensor(weights).double()[terms.order - 1]).sum())


def planted(
    n: int, count: int, seed: int
) -> tuple[Tensor, dict[tuple[frozenset[int], bool], float]]:
    """A table made of that many random AND terms and as many OR terms, by plain sums."""
    generator = torch.Generator().manual_seed(seed)
    several = [s for s in subsets(n) if len(s) > 1]
    truth: dict[tuple[frozenset[int], bool], float] = {}
    for is_or in (False, True):
        for place in torch.randperm(len(several), generator=generator)[:count].tolist():
            truth[several[place], is_or] = float(torch.randn((), generator=generator).double())
    table = [
        sum(e for (s, is_or), e in truth.items() if (s & there if is_or else s <= there))
        for there in subsets(n)
    ]
    return torch.tensor(table, dtype=torch.float64), truth


@given(tables(1, 5))
def test_terms_match_any_game_on_every_coalition(table):
    terms = and_or(tabled(table))
    assert terms.evaluations == len(table)
    scale = max(1.0, float(table.abs().max()))
    torch.testing.assert_close(rebuilt(terms), table, rtol=0, atol=1e-12 * scale)
    assert 0 <= terms.gap <= 1e-6


@given(tables(1, 5))
def test_single_players_are_and_terms_and_no_term_is_zero(table):
    terms = and_or(tabled(table))
    assert not (terms.is_or & (terms.order == 1)).any()
    assert (terms.order > 0).all()
    assert (terms.effects != 0).all()


@settings(max_examples=25)
@given(tables(2, 4), st.sampled_from([0.0, 0.05, 0.3]))
def test_l1_is_that_of_linear_programming(table, tolerance):
    noise = tolerance * float(abs(table[-1] - table[0]))
    best = programme_optimum(table, noise=noise)
    terms = and_or(tabled(table), tolerance=tolerance, precision=1e-9)
    assert l1(terms) == pytest.approx(best, rel=1e-7, abs=1e-7)
    assert l1(terms) * (1 - terms.gap) <= best + 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("setting", ["exact", "tolerant", "weighted"])
def test_eight_players_agree_with_linear_programming_to_eight_digits(seed, setting):
    table = network_table(8, seed)
    weights = [1.0, 1.0, 1.5, 2.0, 2.0, 0.7, 3.0, 3.0]
    if setting == "exact":
        best = programme_optimum(table)
        terms = and_or(tabled(table), precision=1e-9)
    elif setting == "tolerant":
        best = programme_optimum(table, noise=0.04 * float(abs(table[-1] - table[0])))
        terms = and_or(tabled(table), tolerance=0.04, precision=1e-9)
    else:
        best = programme_optimum(table, order_weights=weights)
        terms = and_or(tabled(table), order_weights=weights, precision=1e-9)
        assert weighted(terms, weights) == pytest.approx(best, rel=1e-8)
        return
    assert l1(terms) == pytest.approx(best, rel=1e-8)


@pytest.mark.parametrize(
    ("value", "players", "least"),
    [
        (lambda masks: masks[:, :3].any(1).double(), 6, 1.0),  # a pure OR; seven as AND terms
        (lambda masks: (masks.sum(1) >= 2).double(), 3, 5.0),  # majorities
        (lambda masks: (masks.sum(1) >= 3).double(), 5, 21.0),
        (lambda masks: (masks.sum(1) % 2).double(), 4, 16.0),  # parity
    ],
)
def test_games_whose_optimum_is_known(value, players, least):
    terms = and_or(Game(value, NAMES[:players]))
    assert l1(terms) == pytest.approx(least, rel=1e-6)
    assert terms.gap <= 1e-6


@pytest.mark.parametrize("players", [4, 5, 6])
@pytest.mark.parametrize("kind", ["parity", "whole numbers"])
def test_many_equally_sparse_logics_end_in_one_of_no_more_terms_than_equations(players, kind):
    if kind == "parity":
        table = torch.tensor([len(s) % 2 for s in subsets(players)]).double()
    else:
        generator = torch.Generator().manual_seed(players)
        table = torch.randint(-2, 3, (2**players,), generator=generator).double()
    terms = and_or(tabled(table))
    assert len(terms.effects) < 2**players
    assert l1(terms) == pytest.approx(programme_optimum(table), rel=1e-6)


@pytest.mark.parametrize(
    ("players", "count", "seed"), [(8, 5, 1), (8, 10, 1), (8, 20, 2), (10, 10, 1), (10, 30, 1)]
)
def test_planted_terms_come_back(players, count, seed):
    table, truth = planted(players, count, seed)
    terms = and_or(tabled(table))
    assert terms.gap <= 1e-8
    found = read(terms)
    assert found.keys() == truth.keys()
    assert max(abs(found[key] - truth[key]) for key in truth) < 1e-9


def test_planted_terms_come_back_by_splitting():
    table, truth = planted(11, 8, 3)
    terms = and_or(tabled(table), precision=1e-4, steps=3000)
    assert terms.gap <= 1e-4
    least = sum(abs(effect) for effect in truth.values())
    assert l1(terms) * (1 - terms.gap) <= least + 1e-9
    assert l1(terms) <= least * (1 + 1e-4)
    found = read(terms)
    assert max(abs(found.get(key, 0.0) - truth[key]) for key in truth) < 1e-2


@pytest.mark.parametrize("precision", [1e-2, 1e-6])
def test_tolerance_bounds_the_noise(precision):
    table = network_table(6)
    box = 0.05 * float(abs(table[-1] - table[0]))
    terms = and_or(tabled(table), tolerance=0.05, precision=precision)
    off = (rebuilt(terms) - table).abs()
    assert float(off.max()) <= box * (1 + 1e-9)
    assert float(off[0]) == 0
    assert l1(terms) < l1(and_or(tabled(table)))
    assert terms.gap <= precision


def test_noise_that_covers_everything_leaves_no_term():
    table = torch.tensor([0.0, 0.1, -0.1, 1.0]).double()
    terms = and_or(tabled(table), tolerance=1.0)
    assert len(terms.effects) == 0
    assert terms.gap == 0


def test_noise_is_none_where_the_input_is_worth_as_much_as_nothing():
    table = torch.tensor([1.0, 3.0, -2.0, 1.0]).double()
    torch.testing.assert_close(rebuilt(and_or(tabled(table), tolerance=0.1)), table)


def test_weights_of_orders_come_in_three_shapes():
    game = tabled(network_table(5))
    from_one = and_or(game, order_weights=[1.0, 2.0, 3.0, 4.0, 5.0])
    from_zero = and_or(game, order_weights=[9.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    by_call = and_or(game, order_weights=float)
    torch.testing.assert_close(from_one.effects, from_zero.effects)
    torch.testing.assert_close(from_one.effects, by_call.effects)


def test_weights_move_effects_away_from_the_orders_they_make_dear():
    game = tabled(network_table(5))
    plain, dear = and_or(game), and_or(game, order_weights=[1.0, 9.0, 1.0, 1.0, 1.0])
    of_order_two = [terms.effects.abs()[terms.order == 2].sum() for terms in (plain, dear)]
    assert of_order_two[1] < 0.9 * of_order_two[0]
    assert l1(plain) < l1(dear)


def test_weights_that_fall_with_the_order_are_solved_too():
    # The third player never matters, but terms with it are cheaper: 6 in place of 14.
    table = torch.tensor([2.0, 0.0, -1.0, 1.0] * 2).double()
    weights = [10.0, 1.0, 1.0]
    terms = and_or(tabled(table), order_weights=weights, precision=1e-9)
    assert weighted(terms, weights) == pytest.approx(6, rel=1e-7)
    assert programme_optimum(table, order_weights=weights) == pytest.approx(6)
    assert programme_optimum(table[:4], order_weights=weights[:2]) == pytest.approx(14)
    torch.testing.assert_close(rebuilt(terms), table)


def test_a_player_that_hardly_matters_matters():
    masks = [[place >> i & 1 for i in range(4)] for place in range(16)]
    table = torch.tensor([1e3 * a + 1e-2 * (b or c) for a, b, c, _ in masks]).double()
    terms = and_or(tabled(table))
    torch.testing.assert_close(rebuilt(terms), table, rtol=0, atol=1e-10)
    assert terms.members.any(0).tolist() == [True, True, True, False]


@settings(max_examples=25)
@given(
    tables(2, 4),
    st.lists(st.sampled_from([0.1, 1.0, 3.0]), min_size=4, max_size=4),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([1, 3, 50]),
)
def test_a_gap_left_early_bounds_the_weighted_sum(table, weights, tolerance, steps):
    weights = weights[: len(table).bit_length() - 1]
    noise = tolerance * float(abs(table[-1] - table[0]))
    best = programme_optimum(table, noise=noise, order_weights=weights)
    terms = and_or(
        tabled(table), tolerance=tolerance, order_weights=weights, steps=steps, precision=0.3
    )
    own = weighted(terms, weights)
    assert own * (1 - terms.gap) <= best * (1 + 1e-7) + 1e-9
    assert own >= best * (1 - 1e-7) - 1e-9


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("tolerance", [0.0, 0.03])
def test_only_the_ratios_of_weights_count(factor, tolerance):
    game = tabled(network_table(11))
    plain = and_or(game, tolerance=tolerance)
    terms = and_or(game, order_weights=[factor] * 11, tolerance=tolerance)
    assert terms.gap == pytest.approx(plain.gap, rel=1e-3)
    assert l1(terms) == pytest.approx(l1(plain), rel=1e-6)


def test_weights_that_defeat_splitting_are_left_to_the_interior_point():
    table, weights = network_table(6), [800.0, 850.0, 0.05, 1.0, 1.0, 1.0]
    terms = and_or(tabled(table), order_weights=weights, precision=1e-2)
    assert terms.gap <= 1e-2
    best = programme_optimum(table, order_weights=weights)
    assert weighted(terms, weights) == pytest.approx(best, rel=1e-2)


@given(tables(2, 4), st.data())
def test_renaming_players_renames_terms(table, data):
    n = len(table).bit_length() - 1
    order = data.draw(st.permutations(range(n)))
    places = [sum(2 ** order[i] for i in range(n) if place >> i & 1) for place in range(2**n)]
    moved = torch.zeros_like(table)
    moved[places] = table
    plain, renamed = and_or(tabled(table)), and_or(tabled(moved))
    assert l1(renamed) == pytest.approx(l1(plain), rel=1e-6, abs=1e-9)
    torch.testing.assert_close(rebuilt(renamed)[places], rebuilt(plain), rtol=0, atol=1e-11)


@given(tables(1, 4), st.integers(0, 3))
def test_a_player_that_never_matters_is_in_no_term(table, place):
    n = len(table).bit_length() - 1
    place = min(place, n)
    low = 2**place
    wider = torch.stack([table.view(-1, low)] * 2, dim=1).flatten()
    terms = and_or(tabled(wider))
    assert not terms.members[:, place].any()
    assert l1(terms) == pytest.approx(l1(and_or(tabled(table))), rel=1e-6, abs=1e-9)


def test_dummy_is_in_no_term_where_splitting_is_used():
    table = network_table(11)
    wider = torch.cat([table, table])
    terms = and_or(tabled(wider))
    assert not terms.members[:, 11].any()
    assert terms.gap <= 1e-2


@pytest.mark.parametrize("tolerance", [0.0, 0.03])
@pytest.mark.parametrize("players", [5, 11])
def test_a_batch_equals_its_games_alone(players, tolerance):
    several = torch.stack(
        [network_table(players, seed) for seed in range(3)] + [torch.full((2**players,), 2.0)]
    )
    together = and_or_tables(several, NAMES[:players], tolerance=tolerance)
    assert len(together) == 4
    for table, terms in zip(several, together, strict=True):
        alone = and_or(tabled(table), tolerance=tolerance)
        assert terms.gap == pytest.approx(alone.gap, abs=1e-9)
        assert l1(terms) == pytest.approx(l1(alone), rel=1e-9)
        off = 1e-11 + tolerance * float(abs(table[-1] - table[0]))
        assert float((terms_table(terms) - table).abs().max()) <= off * (1 + 1e-9)


@pytest.mark.parametrize(("tolerance", "precision"), [(0.0, 1e-3), (0.03, 1e-2)])
def test_a_start_leads_to_the_same_sum(tolerance, precision):
    game = tabled(network_table(11))
    plain = and_or(game, tolerance=tolerance, precision=precision)
    again = and_or(game, tolerance=tolerance, precision=precision, start=plain)
    assert again.gap <= precision
    assert l1(again) == pytest.approx(l1(plain), rel=precision)
    off = (terms_table(again) - game.table()).abs()
    box = tolerance * float(abs(game.table()[-1] - game.table()[0]))
    assert float(off.max()) <= box + 1e-10


def test_a_start_from_another_game_does_no_harm():
    near = tabled(network_table(11, 0) + 0.1 * network_table(11, 1))
    begin = and_or(tabled(network_table(11)))
    terms = and_or(near, start=begin)
    torch.testing.assert_close(terms_table(terms), near.table(), rtol=0, atol=1e-10)
    assert terms.gap <= 1e-2
    assert l1(terms) == pytest.approx(l1(and_or(near)), rel=2e-2)


def test_what_is_found_is_no_less_sparse_than_the_start():
    game = tabled(network_table(11))
    found = and_or(game, precision=1e-3)
    hurried = and_or(game, steps=1)
    again = and_or(game, steps=1, start=found)
    assert l1(again) <= l1(found) * (1 + 1e-12) < 0.9 * l1(hurried)


@pytest.mark.parametrize("factor", [float("nan"), 1e12, -1.0])
@pytest.mark.parametrize("tolerance", [0.0, 0.03])
def test_a_start_that_leads_astray_is_not_taken(factor, tolerance):
    game = tabled(network_table(11))
    begin = and_or(game)
    begin = replace(begin, effects=begin.effects * factor)
    plain = and_or(game, tolerance=tolerance)
    terms = and_or(game, tolerance=tolerance, start=begin)
    assert (terms.gap, l1(terms)) == (plain.gap, l1(plain))


def test_fewer_steps_cost_sparsity_and_never_faithfulness():
    table = network_table(11)
    terms = and_or(tabled(table), steps=3, precision=1e-4)
    torch.testing.assert_close(terms_table(terms), table, rtol=0, atol=1e-10)
    better = and_or(tabled(table), steps=100, precision=1e-4)
    assert l1(better) < l1(terms)
    assert terms.gap > better.gap > 0
    assert l1(terms) * (1 - terms.gap) <= l1(better) * (1 + 1e-12)


def test_sixteen_players_reach_one_per_cent():
    table = network_table(16)
    terms = and_or(tabled(table))
    assert terms.gap <= 1e-2
    # The terms add up to the game on coalitions picked here and there.
    places = torch.arange(0, 2**16, 999)
    masks = (places[:, None] >> torch.arange(16)) % 2 == 1
    scale = float(table.abs().max())
    torch.testing.assert_close(terms(masks), table[places], rtol=0, atol=1e-12 * scale)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("players", "tolerance"), [(7, 0.0), (7, 0.03), (12, 0.0), (12, 0.03)])
def test_the_same_on_a_cuda_device(players, tolerance):
    several = torch.stack([network_table(players, seed) for seed in range(2)])
    there = and_or_tables(several.cuda(), NAMES[:players], tolerance=tolerance)
    here = and_or_tables(several, NAMES[:players], tolerance=tolerance)
    for far, near in zip(there, here, strict=True):
        assert far.effects.is_cuda
        assert far.members.is_cuda
        assert l1(far) == pytest.approx(l1(near), rel=1e-5 if players < 11 else 2e-2)
