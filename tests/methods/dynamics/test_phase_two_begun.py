"""Whether phase two has begun: told soon, told surely, and hardly ever told wrongly."""

import pytest
import torch

from courses import history, log_steps, sample_noise
from unmask.methods.dynamics import phase_two_begun
from unmask.methods.dynamics.centre_curves import CentreCurves
from unmask.methods.dynamics.phase_two_begun import look, verdict
from unmask.methods.dynamics.rising import rising

STEPS = log_steps(14)
TIMES = torch.tensor(STEPS, dtype=torch.float64).log1p()


def course(switch=6, after=0.6):
    c = TIMES[switch]
    return 7 - (TIMES - c).clamp(max=0) - c + after * (TIMES - c).clamp(min=0)


def noisy(mean, seed=0, inputs=30, size=0.4):
    generator = torch.Generator().manual_seed(seed)
    return (mean + sample_noise(inputs, len(mean), 0.9, size, generator)).clamp(1, 10)


def test_it_is_told_soon_after_the_switch_and_not_before():
    snapshots = history(STEPS, noisy(course()))
    told = [
        phase_two_begun(snapshots[:count]).numbers["begun"] for count in range(5, len(STEPS) + 1)
    ]
    first = told.index(1.0) + 5 - 1  # the checkpoint at which it is told
    assert 7 <= first <= 10
    assert told[first - 4 :] == [1.0] * (len(STEPS) - first)
    found = phase_two_begun(snapshots).numbers
    assert found["p_value"] <= 0.05
    assert found["p_fall"] <= 0.05
    assert STEPS[5] <= found["since"] <= STEPS[7]
    assert found["since_low"] <= found["since"] <= found["since_high"]
    assert found["looks"] == len(STEPS) - 4


@pytest.mark.parametrize("seed", range(3))
def test_neither_a_fall_nor_a_level_nor_a_mere_rise_begins_it(seed):
    for mean in (7 - 0.4 * TIMES, torch.full((14,), 5.0).double(), 3 + 0.4 * TIMES):
        numbers = phase_two_begun(history(STEPS, noisy(mean, seed))).numbers
        assert numbers["begun"] == 0.0
    assert numbers["p_value"] <= 0.05  # the last one rises, but no fall went before
    assert numbers["p_fall"] > 0.05


def test_a_rise_before_the_fall_is_forgotten():
    bump = course(switch=9).clone()
    bump[:4] = torch.tensor([4.0, 5.0, 6.0, 7.0])
    snapshots = history(STEPS, noisy(bump, size=0.1))
    assert phase_two_begun(snapshots[:9]).numbers["begun"] == 0.0
    assert phase_two_begun(snapshots[:9]).numbers["p_value"] > 0.05
    assert phase_two_begun(snapshots).numbers["begun"] == 1.0


def test_a_rise_too_small_to_matter_is_not_told():
    snapshots = history(STEPS, noisy(course(), size=0.1))
    assert phase_two_begun(snapshots, least=0.5).numbers["begun"] == 0.0
    assert phase_two_begun(snapshots, least=0.05).numbers["begun"] == 1.0


def test_looks_are_weighed_so_that_their_chances_add_up_to_the_level():
    """What each look says, by hand: p-values over shares that sum to 1."""
    x = noisy(course())
    curves = CentreCurves(torch.tensor(STEPS).double(), x, 10, 0)
    looks = [look(curves.until(count)) for count in range(5, 15)]
    found = verdict(curves, looks, 0.01, 0.05)
    shares = [12 / ((12 + k - 1) * (12 + k)) for k in range(1, 11)]
    assert sum(12 / ((12 + k - 1) * (12 + k)) for k in range(1, 10**5)) == pytest.approx(
        1, abs=2e-4
    )
    lowest = int(found.curves["mean_order"].argmin())
    expected = 1.0
    for count, share in zip(range(5, 15), shares, strict=True):
        generator = torch.Generator().manual_seed(count)
        evidence = rising(TIMES[:count], x[:, :count], at_the_end=True, generator=generator)
        here = evidence.of_a_rise(lowest - 1) if count > lowest - 1 else 1.0
        expected = min(expected, here / share)
        assert float(found.curves["chance"][count - 1]) == pytest.approx(expected, rel=1e-12)


def test_the_same_call_gives_the_same_answer_and_looks_do_not_depend_on_later_ones():
    snapshots = history(STEPS, noisy(course()))
    assert phase_two_begun(snapshots).numbers == phase_two_begun(snapshots).numbers
    part, whole = (
        phase_two_begun(some).curves["mean_order"] for some in (snapshots[:9], snapshots)
    )
    assert torch.equal(part, whole[:9])


def test_bad_input_is_refused_in_words():
    snapshots = history(STEPS, noisy(course()))
    with pytest.raises(ValueError, match="in 5 checkpoints or more, but the history has 4"):
        phase_two_begun(snapshots[:4])
    with pytest.raises(ValueError, match=r"The level is a chance of a false alarm, but got 0\.0"):
        phase_two_begun(snapshots, level=0.0)
    with pytest.raises(ValueError, match="least is a share of the number of players, but got -1"):
        phase_two_begun(snapshots, least=-1.0)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_who_looks_at_every_checkpoint_is_hardly_ever_told_wrongly(memory):
    """60 level courses, asked at each of ten looks; the allowed share is 5 %."""
    wrong = 0
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        x = 5 + sample_noise(30, 14, memory, 0.5, generator)
        best = 1.0
        for k in range(1, 11):
            evidence = rising(
                TIMES[: k + 4], x[:, : k + 4], at_the_end=True, generator=generator, draws=4000
            )
            best = min(best, evidence.of_a_rise() * (12 + k - 1) * (12 + k) / 12)
        wrong += best <= 0.05
    assert wrong / 60 <= 0.05 + 0.085  # three standard errors of a share of 60
