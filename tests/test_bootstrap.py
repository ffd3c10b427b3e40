"""Intervals: what they hold, and how often they hold what is true."""

import pytest
import torch

from unmask.bootstrap import bootstrap, interval, means, middle, resampled


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_weights_say_how_often_an_input_was_drawn():
    weights = resampled(7, 500, seeded(0))
    assert weights.shape == (500, 7)
    assert torch.allclose(weights.sum(1), torch.ones(500).double())
    counts = weights * 7
    assert torch.allclose(counts, counts.round())
    # Each input is drawn 500 times on average, with a standard deviation of 20.7.
    assert (counts.sum(0) - 500).abs().max() < 90
    assert torch.equal(weights, resampled(7, 500, seeded(0)))
    assert not torch.equal(weights, resampled(7, 500, seeded(1)))


def test_means_leave_out_what_is_no_number():
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]).double()
    values = torch.tensor([[1.0, torch.nan], [3.0, 4.0], [5.0, 8.0]]).double()
    found = means(weights, values)
    assert found[0].tolist() == pytest.approx([2.5, 6.0])
    assert found[1].tolist() == pytest.approx([3.0, 4.0])
    assert means(weights, values[:, 0]).tolist() == pytest.approx([2.5, 3.0])
    assert means(weights[1:], values.flip(0))[0].tolist() == pytest.approx([3.0, 4.0])
    assert means(weights[:1] * 0, values).isnan().all()


def test_an_interval_lies_about_what_was_found():
    draws = torch.linspace(2, 3, 101).double()
    low, high = interval(torch.tensor(0.0).double(), draws, 0.9)
    assert (float(low), float(high)) == pytest.approx((-0.45, 0.45))
    low, high = middle(draws, 0.9)
    assert (float(low), float(high)) == pytest.approx((2.05, 2.95))


def test_statistics_come_with_both_ends_and_within_their_bounds():
    values = torch.tensor([0.0, 0.0, 0.0, 1.0]).double()
    found = bootstrap(
        lambda weights: {"mean": means(weights, values)}, 4, bounds={"mean": (0.1, 1.0)}
    )
    assert list(found) == ["mean", "mean_low", "mean_high"]
    assert float(found["mean"]) == 0.25
    assert float(found["mean_low"]) == pytest.approx(0.1)
    assert 0.5 <= float(found["mean_high"]) <= 0.75


def test_groups_are_drawn_each_by_itself():
    one, two = torch.arange(3.0).double(), torch.arange(4.0).double()

    def difference(mine, its):
        assert mine.shape[1:] == (3,)
        assert its.shape[1:] == (4,)
        return {"difference": means(its, two) - means(mine, one)}

    found = bootstrap(difference, 3, 4)
    assert float(found["difference"]) == 0.5
    assert found["difference_low"] < 0 < found["difference_high"]


def test_a_single_input_tells_nothing_of_others():
    found = bootstrap(lambda weights: {"mean": means(weights, torch.ones(1).double())}, 1)
    assert float(found["mean"]) == 1
    assert found["mean_low"].isnan()
    assert found["mean_high"].isnan()


def test_intervals_hold_the_truth_as_often_as_they_say():
    # Of 40 draws of an exponential variable. 0.9 less what 40 inputs and 300 trials may cost.
    held = 0
    for seed in range(300):
        uniform = torch.rand(40, generator=seeded(seed)).double()
        values = -uniform.log()
        found = bootstrap(
            lambda weights, values=values: {"mean": means(weights, values)},
            40,
            draws=200,
            confidence=0.9,
            generator=seeded(seed + 1000),
        )
        held += bool(found["mean_low"] <= 1 <= found["mean_high"])
    assert 0.82 <= held / 300 <= 0.96


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 1}, r"40 inputs and 1 draws. Give"),
        ({"confidence": 1.0}, r"got 1.0. Give a number between"),
        ({"confidence": 0.0}, r"got 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        bootstrap(lambda w: {"mean": means(w, torch.ones(40).double())}, 40, **options)
