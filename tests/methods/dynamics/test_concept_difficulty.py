import math
from itertools import combinations

import pytest
import torch
from torch import nn

from unmask import Players, Score, features, log_odds, masked, zoo
from unmask.interactions import and_interaction
from unmask.methods.dynamics import concept_difficulty, near_baseline
from unmask.planted import relu_network

PRODUCT = Score(lambda x: x.prod(1), lambda output, rows: output)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def double(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def single(network):
    """A network of one output as a score."""
    return Score(network, lambda output, rows: output[:, 0])


def slow(function, x, baseline, changes):
    """Effects of every set of numbers under every change: definition by plain loops."""
    n = len(x)
    effects = {}
    for size in range(1, n + 1):
        for group in combinations(range(n), size):
            draws = []
            for change in changes:
                total = 0.0
                for inner in range(size + 1):
                    for some in combinations(group, inner):
                        row = [x[i] + change[i] if i in some else baseline[i] for i in range(n)]
                        total += (-1) ** (size - inner) * function(row)
                draws.append(total)
            effects[group] = draws
    return effects


def test_every_curve_follows_its_definition():
    network = relu_network(3, seeded(3))
    x = torch.randn(2, 3, generator=seeded(4), dtype=torch.float64)
    baseline = double(0.1, -0.2, 0.3)
    samples, noise = 7, 0.2
    generator = seeded(5)
    changes = [
        noise * torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(samples)
    ]
    found = concept_difficulty(
        single(network), x, players=features(3), baseline=baseline, noise=noise, samples=samples,
        generator=seeded(5),
    )  # fmt: skip

    def function(row):
        return float(network(double(*row)[None]).detach())

    rows = []
    for i in range(2):
        draws = [change[i].tolist() for change in changes]
        effects = slow(function, x[i].tolist(), baseline.tolist(), draws)
        means = {group: sum(row) / samples for group, row in effects.items()}
        variances = {
            group: sum((one - means[group]) ** 2 for one in row) / (samples - 1)
            for group, row in effects.items()
        }
        rows.append((means, variances))
    for k in (1, 2, 3):
        groups = [(m, v, g) for m, v in rows for g in m if len(g) == k]
        count = len(groups)
        noisy = sum(v[g] for _, v, g in groups)
        power = sum(m[g] ** 2 - v[g] / samples for m, v, g in groups)
        cancelled = [
            abs(sum(m[g] for g in m if len(g) == k)) / sum(abs(m[g]) for g in m if len(g) == k)
            for m, _ in rows
        ]
        curves = {name: float(curve[k - 1]) for name, curve in found.curves.items()}
        assert curves["instability"] == pytest.approx(noisy / power)
        assert curves["signal_to_noise"] == pytest.approx((power / noisy) ** 0.5)
        assert curves["mean"] == pytest.approx(sum(abs(m[g]) for m, _, g in groups) / count)
        assert curves["deviation"] == pytest.approx(sum(v[g] ** 0.5 for _, v, g in groups) / count)
        assert curves["cancellation"] == pytest.approx(sum(cancelled) / 2)
    assert found.numbers["evaluations"] == 2 * 7 * 8


@pytest.mark.parametrize(
    ("order", "variance", "signal"),
    [(1, 0.0900, 3.333), (2, 0.1881, 2.306), (4, 0.4116, 1.559), (6, 0.6771, 1.215)],
)
def test_a_product_of_noisy_factors(order, variance, signal):
    found = concept_difficulty(
        PRODUCT, torch.ones(1, order).double(), players=features(order),
        baseline=torch.zeros(order), noise=0.3, samples=20_000, batch_size=2**14,
    )  # fmt: skip
    # Of 20,000 draws the standard error of the variance of six factors is some 3 %.
    assert float(found.curves["instability"][-1]) == pytest.approx(variance, rel=0.08)
    assert float(found.curves["signal_to_noise"][-1]) == pytest.approx(signal, rel=0.04)
    assert float(found.curves["mean"][-1]) == pytest.approx(1, abs=0.03)
    assert found.curves["instability"][:-1].isnan().all()  # fewer factors do nothing
    assert found.numbers["noise_ratio"] == pytest.approx(0.3, rel=0.04)
    assert found.numbers["rising"] == 1


def test_few_draws_make_no_effect_look_more_stable():
    # Without what is taken off, three draws of six factors would give .677 / (1 + .677 / 3) = .55.
    found = concept_difficulty(
        PRODUCT, torch.ones(2000, 6).double(), players=features(6), baseline=torch.zeros(6),
        noise=0.3, samples=3,
    )  # fmt: skip
    assert float(found.curves["instability"][-1]) == pytest.approx(0.6771, rel=0.1)
    low, high = (float(found.curves[f"instability_{end}"][-1]) for end in ("low", "high"))
    assert low < 0.6771 < high


def test_the_law_is_that_of_the_distance_to_the_baseline():
    """Each player is tau away from what stands in its place, wherever it is itself."""

    def sums_of_products(x):
        return x[:, 0] + x[:, 1] * x[:, 2] * 2 + x[:, 3:].prod(1)

    x = double(-1.7, 2.5, 1.1, 3.0, -0.9, 1.4)
    score = Score(sums_of_products, lambda output, rows: output)
    found = concept_difficulty(
        score, x.expand(500, 6), players=features(6), baseline=torch.zeros(6), noise=0.2,
        tau=0.5, samples=40,
    )  # fmt: skip
    # What is hidden multiplies the rest, but it is not noisy: every set keeps the law exactly.
    instability = found.curves["instability"].tolist()
    assert instability[:3] == pytest.approx([1.16**k - 1 for k in (1, 2, 3)], rel=0.05)
    law = found.curves["law"].tolist()
    assert law[:3] == pytest.approx([1.16**k - 1 for k in (1, 2, 3)], rel=0.05)
    assert float(found.curves["mean"][2]) == pytest.approx(0.5**3 / 20, rel=0.05)


def test_what_is_near_the_input_does_not_pass_the_baseline():
    x = torch.randn(40, 5, generator=seeded()).double()
    mean, tau = torch.randn(5, generator=seeded(1)).double(), 0.7
    found = near_baseline(x, mean, tau)
    for row, moved in zip(x.tolist(), found.tolist(), strict=True):
        for number, centre, result in zip(row, mean.tolist(), moved, strict=True):
            if number > centre:
                assert result == pytest.approx(max(number - tau, centre))
            else:
                assert result == pytest.approx(min(number + tau, centre))


def test_what_is_never_hidden_is_not_disturbed():
    players = Players(torch.tensor([0, -1]), ("first",))
    found = concept_difficulty(
        PRODUCT, double(2.0, 3.0)[None].expand(400, 2), players=players, baseline=torch.zeros(2),
        noise=0.1, samples=50,
    )  # fmt: skip
    assert float(found.curves["mean"][0]) == pytest.approx(6, abs=0.01)
    assert float(found.curves["deviation"][0]) == pytest.approx(0.3, rel=0.02)  # 3 x 0.1


def test_players_of_several_numbers():
    players = Players(torch.tensor([0, 0, 1]), ("pair", "one"))
    score = Score(lambda x: x[:, 0] * x[:, 1] * x[:, 2], lambda output, rows: output)
    found = concept_difficulty(
        score, torch.ones(300, 3).double(), players=players, baseline=torch.zeros(3), noise=0.2,
        samples=50,
    )  # fmt: skip
    # Two players, but three noisy factors.
    assert float(found.curves["instability"][1]) == pytest.approx(1.04**3 - 1, rel=0.05)


def test_a_set_of_backgrounds_is_averaged_over():
    score = Score(lambda x: (x**2).prod(1), lambda output, rows: output)
    x, backgrounds = double(1.5, 2.0)[None], double(-1, 1, 0.5, 0.2).view(2, 2)
    found = concept_difficulty(
        score, x, players=features(2), baseline=backgrounds, noise=1e-6, samples=2
    )
    games = [masked(score, x[0], features(2), one) for one in backgrounds]
    effects = sum(and_interaction(game).effects for game in games) / 2
    assert float(found.curves["mean"][1]) == pytest.approx(abs(float(effects[2])), rel=1e-4)
    assert float(found.curves["mean"][0]) == pytest.approx(
        float(effects[:2].abs().mean()), rel=1e-4
    )


def test_players_that_only_add_up_have_no_concepts():
    score = Score(lambda x: x.sum(1), lambda output, rows: output)
    found = concept_difficulty(
        score, torch.ones(3, 4).double(), players=features(4), baseline=torch.zeros(4), noise=0.1
    )
    assert float(found.curves["instability"][0]) == pytest.approx(0.01, rel=0.3)  # 12 variances
    assert found.curves["instability"][1:].isnan().all()
    assert found.curves["mean"][1:].abs().max() < 1e-12


def test_a_model_that_answers_always_alike():
    score = Score(lambda x: x.sum(1) * 0 + 2, lambda output, rows: output)
    found = concept_difficulty(
        score, torch.ones(2, 3).double(), players=features(3), baseline=torch.zeros(3), noise=0.1
    )
    assert found.curves["instability"].isnan().all()
    assert math.isnan(found.numbers["noise_ratio"])
    assert found.curves["mean"].tolist() == [0, 0, 0]


def test_one_player_and_one_input():
    found = concept_difficulty(
        PRODUCT, torch.ones(1, 1).double(), players=features(1), baseline=torch.zeros(1),
        noise=0.5, samples=5000,
    )  # fmt: skip
    assert float(found.curves["instability"][0]) == pytest.approx(0.25, rel=0.1)
    assert found.curves["instability_low"].isnan().all()  # one input tells nothing of others
    assert math.isnan(found.numbers["noise_ratio_low"])


def test_each_input_is_read_for_its_own_class():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double().eval()
    x = torch.randn(3, 4, generator=seeded(1)).double()
    classes = torch.tensor([2, 0, 1])
    rest = {"players": features(4), "baseline": torch.zeros(4), "noise": 1e-7, "samples": 3}
    together = concept_difficulty(log_odds(model, classes), x, **rest)
    alone = [
        concept_difficulty(log_odds(model, int(classes[i])), x[i : i + 1], **rest) for i in range(3)
    ]
    mean = sum(one.curves["mean"] for one in alone) / 3
    assert together.curves["mean"].tolist() == pytest.approx(mean.tolist(), rel=1e-4)


def test_a_batch_bounds_what_the_model_sees():
    sizes = []

    def model(x):
        sizes.append(len(x))
        return x.prod(1)

    score = Score(model, lambda output, rows: output)
    found = concept_difficulty(
        score, torch.ones(3, 4).double(), players=features(4), baseline=torch.zeros(4),
        noise=0.1, samples=11, batch_size=20,
    )  # fmt: skip
    assert max(sizes) == 20
    assert sum(sizes) == 3 * 11 * 16 == found.numbers["evaluations"]
    sizes.clear()
    concept_difficulty(
        score, torch.ones(3, 4).double(), players=features(4), baseline=torch.zeros(4),
        noise=0.1, samples=11, batch_size=1000,
    )  # fmt: skip
    assert len(sizes) == 1  # draws go together where there is room


@pytest.mark.parametrize("exhibit", [zoo.breast_cancer, zoo.digits])
def test_real_networks(exhibit):
    made = exhibit()
    x = torch.stack(made.inputs[:2])
    score = made.score(made.model, made.labels[0])
    rest = {"players": made.players(0), "baseline": made.baseline(0)}
    still = concept_difficulty(score, x, noise=1e-5, samples=2, **rest)
    games = [masked(score, one, made.players(0), made.baseline(0)) for one in x]
    effects = torch.stack([and_interaction(game).effects for game in games])
    order = and_interaction(games[0]).order
    for k in (1, 2, 3):
        expected = float(effects[:, order == k].abs().mean())
        assert float(still.curves["mean"][k - 1]) == pytest.approx(expected, rel=1e-3)
    noisy = concept_difficulty(score, x, noise=0.02, samples=10, **rest)
    instability = noisy.curves["instability"]
    assert bool((instability[1:] > instability[0]).all())


@pytest.mark.oracle
def test_effects_are_those_of_shapiq():
    pytest.importorskip("shapiq")
    from shapiq import ExactComputer

    network = relu_network(5, seeded(1))
    x = torch.randn(1, 5, generator=seeded(2)).double()
    baseline = torch.zeros(5).double()
    score = single(network)
    found = concept_difficulty(
        score, x, players=features(5), baseline=baseline, noise=1e-9, samples=2
    )
    game = masked(score, x[0], features(5), baseline)
    exact = ExactComputer(n_players=5, game=lambda masks: game(torch.as_tensor(masks)).numpy())(
        "Moebius", order=5
    )
    for k in range(1, 6):
        sizes = [
            abs(float(exact.values[place]))
            for group, place in exact.interaction_lookup.items()
            if len(group) == k
        ]
        assert float(found.curves["mean"][k - 1]) == pytest.approx(
            sum(sizes) / math.comb(5, k), rel=1e-5
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"noise": 0.0}, "standard deviation is 0"),
        ({"noise": math.inf}, "standard deviation is inf"),
        ({"samples": 1}, "samples is 1"),
        ({"tau": 0.0}, "tau is how far"),
        ({"players": features(4)}, "label positions of shape"),
        ({"baseline": torch.zeros(2)}, "baseline has shape"),
        ({"batch_size": 0}, "batch of 0"),
    ],
)
def test_what_is_refused(change, words):
    given = {"players": features(3), "baseline": torch.zeros(3), "noise": 0.1} | change
    with pytest.raises(ValueError, match=words):
        concept_difficulty(PRODUCT, torch.ones(2, 3), **given)


def test_too_many_players_are_refused():
    with pytest.raises(ValueError, match="21 players have"):
        concept_difficulty(
            PRODUCT, torch.ones(1, 21), players=features(21), baseline=torch.zeros(21), noise=0.1
        )


def test_a_score_that_breaks_down_under_noise_is_refused():
    score = Score(lambda x: x.log().sum(1), lambda output, rows: output)
    with pytest.raises(ValueError, match="changed inputs is not finite"):
        concept_difficulty(
            score, torch.ones(1, 2), players=features(2), baseline=torch.ones(2), noise=5.0
        )
