"""Two phases: planted courses, the definition by loops, real networks, and how often it errs."""

import math

import pytest
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.nn import functional

from courses import PLAYERS, common_noise, history, log_steps, sample_noise
from unmask import features, log_odds, masked
from unmask.interactions import Snapshot, and_or_games
from unmask.methods.dynamics import two_phase
from unmask.methods.dynamics.bent_line import shoulders, valley
from unmask.methods.dynamics.rising import noise_of
from unmask.planted import terms_of
from unmask.zoo import digits
from unmask.zoo.training import fresh

STEPS = log_steps(16)
TIMES = torch.tensor(STEPS, dtype=torch.float64).log1p()


def planted(switch, before=-1.0, after=0.5, start=7.0):
    """A mean order that falls up to a moment in log-steps and rises from there."""
    away = TIMES - switch
    return start + before * (away.clamp(max=0) + switch) + after * away.clamp(min=0)


def noisy(course, seed=0, inputs=40, shared=0.0):
    generator = torch.Generator().manual_seed(seed)
    noise = sample_noise(inputs, len(course), 0.9, 0.4, generator)
    common = shared * torch.randn(len(course), generator=generator, dtype=torch.float64)
    return (course + noise + common).clamp(1, PLAYERS)


def losses(onset, count=50):
    """A test loss that leaves the training loss at a moment in log-steps."""
    generator = torch.Generator().manual_seed(0)
    own = 0.05 * torch.randn(count, 1, generator=generator, dtype=torch.float64)
    train = (2 - 0.2 * TIMES).expand(count, -1) + own
    return train, train + 0.3 * (TIMES - onset).clamp(min=0)


def test_planted_phases_are_found_exactly():
    c, g = float(TIMES[6]), float(TIMES[7])
    flat = planted(c).expand(10, -1)
    found = two_phase(history(STEPS, flat, *losses(g)), samples=50)
    numbers, curves = found.numbers, found.curves
    assert numbers["switch"] == pytest.approx(STEPS[6], rel=1e-6)
    assert numbers["gap_onset"] == pytest.approx(STEPS[7], rel=1e-6)
    assert numbers["lead"] == pytest.approx(c - g, abs=1e-6)
    assert numbers["aligned"] == 1.0 or abs(c - g) > math.log(2)
    assert numbers["switch_by_median"] == STEPS[6]
    assert (numbers["phase_one"], numbers["phase_two"]) == (1.0, 1.0)
    assert numbers["centre_at_switch"] == pytest.approx(7 - c, abs=1e-9)
    assert numbers["drop"] == pytest.approx(c / PLAYERS, abs=1e-9)
    rise = 0.5 * (float(TIMES[-1]) - c) / PLAYERS
    assert numbers["rise"] == pytest.approx(rise, abs=1e-9)
    assert torch.allclose(curves["mean_order"], planted(c), atol=1e-12)
    assert torch.allclose(curves["fitted"], planted(c), atol=1e-6)
    assert torch.allclose(curves["gap"], 0.3 * (TIMES - g).clamp(min=0), atol=1e-12)


def test_the_mean_order_is_that_of_the_definition():
    """Of terms of a real game, by loops."""
    generator = torch.Generator().manual_seed(1)
    networks = [nn.Linear(4, 2), nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))]
    x = torch.randn(3, 4, generator=generator)
    snapshots = []
    for k in range(6):
        model = networks[k % 2].double().eval()
        games = [
            masked(log_odds(model, 1), row.double(), features(4), torch.zeros(4).double())
            for row in x
        ]
        snapshots.append(Snapshot(3**k, and_or_games(games)))
    found = two_phase(snapshots, samples=10, tau=0.1).curves["mean_order"]
    for k, snapshot in enumerate(snapshots):
        means = []
        for terms in snapshot.terms:
            strongest = max(abs(float(effect)) for effect in terms.effects)
            weight = order = 0.0
            for members, effect in zip(terms.members.tolist(), terms.effects.tolist(), strict=True):
                if abs(effect) >= 0.1 * strongest:
                    weight += abs(effect)
                    order += abs(effect) * sum(members)
            means.append(order / weight)
        assert float(found[k]) == pytest.approx(sum(means) / 3, abs=1e-9)


@pytest.mark.parametrize(
    ("course", "one", "two"),
    [
        (planted(float(TIMES[6])), 1.0, 1.0),
        (planted(float(TIMES[-1]) + 1, before=-0.4), 1.0, 0.0),
        (planted(-1.0, after=0.4, start=3.0), 0.0, 1.0),
        (torch.full((16,), 5.0, dtype=torch.float64), 0.0, 0.0),
    ],
    ids=["two phases", "falls", "rises", "level"],
)
def test_verdicts_on_noisy_courses(course, one, two):
    numbers = two_phase(history(STEPS, noisy(course)), samples=200).numbers
    assert (numbers["phase_one"], numbers["phase_two"]) == (one, two)
    assert numbers["drop_low"] <= numbers["drop"] <= numbers["drop_high"]
    assert numbers["switch_low"] <= numbers["switch_high"]


def test_lines_alone_would_see_a_rise_in_noise():
    """Of a level course the second line often rises; the test by windows is not misled."""
    level = torch.full((16,), 5.0, dtype=torch.float64)
    rises = 0
    for seed in range(20):
        x = noisy(level, seed)
        rises += float(valley(TIMES, x.mean(0)[None], noise_of(TIMES, x).weights).after) > 0
    assert rises >= 10
    told = [two_phase(history(STEPS, noisy(level, i)), samples=50).numbers for i in range(4)]
    assert sum(numbers["phase_two"] for numbers in told) == 0


def test_without_losses_nothing_is_said_of_the_gap():
    numbers = two_phase(history(STEPS, noisy(planted(4.0))), samples=20).numbers
    for name in ("gap_onset", "gap_onset_low", "lead", "aligned"):
        assert math.isnan(numbers[name])
    some = history(STEPS, noisy(planted(4.0)), *losses(5.0))
    late = two_phase(some, samples=20, after=4000).numbers  # two checkpoints are too few
    assert math.isnan(late["gap_onset"])


def test_one_loss_and_one_input_are_enough():
    train, test = losses(5.0, count=1)
    numbers = two_phase(history(STEPS, planted(4.0)[None], train, test), samples=20).numbers
    assert numbers["gap_onset"] == pytest.approx(math.expm1(5.0), rel=0.05)
    assert numbers["inputs"] == 1.0
    assert math.isfinite(numbers["switch_low"])


def test_inputs_without_terms_are_left_out():
    snapshots = history(STEPS, noisy(planted(4.0)))
    none = history(STEPS, noisy(planted(4.0)), scale=0.0)
    broken = [
        Snapshot(a.step, (*a.terms[:-2], *b.terms[-2:]))
        for a, b in zip(snapshots, none, strict=True)
    ]
    found = two_phase(broken, samples=20)
    assert (found.numbers["inputs"], found.numbers["left_out"]) == (38.0, 2.0)
    with pytest.raises(ValueError, match="None of the 40 inputs has a term at every checkpoint"):
        two_phase(none)


def test_scale_does_not_matter_and_the_order_of_inputs_neither():
    x = noisy(planted(4.0))
    one = two_phase(history(STEPS, x), samples=50).numbers
    scaled = two_phase(history(STEPS, x, scale=100.0), samples=50).numbers
    assert one == pytest.approx(scaled, nan_ok=True, rel=1e-6)
    turned = two_phase(history(STEPS, x.flip(0)), samples=50).numbers
    for name in ("switch", "drop", "rise", "centre_at_start"):
        assert one[name] == pytest.approx(turned[name], rel=1e-9)


def test_losses_that_are_not_finite_have_no_onset():
    lost = torch.tensor([1.0, torch.nan])
    snapshots = [
        Snapshot(one.step, one.terms, torch.ones(2), lost if i == 5 else torch.ones(2))
        for i, one in enumerate(history(STEPS, noisy(planted(4.0))))
    ]
    found = two_phase(snapshots, samples=20)
    assert math.isnan(found.numbers["gap_onset"])
    assert math.isnan(found.numbers["aligned"])
    assert found.curves["gap"].isnan().tolist() == [i == 5 for i in range(len(snapshots))]


def test_bad_input_is_refused_in_words():
    snapshots = history(STEPS, noisy(planted(4.0)))
    with pytest.raises(ValueError, match="shows in 6 checkpoints or more, but the history has 5"):
        two_phase(snapshots[:5])
    with pytest.raises(ValueError, match="goes from step to later step"):
        two_phase([*snapshots[:6], snapshots[2]])
    with pytest.raises(ValueError, match="A training begins at step 0, but the first step is -3"):
        two_phase([Snapshot(-3, snapshots[0].terms), *snapshots[1:]])
    with pytest.raises(ValueError, match=r"snapshots are of \[39, 40\] inputs"):
        two_phase([*snapshots[:-1], Snapshot(9999, snapshots[-1].terms[:39])])
    fewer = tuple(terms_of("abc", ands={("a",): 1.0}) for _ in range(40))
    with pytest.raises(ValueError, match=rf"there are \[3, {PLAYERS}\] of them"):
        two_phase([*snapshots[:-1], Snapshot(9999, fewer)])
    uneven = [
        Snapshot(one.step, one.terms, torch.ones(5 + i % 2), torch.ones(5))
        for i, one in enumerate(snapshots)
    ]
    with pytest.raises(ValueError, match="snapshots hold 5 and 6 of them"):
        two_phase(uneven)
    with pytest.raises(ValueError, match="least is a share of the number of players, but got 2"):
        two_phase(snapshots, least=2.0)
    with pytest.raises(ValueError, match="Training begins at step 0, but after is -1"):
        two_phase(snapshots, after=-1)
    with pytest.raises(ValueError, match="at least two draws, but samples is 1"):
        two_phase(snapshots, samples=1)
    with pytest.raises(ValueError, match="tau is a share of the strongest term, but got 2"):
        two_phase(snapshots, tau=2.0)


def descent(model, inputs, labels, x, targets, players, steps):
    """The history of a network under plain gradient descent."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    snapshots = []
    for step in range(max(steps) + 1):
        if step in steps:
            games = [
                masked(log_odds(model, int(t)), row, players, torch.zeros_like(row))
                for row, t in zip(x, targets, strict=True)
            ]
            with torch.no_grad():
                train = functional.cross_entropy(model(inputs), labels, reduction="none")
            snapshots.append(Snapshot(step, and_or_games(games, precision=0.05), train, train))
        optimiser.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        optimiser.step()
    return snapshots


def table():
    data, labels = load_breast_cancer(return_X_y=True)
    data = torch.tensor(data[:, :6]).float()
    data, labels = (data - data.mean(0)) / data.std(0), torch.tensor(labels)
    make = lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))  # noqa: E731
    return fresh(make, 0), data, labels, data[:8], labels[:8], features(6)


def images():
    exhibit = digits()
    inputs, labels = torch.stack(exhibit.inputs), torch.tensor(exhibit.labels)
    players = type(exhibit.players(0))(exhibit.players(0).owner % 6, tuple("abcdef"))
    return fresh(type(exhibit.model), 0), inputs, labels, inputs[:5], labels[:5], players


@pytest.mark.parametrize("scene", [table, images])
def test_on_real_networks(scene):
    snapshots = descent(*scene(), steps=(0, 2, 5, 10, 20, 40))
    found = two_phase(snapshots, samples=50)
    assert all(math.isfinite(value) for value in found.numbers.values())
    assert float(found.curves["mean_order"].min()) >= 1
    assert float(found.curves["mean_order"].max()) <= 6
    assert 0 <= found.numbers["switch"] <= 40 + 1e-9
    assert torch.allclose(found.curves["gap"], torch.zeros(6, dtype=torch.float64), atol=1e-12)


def test_the_switch_of_noisy_courses_is_off_by_less_than_a_checkpoint():
    """Slopes of -1 and 0.5 orders per log-step, a noise of 0.2 orders that inputs share."""
    generator = torch.Generator().manual_seed(0)
    spacing = float(TIMES.diff()[1:].max())
    near = signs = 0
    for _ in range(200):
        span = float(TIMES[-4] - TIMES[3])
        c = float(TIMES[3]) + span * float(torch.rand((), generator=generator))
        x = planted(c) + common_noise(40, 16, 0.2, generator)
        mean, weights = x.mean(0), noise_of(TIMES, x).weights
        shown = TIMES.clamp(*shoulders(TIMES, mean, weights))
        found = valley(shown, mean[None], weights)
        near += abs(float(found.place) - c) < spacing
        signs += float(found.before) < 0 < float(found.after)
    assert signs == 200
    assert near / 200 >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.2])
def test_false_alarms_are_rare_and_phases_are_found(shared):
    """50 courses of each kind, noise of inputs with memory, and of training.

    Six checkpoints follow the switch at least: with four and a noise of 0.2 half are not seen.
    """
    level = torch.full((16,), 5.0, dtype=torch.float64)
    step = 6 - 2 * torch.sigmoid(6 * (TIMES - 4))
    for course in (level, step):
        alarms = sum(
            two_phase(history(STEPS, noisy(course, seed, 20, shared)), samples=100).numbers[
                "phase_two"
            ]
            for seed in range(50)
        )
        assert alarms / 50 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 50)
    generator = torch.Generator().manual_seed(5)
    found = 0.0
    for seed in range(50):
        c = float(TIMES[3] + (TIMES[-7] - TIMES[3]) * torch.rand((), generator=generator))
        numbers = two_phase(
            history(STEPS, noisy(planted(c), seed, 20, shared)), samples=100
        ).numbers
        found += numbers["phase_one"] * numbers["phase_two"]
    assert found / 50 >= 0.95
