"""The theory of noise: dense matrices, Monte Carlo, the published ratios, planted courses."""

import math

import pytest
import torch
from scipy.stats import spearmanr

from unmask import Interactions, log_odds, masked
from unmask.interactions import Snapshot, and_or_games
from unmask.interactions.terms.stacked import stacked
from unmask.methods.dynamics import (
    dividends,
    order_ratio,
    predicted_dynamics,
    predicted_shares,
    shrunken,
)
from unmask.zoo import breast_cancer


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def dense(n):
    """J and the orders, term by term."""
    places = range(2**n)
    j = torch.tensor([[1.0 if s & ~t == 0 else 0.0 for s in places] for t in places]).double()
    return j, torch.tensor([float(bin(s).count("1")) for s in places]).double()


def operator(n, noise):
    j, order = dense(n)
    square = j.T @ j
    return torch.linalg.solve(square + 2**n * torch.diag(noise * 2**order), square)


# Printed in the specification, from an independent computation by dense matrices of 1024 rows.
RATIOS = {
    1.0: (2.469, 2.667, 2.781, 2.857, 2.911, 2.952, 2.984, 3.010, 3.031),
    0.1: (1.810, 2.178, 2.404, 2.554, 2.660, 2.739, 2.801, 2.850, 2.890),
    0.01: (1.322, 1.666, 1.983, 2.209, 2.371, 2.492, 2.586, 2.661, 2.722),
    1e-3: (1.118, 1.267, 1.558, 1.840, 2.057, 2.222, 2.351, 2.453, 2.537),
    1e-6: (1.001, 1.006, 1.021, 1.061, 1.155, 1.350, 1.561, 1.747, 1.904),
}


@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.1, 3.0])
def test_the_closed_form_is_the_dense_one(n, noise):
    effects = torch.randn(3, 2**n, generator=seeded(n)).double()
    expected = effects @ operator(n, noise).T
    assert torch.allclose(shrunken(effects, noise), expected, atol=1e-13, rtol=1e-12)


def test_one_player_as_printed():
    for noise, rows in (
        (0.1, [[0.86538, 0.19231], [0.09615, 0.57692]]),
        (1.0, [[0.47368, 0.21053], [0.10526, 0.15789]]),
    ):
        found = shrunken(torch.eye(2).double(), noise).T
        assert torch.allclose(found, torch.tensor(rows).double(), atol=5e-6)


def test_without_noise_all_is_kept_and_with_much_nothing():
    effects = torch.randn(2**8, generator=seeded(0)).double()
    assert torch.allclose(shrunken(effects, 0.0), effects, atol=1e-12)
    assert shrunken(effects, 1e9).abs().max() < 1e-6
    half = shrunken(effects.float(), 0.1)
    assert torch.allclose(half, shrunken(effects.float().double(), 0.1))


@pytest.mark.parametrize("noise", RATIOS)
def test_ratios_of_orders_as_published(noise):
    found = order_ratio(10, noise)
    assert found.tolist() == pytest.approx(RATIOS[noise], abs=6e-4)


@pytest.mark.parametrize("n", [2, 6])
def test_ratios_are_those_of_the_rows_of_the_dense_form(n):
    noise = 0.03
    lengths = operator(n, noise).norm(dim=1)
    order = dense(n)[1]
    for k in range(1, n):
        of_order = lengths[order == k]
        assert torch.allclose(of_order, of_order[:1].expand_as(of_order), rtol=1e-12)
        ratio = of_order[0] / lengths[order == k + 1][0]
        assert float(order_ratio(n, noise)[k - 1]) == pytest.approx(float(ratio), rel=1e-12)


@pytest.mark.parametrize("n", [6, 8, 10])
def test_ratios_fall_with_the_noise(n):
    ratios = torch.stack([order_ratio(n, 10.0**v) for v in range(1, -7, -1)])
    assert (ratios.diff(dim=0) < 0).all()


def test_the_closed_form_is_the_least_of_the_expected_loss():
    # Loss and gradient from their definition, by drawing the noise of every trigger anew.
    n, noise = 3, 0.05
    j, order = dense(n)
    truth = torch.randn(2**n, generator=seeded(5)).double()
    best = shrunken(truth, noise)
    y = j @ truth
    gradient = -2 / 2**n * j.T @ (y - j @ best) + 2 * noise * 2**order * best
    assert gradient.abs().max() < 3e-15

    spread = (noise * 2**order).sqrt()
    drawn = torch.randn(200_000, 2**n, generator=seeded(6)).double() * spread
    chosen = torch.randint(2**n, (200_000,), generator=seeded(7))
    squares = (y[chosen] - ((j[chosen] + drawn) @ best)).square()
    expected = (y - j @ best).square().mean() + (noise * 2**order * best.square()).sum()
    error = float(squares.std()) / math.sqrt(200_000)
    assert abs(float(squares.mean() - expected)) < 3.5 * error
    for seed in range(5):
        away = best + 0.05 * torch.randn(2**n, generator=seeded(seed)).double()
        worse = (y[chosen] - ((j[chosen] + drawn) @ away)).square()
        # Of the same draws, so that only the difference scatters.
        gain = worse - squares
        assert float(gain.mean()) > 3 * float(gain.std()) / math.sqrt(200_000)


def test_the_statement_does_not_hold_for_every_truth():
    # One term of order 8: the ratio of orders of what noise leaves of it rises somewhere.
    truth = torch.zeros(2**10).double()
    truth[2**8 - 1] = 1
    inside = [2**k - 1 for k in range(1, 9)]
    left = torch.stack([shrunken(truth, 10.0**-v)[inside].abs() for v in range(7)])
    assert ((left[:, :-1] / left[:, 1:]).diff(dim=0) > 0).any()


def of_effects(stack):
    n = stack.shape[-1].bit_length() - 1
    places = range(1, 2**n)
    members = torch.tensor([[place >> i & 1 == 1 for i in range(n)] for place in places] * 2)
    is_or = torch.arange(2 * len(places)) >= len(places)
    names = tuple("abcdefgh"[:n])
    return tuple(
        Interactions(members, is_or, row[:, 1:].flatten(), 0.0, names) for row in stack.double()
    )


def course(noises, inputs=12, n=5, seed=0, own=0.0):
    """A training that follows the theory, beginning anywhere; the last checkpoint is the truth."""
    effects = torch.randn(inputs, 2, 2**n, generator=seeded(seed)).double()
    effects[..., 0] = 0
    for i in range(n):  # of one player AND and OR are the same, and are one term in the truth
        effects[:, 1, 2**i] = 0
    history = []
    for i, noise in enumerate([*noises, 0.0]):
        left = shrunken(effects, noise)
        left[..., 0] = 0
        left = left + own * torch.randn(left.shape, generator=seeded(100 + i)).double()
        history.append(Snapshot(2**i, of_effects(left)))
    return history


def test_a_course_that_follows_the_theory_gives_back_its_noise():
    noises = [3.0, 0.3, 0.03, 3e-3, 3e-4]
    found = predicted_dynamics(course(noises), ands_alone=False, since=0, draws=50)
    assert found.curves["step"].tolist() == [1, 2, 4, 8, 16, 32]
    assert torch.allclose(found.curves["noise"][:5], torch.tensor(noises).double(), rtol=0.02)
    assert (found.curves["distance"] < 1e-4).all()
    assert (found.curves["divergence"] < 1e-7).all()
    assert found.numbers["rank_correlation"] == -1
    assert found.numbers["checkpoints"] == 5
    assert (found.curves["distance_without_noise"][:4] > 0.05).all()
    assert (found.curves["distance"] <= found.curves["distance_without_noise"] + 1e-5).all()
    assert found.curves["mean_order"].diff().min() > 0
    assert (
        found.curves["noise_low"] <= found.curves["noise"] * 1.13
    ).all()  # of a step of the grid


def profile(stack):
    """Shares of each order, averaged over inputs, by plain loops."""
    n = stack.shape[-1].bit_length() - 1
    rows = []
    for kinds in stack.tolist():
        row = [0.0] * (n + 1)
        for place, (one, other) in enumerate(zip(*kinds, strict=True)):
            order = bin(place).count("1")
            row[order] += abs(one + other) if order == 1 else abs(one) + abs(other)
        rows.append([one / sum(row[1:]) for one in row[1:]])
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def test_dividends_are_those_of_the_same_game():
    terms = of_effects(torch.randn(3, 2, 16, generator=seeded(0)))
    found = dividends(stacked(terms))
    assert not found[:, 1].any()
    for row, one in zip(found[:, 0].tolist(), terms, strict=True):
        v = [
            float(one(one.members.new_tensor([[p >> i & 1 for i in range(4)]]))) for p in range(16)
        ]
        for place in range(1, 16):
            inside = [p for p in range(16) if p & ~place == 0]
            a = sum((-1) ** bin(place ^ p).count("1") * v[p] for p in inside)
            assert row[place] == pytest.approx(a, abs=1e-9)
    assert found[:, 0, 0].tolist() == [0, 0, 0]


def test_a_course_of_ands_alone():
    noises = [0.3, 0.03, 3e-3]
    history = []
    effects = torch.randn(12, 2, 32, generator=seeded(0)).double()
    effects[:, 1], effects[..., 0] = 0, 0
    for i, noise in enumerate([*noises, 0.0]):
        # The same game with ORs in it: an OR of two is both minus their AND.
        left = shrunken(effects, noise)
        both = left[:, 0, 3].clone()
        left[:, 0, 3], left[:, 1, 3] = 0, -both
        left[:, 0, 1] += both
        left[:, 0, 2] += both
        history.append(Snapshot(2**i, of_effects(left)))
    found = predicted_dynamics(history, since=0, draws=50)
    assert torch.allclose(found.curves["noise"][:3], torch.tensor(noises).double(), rtol=0.02)
    assert (found.curves["distance"] < 1e-4).all()
    apart = predicted_dynamics(history, ands_alone=False, since=0, draws=50)
    assert (apart.curves["distance"][:3] > 1e-3).all()


def test_the_fit_is_the_best_of_a_dense_search():
    history = course([0.5, 0.02, 1e-3], n=4, inputs=6, own=0.1)
    found = predicted_dynamics(history, ands_alone=False, draws=50)
    truth = stacked(history[-1].terms)
    matrices = {noise: operator(4, noise) for noise in torch.logspace(-7, 2, 400).tolist()}
    predicted = {noise: profile(truth @ m.T) for noise, m in matrices.items()}
    plain = profile(truth)
    for i, snapshot in enumerate(history[:-1]):
        real = profile(stacked(snapshot.terms))

        def apart(one, real=real):
            return sum(abs(a - b) for a, b in zip(one, real, strict=True)) / 2

        best = min(predicted, key=lambda noise: apart(predicted[noise]))
        assert float(found.curves["distance"][i]) <= apart(predicted[best]) + 1e-9
        assert float(found.curves["distance"][i]) == pytest.approx(apart(predicted[best]), abs=2e-3)
        assert float(found.curves["distance_without_noise"][i]) == pytest.approx(apart(plain))
        centre = sum(k * part for k, part in enumerate(real, start=1))
        assert float(found.curves["mean_order"][i]) == pytest.approx(centre)
        noise = float(found.curves["noise"][i])
        theirs = profile(truth @ operator(4, noise).T)
        assert predicted_shares(truth, noise).mean(0).tolist() == pytest.approx(theirs)
        divergence = sum(a * math.log(a / b) for a, b in zip(real, theirs, strict=True))
        assert float(found.curves["divergence"][i]) == pytest.approx(divergence, rel=1e-6)


def test_phase_two_begins_where_the_mean_order_is_least():
    falls, rises = course([1e-3, 0.05, 0.5]), course([0.3, 0.02, 2e-3, 2e-4])
    # The truth of both is the same, so that they can be joined.
    joined = [*falls[:-1], *(Snapshot(8 * one.step, one.terms) for one in rises)]
    found = predicted_dynamics(joined, ands_alone=False, draws=100)
    assert found.numbers["phase_two"] == 4
    assert found.numbers["checkpoints"] == 5
    assert found.numbers["rank_correlation"] == -1
    noise = found.curves["noise"].tolist()
    whole = predicted_dynamics(joined, ands_alone=False, since=0, draws=100)
    expected = spearmanr(range(len(noise) - 1), noise[:-1]).statistic
    assert whole.numbers["rank_correlation"] == pytest.approx(expected)
    assert whole.numbers["checkpoints"] == 7
    distances = found.curves["distance"][2:-1]
    assert found.numbers["mean_distance"] == pytest.approx(float(distances.mean()))


def test_short_second_phases_have_no_correlation():
    found = predicted_dynamics(course([0.1, 0.3]), ands_alone=False, draws=50)
    assert "rank_correlation" not in found.numbers
    assert found.numbers["phase_two"] == 2


def test_intervals_hold_what_was_planted():
    found = predicted_dynamics(
        course([0.3, 0.01], inputs=30, own=0.02), ands_alone=False, since=0
    ).curves
    for i, noise in enumerate((0.3, 0.01)):
        assert found["noise_low"][i] < found["noise"][i] < found["noise_high"][i]
        assert found["noise_low"][i] / 1.3 < noise < found["noise_high"][i] * 1.3
    alone = predicted_dynamics(course([0.3], inputs=1), since=0)
    assert alone.curves["noise_low"].isnan().all()


TWO = course([0.1], n=2)
OF_THREE = course([0.1], n=3)


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ([], r"its steps are \[\]. Give two"),
        (TWO[:1], r"its steps are \[1\]. Give two"),
        (TWO[::-1], r"its steps are \[2, 1\]. Give"),
        ([TWO[0], OF_THREE[1]], r"are 12 and 2, 12 and 3. Explain the same"),
        ([TWO[0], Snapshot(5, TWO[1].terms[:3])], r"are 3 and 2, 12 and 2"),
        ([TWO[0], Snapshot(5, of_effects(torch.zeros(12, 2, 4)))], r"step 5, has no term.* Give"),
    ],
)
def test_what_makes_no_sense_is_refused(history, words):
    with pytest.raises(ValueError, match=words):
        predicted_dynamics(history)


def test_functions_refuse_what_makes_no_sense():
    with pytest.raises(ValueError, match=r"variance, but got -1.0. Give"):
        shrunken(torch.ones(4), -1.0)
    with pytest.raises(ValueError, match=r"1 players have no two orders. *|Give two"):
        order_ratio(1, 0.1)
    with pytest.raises(ValueError, match=r"2\^n values"):
        shrunken(torch.ones(3), 0.1)


def test_a_checkpoint_without_terms_is_nan_there_alone():
    history = course([0.3, 0.1, 0.01])
    history[0] = Snapshot(0, of_effects(torch.zeros(12, 2, 32)))
    found = predicted_dynamics(history, draws=50).curves
    for name in ("noise", "distance", "mean_order"):
        assert found[name][0].isnan(), name
        assert found[name][1:].isfinite().all(), name


def test_real_networks():
    # Between its weights before training and after: a course of four networks.
    exhibit = breast_cancer()
    history = []
    for step, share in enumerate((0.4, 0.6, 0.8, 1.0)):
        state = {k: v * share for k, v in exhibit.model.state_dict().items()}
        with torch.no_grad():
            games = [
                masked(
                    log_odds(lambda x, s=state: torch.func.functional_call(exhibit.model, s, (x,)),
                             exhibit.labels[i]),
                    exhibit.inputs[i], exhibit.players(i), exhibit.baseline(i),
                )
                for i in range(3)
            ]  # fmt: skip
            history.append(Snapshot(step, and_or_games(games, precision=0.1)))
    found = predicted_dynamics(history, draws=50)
    # No noise at all is not among what is tried, but so little that it hardly matters.
    assert found.curves["distance"][-1] < 1e-5
    assert (found.curves["distance"] <= found.curves["distance_without_noise"] + 1e-5).all()
