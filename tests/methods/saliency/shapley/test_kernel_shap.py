from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import games, relu_network, tabled
from unmask import Game, constant, features, logit, masked, zoo
from unmask.lattice import coalitions
from unmask.methods.saliency import kernel_shap, leverage_shap, shapley_exact
from unmask.methods.saliency.shapley.kernel_shap import regression

both = pytest.mark.parametrize("method", [kernel_shap, leverage_shap])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn_table(n, seed=0):
    return torch.randn(2**n, generator=seeded(seed), dtype=torch.float64)


def named(n):
    return tuple(f"p{i}" for i in range(n))


def slow_regression(table, rows, weights):
    """Coalition by coalition, the constraint as a row of very large weight."""
    n = len(table).bit_length() - 1
    x = np.array([[place >> i & 1 for i in range(n)] for place in rows] + [[1] * n], float)
    y = np.array([float(table[place] - table[0]) for place in rows] + [float(table[-1] - table[0])])
    root = np.sqrt(np.array([*weights, 1e9]))
    return np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]


def kernel(n, size):
    return (n - 1) / (comb(n, size) * size * (n - size))


def test_weights_of_four_players():
    assert [kernel(4, s) for s in (1, 2, 3)] == [0.25, 0.125, 0.25]


@given(st.integers(2, 6), st.integers(0, 99))
def test_the_regression_on_all_pairs_is_exact(n, seed):
    game = tabled(drawn_table(n, seed))
    masks = coalitions(n)[1 : 2 ** (n - 1)]  # without the last player
    odd = (game(masks) - game(~masks)) / 2
    v = game.table()
    found = regression(masks, odd, (v[-1] - v[0]) / 2, torch.zeros(len(masks)).double())
    assert torch.allclose(found.values, shapley_exact(game).values[0], atol=1e-9)
    if len(masks) >= 2 * n:
        assert (found.variance.abs() < 1e-20).all()  # nothing was left to chance


def test_the_regression_is_that_of_the_paper():
    """On pairs that stand for several others, each row weighs as many times its kernel."""
    n, table = 6, drawn_table(6, 3)
    members = [*combinations(range(n), 1), *list(combinations(range(n), 2))[::2]]
    masks = torch.zeros(len(members), n, dtype=torch.bool)
    for row, some in zip(masks, members, strict=True):
        row[list(some)] = True
    stands = torch.tensor([1.0 if len(some) == 1 else 15 / 8 for some in members]).double()
    game = tabled(table)
    odd = (game(masks) - game(~masks)) / 2
    found = regression(masks, odd, (table[-1] - table[0]) / 2, stands.log())
    places = [sum(2**i for i in some) for some in members]
    rows = [*places, *(2**n - 1 - place for place in places)]
    weights = [kernel(n, len(s)) * float(w) for s, w in zip(members, stands, strict=True)] * 2
    assert found.values.numpy() == pytest.approx(slow_regression(table, rows, weights), abs=1e-5)


@both
@given(game=games(max_players=5))
def test_all_coalitions_make_it_exact(method, game):
    n = len(game.names)
    found = method(game, samples=2**n)
    assert torch.allclose(found.values, shapley_exact(game).values)
    assert found.evaluations == 2**n
    assert (found.errors == 0).all()


@both
def test_a_left_glove_and_the_runway(method):
    own = coalitions(3)
    glove = tabled((own[:, 0] & own[:, 1:].any(1)).double())
    assert method(glove).values.tolist() == [pytest.approx([2 / 3, 1 / 6, 1 / 6])]
    runway = tabled((own * torch.tensor([1.0, 2, 3])).amax(1).double())
    assert method(runway).values.tolist() == [pytest.approx([1 / 3, 5 / 6, 11 / 6])]


@both
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [3, 5, 8, 13])
def test_additive_games_need_two_samples_a_player(method, n, seed):
    worth = torch.randn(n, generator=seeded(seed), dtype=torch.float64)
    game = Game(lambda own: 4 + own.double() @ worth, named(n))
    found = method(game, samples=2 * n, generator=seeded(seed))
    assert torch.allclose(found.values[0], worth, atol=1e-9)
    assert found.evaluations == 2 * n
    assert found.errors is None  # nothing is left to tell them from


@both
@pytest.mark.parametrize("samples", [14, 15, 31, 64, 100, 126, 127])
def test_the_sum_is_always_right_and_the_samples_are_kept(method, samples):
    table = drawn_table(7)
    counted = []

    def value(masks):
        counted.append(len(masks))
        return tabled(table)(masks)

    found = method(Game(value, named(7)), samples=samples, generator=seeded())
    assert found.evaluations == sum(counted) == samples - samples % 2
    assert float(found.values.sum()) == pytest.approx(float(table[-1] - table[0]), abs=1e-10)
    assert found.gap.tolist() == pytest.approx([0], abs=1e-10)
    assert found.names == named(7)


@both
def test_one_and_two_players(method):
    one = Game(lambda own: 3.0 * own[:, 0].double() + 1, ("a",))
    assert method(one).values.tolist() == [[3.0]]
    assert method(one, samples=2).evaluations == 2
    two = Game(lambda own: own.all(1).double(), ("a", "b"))
    assert method(two, samples=4).values.tolist() == [[0.5, 0.5]]


@both
def test_nothing_changes_nothing(method):
    found = method(Game(lambda own: torch.ones(len(own)), named(9)), samples=60)
    assert (found.values.abs() < 1e-12).all()
    assert (found.errors < 1e-12).all()


@both
@pytest.mark.parametrize(("n", "samples"), [(3, 0), (3, 1), (3, 3), (8, 9), (8, 15), (2, 3)])
def test_too_few_samples_are_refused(method, n, samples):
    game = Game(lambda own: own.sum(1).double(), named(n))
    least = min(2 * n, 2**n)
    with pytest.raises(ValueError, match=rf"{n} players apart. Give at least samples={least}"):
        method(game, samples=samples)


@both
@pytest.mark.parametrize("error", [0.0, -1.0, float("nan")])
def test_errors_are_above_zero(method, error):
    with pytest.raises(ValueError, match="Give a number above 0"):
        method(Game(lambda own: own.sum(1).double(), named(4)), error=error)


@both
def test_a_broken_value_is_named(method):
    def value(masks):
        broken = masks[:, 2] & (masks.sum(1) == 1)
        return torch.where(broken, torch.nan, 1.0)

    with pytest.raises(ValueError, match=r"coalition \{p2\} is nan"):
        method(Game(value, named(6)), samples=63)


@both
def test_values_are_right_in_the_mean_and_errors_are_what_they_say(method):
    table = drawn_table(8, 5) + coalitions(8).double().sum(1).square() / 8
    game, exact = tabled(table), shapley_exact(tabled(table)).values[0]
    runs = [method(game, samples=90, generator=seeded(seed)) for seed in range(200)]
    values = torch.stack([run.values[0] for run in runs])
    bias = (values.mean(0) - exact) / (values.std(0) / 200**0.5)
    assert bias.abs().max() < 4  # eight players: once in 2,000 draws
    z = torch.stack([(run.values[0] - exact) / run.errors[0] for run in runs])
    # z of 44 pairs less 7 unknowns is much like t with 37 degrees, of standard deviation 1.03; that
    # of 200 z is told to within 0.05, and the jackknife is known to err on the safe side, by up to
    # a fifth with so few pairs.
    deviation = z.square().mean(0).sqrt()
    assert deviation.min() > 0.8
    assert deviation.max() < 1.03 + 4 * 0.052
    assert 0.9 < deviation.mean() < 1.1


@both
def test_more_samples_until_the_error_is_reached(method):
    table = drawn_table(12, 2) / 20 + coalitions(12).double().sum(1)
    game = tabled(table)
    found = method(game, error=0.006)
    assert found.errors.max() <= 0.006
    assert 128 < found.evaluations < 4096
    assert method(game, error=1e-9).evaluations == 4096  # all there are
    stopped = method(game, error=1e-9, samples=300)
    assert stopped.evaluations == 300
    assert stopped.errors.max() > 1e-9


def test_duplicated_columns_share_when_complete():
    network = relu_network([4, 8, 2], seed=2)
    with torch.no_grad():
        network[0].weight[:, 3] = network[0].weight[:, 0]
    x = torch.tensor([1.0, -1, 2, 1]).double()
    game = masked(logit(network, 0), x, features(4), constant(x))
    found = kernel_shap(game, samples=16).values[0]
    assert found[0] == pytest.approx(float(found[3]), abs=1e-12)


@pytest.mark.parametrize("exhibit", ["breast_cancer", "digits"])
def test_real_networks(exhibit):
    shown = getattr(zoo, exhibit)()
    x, players = shown.inputs[0], shown.players(0)
    game = masked(shown.score(shown.model, shown.labels[0]), x, players, shown.baseline(0))
    exact = shapley_exact(game).values
    found = leverage_shap(game, samples=2 ** len(players.names) // 2)
    error = (found.values - exact).abs()
    assert (error < 5 * found.errors).all()
    assert error.norm() < 0.05 * exact.norm()


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_shap_agrees_when_complete():
    shap = pytest.importorskip("shap")
    table = drawn_table(6, 8)
    game = tabled(table)

    def function(rows):
        return game(torch.tensor(rows) > 0.5).numpy()

    explainer = shap.KernelExplainer(function, np.zeros((1, 6)))
    theirs = explainer.shap_values(np.ones((1, 6)), nsamples=200, l1_reg=False, silent=True)
    assert np.allclose(kernel_shap(game, samples=64).values.numpy(), theirs, atol=1e-8)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_shapiq_is_no_more_accurate_on_the_same_samples():
    """Errors of the two are draws of much the same size; ours may not be half again as large."""
    shapiq = pytest.importorskip("shapiq")
    table = drawn_table(9, 4) / 4 + coalitions(9).double().sum(1).square()
    game, exact = tabled(table), shapley_exact(tabled(table)).values[0].numpy()

    def function(rows):
        return game(torch.from_numpy(rows)).numpy()

    ours, theirs = [], []
    for seed in range(20):
        mine = kernel_shap(game, samples=120, generator=seeded(seed)).values[0].numpy()
        peer = shapiq.KernelSHAP(9, pairing_trick=True, random_state=seed)
        found = peer.approximate(120, function)
        ours.append(np.linalg.norm(mine - exact))
        theirs.append(np.linalg.norm([found[(i,)] for i in range(9)] - exact))
    assert np.median(ours) < 1.5 * np.median(theirs)
