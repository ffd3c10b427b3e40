"""Terms of large games: planted ones, noise, real networks, and what is refused."""

import itertools
import os

import numpy as np
import pytest
import torch

from strategies import relu_network
from unmask import Game, features, log_odds, masked, patches, tokens
from unmask.interactions import and_or, large_n
from unmask.lattice import coalitions
from unmask.planted import planted_game, planted_terms, terms_of
from unmask.store import load, save


def listed(terms):
    sets = [tuple(row.nonzero()[:, 0].tolist()) for row in terms.members]
    return dict(
        zip(zip(sets, terms.is_or.tolist(), strict=True), terms.effects.tolist(), strict=True)
    )


def names(n):
    return tuple(f"player {i}" for i in range(n))


def unexplained(terms, game, share=0.5, rows=1000):
    """By the definition, on masks of the test's own."""
    masks = torch.from_numpy(np.random.default_rng(99).random((rows, len(game.names))) < share)
    v = game(masks).double()
    return float((v - terms(masks)).square().mean() / v.var(correction=0))


@pytest.mark.parametrize(
    ("players", "ands", "ors"), [(100, 100, 0), (500, 0, 100), (1000, 100, 0), (500, 50, 50)]
)
def test_a_hundred_planted_terms(players, ands, ors):
    game, truth = planted_game(players, ands, ors, torch.Generator().manual_seed(1))
    terms = large_n(game, budget=20_000)
    assert listed(terms) == pytest.approx(listed(truth), rel=1e-9)
    assert terms.empty == pytest.approx(truth.empty, abs=1e-9)
    assert terms.evaluations is not None
    assert terms.evaluations < 13_000
    assert terms.residual is not None
    assert terms.residual < 1e-20
    assert terms.residual_near_full < 1e-20
    assert unexplained(terms, game) < 1e-20


def test_the_table_of_512_players():
    game, truth = planted_game(512, 20, 0, torch.Generator().manual_seed(1), largest=4)
    terms = large_n(game, budget=8192)
    assert listed(terms) == pytest.approx(listed(truth), rel=1e-9)


def test_all_coalitions_where_they_are_no_more_than_the_budget():
    game, _ = planted_game(8, 6, 3, torch.Generator().manual_seed(0))
    terms = large_n(game, budget=256)
    assert listed(terms) == pytest.approx(listed(and_or(game)))
    assert (terms.evaluations, terms.residual, terms.residual_near_full) == (256, 0.0, 0.0)


@pytest.mark.parametrize(("ands", "ors"), [(9, 0), (0, 9)])
def test_all_coalitions_of_thirteen_players(ands, ors):
    game, truth = planted_game(13, ands, ors, torch.Generator().manual_seed(0))
    terms = large_n(game, budget=2**13)
    assert listed(terms) == pytest.approx(listed(truth))
    assert (terms(coalitions(13)) - game.table()).abs().max() < 1e-11


def test_all_pairs_of_forty_players():
    weights = torch.randn(40, 40, generator=torch.Generator().manual_seed(0)).double()
    game = Game(lambda m: ((m.double() @ weights) * m.double()).sum(1), names(40))
    terms = large_n(game)
    assert unexplained(terms, game) < 1e-20
    assert terms.evaluations < 2500  # 821 small sets, and what was held out


def dense(n, k):
    """A game in which all sets of at most k players add something."""
    sets = [one for size in range(1, k + 1) for one in itertools.combinations(range(n), size)]
    index = torch.tensor([[*one, *[n] * (k - len(one))] for one in sets])
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal(len(sets)))

    def value(masks):
        there = torch.cat([masks, torch.ones(len(masks), 1, dtype=torch.bool)], 1)
        return there[:, index].all(2).double() @ weights

    return Game(value, names(n))


@pytest.mark.parametrize(
    ("n", "k", "budget", "questions"),
    [
        # Held out, the probe's sets of three, its sets of four, and all that are small enough.
        (24, 3, 8192, 827 + 192 + 192 + 2325),
        (40, 3, 18_000, 908 + 192 + 192 + 10_701),
        (40, 2, 8192, 827 + 192 + 821),
        (4000, 1, 8192, 827 + 192 + 4001),
    ],
)
def test_all_small_sets_of_a_dense_game(n, k, budget, questions):
    game = dense(n, k)
    terms = large_n(game, budget=budget)
    assert terms.evaluations == questions
    assert unexplained(terms, game) < 1e-20
    assert unexplained(terms, game, share=0.9) < 1e-20
    assert terms.residual < 1e-20


@pytest.mark.parametrize(
    ("mirrored", "dtype", "error"),
    [(False, torch.float64, 1e-20), (True, torch.float64, 1e-20), (False, torch.float32, 1e-11)],
)
def test_what_larger_sets_add_to_dense_small_ones(mirrored, dtype, error):
    small = dense(24, 2)

    def value(masks):
        found = small(masks) + 30.0 * masks.all(1).double() + 7.0 * masks[:, 3:12].all(1).double()
        return found + 5.0 * masks[:, [1, 8, 15, 20]].all(1).double()

    game = Game(lambda m: value(~m if mirrored else m).to(dtype), small.names)
    terms = large_n(game)
    assert unexplained(terms, game) < error
    ends = torch.stack([torch.zeros(24), torch.ones(24)]).bool()
    assert torch.allclose(terms(ends), game(ends).double(), rtol=10 * error**0.5)
    assert terms.evaluations < 4000  # of which the search in what is left takes a half


def test_noise_is_not_magnified_by_small_sets():
    game = dense(18, 3)
    generator = torch.Generator().manual_seed(0)
    spread = float(game(torch.rand(2000, 18, generator=generator) < 0.5).std())
    # The first is hardly told from rounding; sums over small sets would make it 3e-5.
    for noise in (6e-5, 0.02):

        def value(masks, noise=noise):
            off = torch.randn(len(masks), generator=generator).double()
            return game(masks) + noise * spread * off

        terms = large_n(Game(value, game.names), budget=6200, coefficients=100)
        assert unexplained(terms, game) < noise**2
        # Noise is all that is left, told by 412 coalitions, and a little of what it did to the fit.
        assert terms.residual == pytest.approx(1.3 * noise**2, rel=0.35)


def test_noise_is_told_and_terms_come_near():
    truth = planted_terms(60, 15, 0, torch.Generator().manual_seed(1), largest=2)
    generator = torch.Generator().manual_seed(0)

    def value(masks):
        return truth(masks) + 0.3 * torch.randn(len(masks), generator=generator).double()

    game = Game(value, truth.names)
    terms = large_n(game, budget=4000, coefficients=300)
    masks = torch.rand(2000, 60, generator=torch.Generator().manual_seed(5)) < 0.5
    clean = truth(masks)
    noise = 0.09 / float(clean.var() + 0.09)
    assert terms.residual is not None
    # What cannot be explained is the noise; 266 masks tell it to a fifth.
    assert 0.75 * noise < terms.residual < 1.6 * noise
    assert float((terms(masks) - clean).square().mean()) < 0.03  # a third of the noise's square


def test_parities_under_noise_are_found_by_codes():
    random = np.random.default_rng(0)
    sets = [sorted(random.permutation(100)[:4].tolist()) for _ in range(12)]
    generator = torch.Generator().manual_seed(0)

    def value(masks):
        signs = torch.stack([1 - 2.0 * (masks[:, one].sum(1) % 2) for one in sets])
        return signs.sum(0).double() + 0.2 * torch.randn(len(masks), generator=generator).double()

    terms = large_n(Game(value, names(100)), budget=16_000)
    assert terms.residual is not None
    assert terms.residual < 0.01  # 0.2^2 / 12 is noise
    inside = {s for one in sets for k in range(1, 5) for s in itertools.combinations(one, k)}
    assert {one for one, _ in listed(terms)} <= inside


def test_a_constant_game_has_no_terms():
    terms = large_n(Game(lambda m: torch.full((len(m),), 3.0), names(50)), budget=1000)
    assert len(terms.effects) == 0
    assert (terms.empty, terms.residual) == (3.0, 0.0)


def test_one_player():
    terms = large_n(Game(lambda m: 2 * m[:, 0].double(), ("a",)), budget=2)
    assert listed(terms) == pytest.approx({((0,), False): 2.0})


@pytest.mark.parametrize("budget", [230, 500, 777, 1001, 2999])
def test_no_budget_is_overdrawn(budget):
    asked = []
    network = relu_network([50, 16, 1], seed=0, dtype=torch.float64)

    def value(masks):
        asked.append(len(masks))
        with torch.no_grad():
            return network(masks.double())[:, 0]

    terms = large_n(Game(value, names(50)), budget=budget)
    assert sum(asked) == terms.evaluations
    assert 0.9 * budget < sum(asked) <= budget
    assert terms.residual is not None
    assert terms.residual < 1.2  # hardly worse than a constant, however few


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_terms_of_games_in_few_digits(dtype):
    truth = terms_of(names(40), ands={("player 1", "player 2"): 2.0, ("player 7",): -1.0})
    game = Game(lambda m: truth(m).to(dtype), truth.names)  # whole numbers, exact in any type
    assert listed(large_n(game, budget=3000)) == pytest.approx(listed(truth))


def test_the_same_generator_gives_the_same_terms():
    network = relu_network([30, 16, 1], seed=0, dtype=torch.float64)
    game = Game(lambda m: network(m.double()).detach()[:, 0], names(30))
    before = torch.random.get_rng_state()
    one, two = (large_n(game, budget=400, generator=torch.Generator().manual_seed(3)) for _ in "ab")
    other = large_n(game, budget=400, generator=torch.Generator().manual_seed(4))
    assert torch.equal(one.effects, two.effects)
    assert one.residual == two.residual != other.residual
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_residuals_are_kept(tmp_path):
    terms = large_n(planted_game(30, 5, 0, torch.Generator().manual_seed(0))[0], budget=2000)
    again = load(save(terms, tmp_path / "terms"))
    assert (again.residual, again.residual_near_full) == (terms.residual, terms.residual_near_full)


@pytest.mark.parametrize(
    ("players", "arguments", "message"),
    [
        (30, {"budget": 100}, r"30 players cannot be found from 100 coalitions.*at least 188"),
        (3, {"budget": 7}, r"3 players cannot be found from 7 coalitions.*at least 8"),
        (20_000, {}, r"1 to 16383 players, but the game has 20000. Group"),
        (30, {"degree": 0}, r"at least 1, but are 0 and 1000. Leave"),
        (30, {"coefficients": 0}, r"at least 1, but are 5 and 0. Leave"),
    ],
)
def test_what_is_refused(players, arguments, message):
    with pytest.raises(ValueError, match=message):
        large_n(Game(lambda m: m.sum(1).double(), names(players)), **arguments)


def test_a_value_that_is_no_number_names_its_coalition():
    game = Game(lambda m: torch.where(m[:, 3], torch.nan, 1.0), names(25))
    with pytest.raises(ValueError, match=r"value of the coalition \{.*player 3.*nan"):
        large_n(game, budget=1000)


def test_an_error_of_the_model_comes_through():
    def value(masks):
        raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="the model broke"):
        large_n(Game(value, names(30)), budget=1000)


def test_breast_cancer():
    from unmask.zoo import breast_cancer

    exhibit = breast_cancer()
    score = exhibit.score(exhibit.model, exhibit.labels[0])
    x = exhibit.inputs[0]
    game = masked(score, x, features(len(x)), exhibit.baseline(0))
    terms = large_n(game, budget=2000, coefficients=300)
    assert terms.evaluations == 2000
    own = unexplained(terms, game)
    assert own < 0.1
    assert terms.residual == pytest.approx(own, rel=0.5)  # 133 masks against 1,000


def test_blank_patches_do_not_make_a_network_sparse():
    from unmask.zoo import digits

    exhibit = digits()
    x = exhibit.inputs[0]
    score = log_odds(exhibit.model, exhibit.labels[0])
    game = masked(score, x, patches(x.shape, (8, 4)), exhibit.baseline(0))
    terms = large_n(game, budget=2000)
    # A search for single terms, which idle patches suggest, would waste half: then 0.27 are left.
    assert unexplained(terms, game) < 0.12


def test_sixteen_patches_on_all_coalitions():
    from unmask.zoo import digits

    exhibit = digits()
    grid = patches((1, 8, 8), (4, 4))
    for i in range(3):
        score = log_odds(exhibit.model, exhibit.labels[i])
        game = masked(score, exhibit.inputs[i], grid, exhibit.baseline(i))
        terms = large_n(game, budget=2000, coefficients=500)
        v = game.table().double()
        left = (v - terms(coalitions(16))).square().mean() / v.var(correction=0)
        assert left < 0.03  # from as many shapiq's ProxySPEX leaves at least 0.05
        assert terms.residual == pytest.approx(float(left), rel=0.6)  # 132 masks against 65,536


@pytest.mark.skipif(not os.environ.get("UNMASK_DATA"), reason="needs UNMASK_DATA")
def test_sixty_words():
    from unmask.zoo import sst2
    from unmask.zoo.texts import MASK

    exhibit = sst2()
    x = torch.cat(exhibit.inputs)[:60]
    game = masked(
        log_odds(exhibit.model, 1), x, tokens([str(i) for i in range(60)]), torch.full_like(x, MASK)
    )
    terms = large_n(game, budget=3000, coefficients=300)
    assert unexplained(terms, game) < 0.05  # shapiq's ProxySPEX is at 0.07, SPEX at 0.08
    assert unexplained(terms, game, share=0.9) < 0.5
    assert terms.residual == pytest.approx(unexplained(terms, game), rel=0.5)


@pytest.mark.filterwarnings("ignore:divide by zero")  # of shapiq, in bins that hold nothing
@pytest.mark.oracle
@pytest.mark.slow
def test_shapiq_finds_the_same_terms():
    spex = pytest.importorskip("shapiq.approximator.sparse.spex")
    truth = planted_terms(20, 6, 0, torch.Generator().manual_seed(2), largest=3)

    def value(masks):
        return truth(torch.from_numpy(np.ascontiguousarray(masks.astype(bool)))).numpy()

    # With no term above the order, the faithful Banzhaf indices are the dividends.
    found = spex.SPEX(n=20, index="FBII", max_order=3, random_state=0, degree_parameter=3)
    theirs = {
        one: float(effect)
        for one, effect in found.approximate(6000, value).dict_values.items()
        if one and abs(effect) > 1e-3
    }
    game = Game(truth, truth.names)
    ours = {one: effect for (one, _), effect in listed(large_n(game, budget=6000)).items()}
    assert ours == pytest.approx(theirs, rel=1e-3)  # the fit of shapiq is a lasso
