"""The test by windows: its statistic step by step, and how often it is wrong."""

import numpy as np
import pytest
import torch

from courses import common_noise, sample_noise
from unmask.methods.dynamics.rising import inverse, lowest, noise_of, rising

TIMES = torch.tensor([0.0, 1.1, 1.9, 2.7, 3.5, 4.2, 5.1, 6.0, 6.9, 7.5, 8.1, 8.8]).double()


def courses(seed, inputs=20):
    generator = torch.Generator().manual_seed(seed)
    return common_noise(inputs, len(TIMES), 0.1, generator)


def common_variance(x):
    """The noise that inputs share, by loops: the half of the points (of few, four fifths, up to
    eight) that lies nearest to the line through their neighbours, less what the inputs explain,
    scaled as for normal noise."""
    t, mean = TIMES.numpy(), x.mean(0).numpy()
    deviations = (x - x.mean(0)).numpy()
    covariance = deviations.T @ deviations / (len(x) - 1) / len(x)
    off, expected, rows = [], [], []
    for k in range(1, len(t) - 1):
        share = (t[k + 1] - t[k]) / (t[k + 1] - t[k - 1])
        row = np.zeros(len(t))
        row[k - 1], row[k], row[k + 1] = -share, 1, share - 1
        row /= np.sqrt((row**2).sum())
        rows.append(row)
        off.append((row @ mean) ** 2)
        expected.append(row @ covariance @ row)
    kept = max(len(off) // 2, min(8, len(off) - int(np.ceil(0.2 * len(off)))))
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(2000, len(t), generator=generator, dtype=torch.float64).numpy()
    ordered = np.sort((normal @ np.array(rows).T) ** 2, axis=1)[:, :kept]
    return max(0.0, np.sort(off)[:kept].mean() / ordered.mean() - np.mean(expected)), covariance


@pytest.mark.parametrize("seed", range(3))
def test_strengths_are_slopes_over_their_standard_errors(seed):
    x = courses(seed)
    generator = torch.Generator().manual_seed(0)
    found = rising(TIMES, x, at_the_end=False, generator=generator, draws=50)
    common, covariance = common_variance(x)
    assert noise_of(TIMES, x).common == pytest.approx(common, abs=1e-12)
    k = 0
    for a in range(len(TIMES)):
        for b in range(a + 2, len(TIMES)):
            t = TIMES[a : b + 1].numpy()
            slope = np.polyfit(t, x.mean(0)[a : b + 1].numpy(), 1)[0]
            weights = np.zeros(len(TIMES))
            weights[a : b + 1] = (t - t.mean()) / ((t - t.mean()) ** 2).sum()
            variance = weights @ covariance @ weights + common * (weights**2).sum()
            assert (int(found.first[k]), int(found.last[k])) == (a, b)
            assert float(found.strength[k]) == pytest.approx(slope / np.sqrt(variance), rel=1e-8)
            k += 1
    assert k == len(found.strength)


def test_windows_at_the_end_are_those_that_end_there():
    generator = torch.Generator().manual_seed(0)
    found = rising(TIMES, courses(0), at_the_end=True, generator=generator, draws=50)
    assert set(found.last.tolist()) == {len(TIMES) - 1}
    assert found.of_a_rise(begin=len(TIMES) - 2) == 1.0  # no window is as short


def false_alarms(shape, noise, runs=200):
    generator = torch.Generator().manual_seed(0)
    wrong = 0
    for _ in range(runs):
        x = shape(TIMES) + noise(generator)
        evidence = rising(TIMES, x, at_the_end=False, generator=generator, draws=400)
        wrong += evidence.of_a_rise() <= 0.05
    return wrong / runs


NOISES = {
    "of inputs": lambda g: sample_noise(30, len(TIMES), 0.9, 1.0, g),
    "of training": lambda g: common_noise(30, len(TIMES), 0.2, g),
}
SHAPES = {
    "level": lambda s: 0 * s,
    "falling": lambda s: -0.1 * s,
    "falling to a level": lambda s: -0.5 * s.clamp(max=4),
    "falling in a step": lambda s: -torch.sigmoid(4 * (s - 4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_course_that_never_rises_is_hardly_ever_told_to_rise(shape, noise):
    # 5 %, and three standard errors of a share of 200 runs.
    assert false_alarms(SHAPES[shape], NOISES[noise]) <= 0.05 + 0.046


def test_noise_alone_hardly_ever_rises():
    assert false_alarms(SHAPES["level"], NOISES["of training"], runs=60) <= 0.05 + 0.085


@pytest.mark.slow
def test_chance_is_what_is_seen_of_level_courses():
    """On level courses p-values are spread evenly: the test is not merely cautious."""
    assert false_alarms(SHAPES["level"], NOISES["of inputs"]) >= 0.02


def test_a_fall_is_a_rise_upside_down():
    x = -0.2 * TIMES + courses(1)
    up, down = (
        rising(TIMES, side, at_the_end=False, generator=torch.Generator().manual_seed(3), draws=200)
        for side in (x, -x)
    )
    last = len(TIMES) - 1
    assert up.of_a_fall(last) == pytest.approx(down.of_a_rise(), abs=1e-12)
    assert up.of_a_fall(last) < 0.05 < up.of_a_rise()
    assert up.of_a_fall(1) == 1.0


def test_what_does_not_vary_at_all_does_not_rise():
    level = torch.full((4, len(TIMES)), 3.3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    found = rising(TIMES, level, at_the_end=False, generator=generator, draws=50)
    assert found.of_a_rise() > 0.2


def test_the_lowest_point_is_that_of_medians_of_three():
    course = torch.tensor([5.0, 4.0, 0.0, 3.0, 2.0, 1.0, 1.5, 2.0])
    assert lowest(course) == 5
    assert lowest(torch.tensor([3.0, 2.0, 1.0])) == 2
    assert lowest(torch.tensor([1.0, 2.0, 3.0])) == 0


def test_weights_are_one_over_the_variance_and_ones_without_noise():
    assert torch.equal(inverse(torch.zeros(3)), torch.ones(3))
    weights = inverse(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.allclose(weights, torch.tensor([2.0, 1.0, 2 / 3]))
