"""Ratings: their mean and interval, and how they are drawn, kept and tabulated."""

import math

import numpy as np
import pytest
import torch

from unmask.plot import plot
from unmask.results import Rating
from unmask.store import frame, load, save

RATED = Rating(
    torch.tensor([1.0, torch.nan, 3.0, 2.0]),
    False,
    torch.tensor([[1.0, 0.0], [1.0, 0.5], [1.0, 0.25], [1.0, 0.0]]),
    torch.tensor([0.0, 1.0]),
    8,
)


def test_the_mean_leaves_out_what_has_no_meaning():
    assert RATED.mean == 2
    assert RATED.undefined == 1
    assert math.isnan(Rating(torch.tensor([torch.nan]), True).mean)
    assert all(map(math.isnan, Rating(torch.tensor([torch.nan]), True).interval()))
    assert all(map(math.isnan, Rating(torch.tensor([1.0]), True).interval()))


def test_the_interval_is_that_of_the_bootstrap_by_hand():
    values = torch.randn(60, generator=torch.Generator().manual_seed(0)).double()
    low, high = Rating(torch.cat([values, torch.tensor([torch.nan]).double()]), True).interval()
    drawn = np.random.default_rng(0).choice(values.numpy(), (20_000, 60)).mean(1)
    expected = np.quantile(drawn, [0.025, 0.975])
    # 1,000 draws place a quantile of 2.5 % to a tenth of the interval's half width.
    assert [low, high] == pytest.approx(list(expected), abs=0.05)
    narrow = Rating(values, True).interval(0.5)
    assert low < narrow[0] < narrow[1] < high


@pytest.mark.parametrize("curve", [True, False])
def test_a_rating_is_drawn_with_every_input_and_its_mean(curve):
    rated = RATED if curve else Rating(RATED.values, True)
    figure = plot(rated)
    ax = figure.axes[0]
    assert sorted(ax.collections[0].get_offsets()[:, 1].tolist()) == [1, 2, 3]
    assert "mean 2, undefined for 1" in ax.get_title("left")
    assert ("lower" if curve else "higher") in ax.get_xlabel()
    assert len(figure.axes) == 1 + curve
    if curve:
        lines = figure.axes[1].lines
        assert len(lines) == 5
        assert lines[-1].get_ydata().tolist() == [1, 0.1875]


def test_nothing_rated_is_said():
    figure = plot(Rating(torch.full((3,), torch.nan), True))
    assert "no meaning for any of the 3 inputs" in figure.axes[0].texts[0].get_text()


def test_a_rating_is_kept_and_tabulated(tmp_path):
    save(RATED, tmp_path / "r")
    back = load(tmp_path / "r")
    assert isinstance(back, Rating)
    assert back.values.isnan().tolist() == [False, True, False, False]
    assert back.higher_is_better is False
    assert torch.equal(back.curve, RATED.curve)
    table = frame(back)
    assert list(table.columns) == ["input", "value"]
    assert table["value"].tolist()[2] == 3
    words = (tmp_path / "r" / "result.json").read_text()
    (tmp_path / "r" / "result.json").write_text(words.replace('"higher_is_better": false,', ""))
    with pytest.raises(ValueError, match="does not say which way it points"):
        load(tmp_path / "r")
