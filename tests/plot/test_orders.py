"""Bars of strength by order, their whiskers, and bands about curves."""

import pytest
import torch
from matplotlib.figure import Figure

from unmask.plot import plot, plot_course, plot_curve, plot_strengths
from unmask.results import Measurement

ORDER = torch.tensor([1.0, 2.0, 3.0])
UP, DOWN = torch.tensor([2.0, 1.0, 0.5]), torch.tensor([-1.0, 0.0, -3.0])
BARE = Measurement({}, {"order": ORDER, "positive": UP, "negative": DOWN})
SURE = Measurement(
    {"mean_order": 1.5, "mean_order_low": 1.25, "mean_order_high": 2.0},
    {
        "order": ORDER,
        "positive": UP,
        "positive_low": UP - 0.25,
        "positive_high": UP + 0.5,
        "negative": DOWN,
        "negative_error": torch.tensor([0.25, 0.0, 0.5]),
        "share": torch.tensor([0.4, 0.2, 0.4]),
        "share_low": torch.tensor([0.3, 0.1, 0.3]),
        "share_high": torch.tensor([0.5, 0.3, 0.6]),
    },
)


def heights(ax):
    return {(round(b.get_x() + b.get_width() / 2), b.get_height()) for b in ax.patches}


def ends(ax):
    """The lower and upper ends of every whisker, by order."""
    return [
        (round(float(line[0][0]), 6), round(float(line[0][1]), 6), round(float(line[1][1]), 6))
        for collection in ax.collections
        for line in collection.get_segments()
    ]


def test_bars_have_the_lengths_of_the_curves():
    ax = plot_strengths(BARE).axes[0]
    assert heights(ax) == {(1, 2.0), (2, 1.0), (3, 0.5), (1, -1.0), (2, 0.0), (3, -3.0)}
    assert not ax.collections
    assert {bar.get_facecolor() for bar in ax.patches if bar.get_height() > 0} == {
        bar.get_facecolor() for bar in ax.patches[:1]
    }


def test_whiskers_are_the_interval_or_two_errors():
    found = ends(plot_strengths(SURE).axes[0])
    assert found == [
        (1, 1.75, 2.5),
        (2, 0.75, 1.5),
        (3, 0.25, 1.0),
        (1, -1.5, -0.5),
        (2, 0.0, 0.0),
        (3, -4.0, -2.0),
    ]


def test_an_interval_that_is_not_known_has_no_whisker():
    unknown = {name: curve * torch.nan for name, curve in SURE.curves.items() if "_" in name}
    ax = plot_strengths(Measurement({}, dict(SURE.curves) | unknown)).axes[0]
    assert all(low == high for _, low, high in ends(ax))


def test_plot_shows_bars_once_and_bands_about_curves():
    figure = plot(SURE)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[:2] == ["strength", "share"]
    assert len(figure.axes) == 3  # the last holds the numbers
    assert heights(figure.axes[0]) == heights(plot_strengths(BARE).axes[0])
    band = figure.axes[1].collections[0].get_paths()[0].vertices
    assert {tuple(round(float(v), 6) for v in row) for row in band} >= {
        (1, 0.3), (2, 0.1), (3, 0.3), (1, 0.5), (2, 0.3), (3, 0.6)
    }  # fmt: skip
    said = [text.get_text() for text in figure.axes[2].texts]
    assert said == ["mean order", "1.5 (1.25 to 2)"]


def test_a_curve_called_low_is_a_curve_where_it_bounds_nothing():
    result = Measurement({}, {"step": ORDER, "centre": UP, "low": DOWN, "high": UP})
    titles = [ax.get_title(loc="left") for ax in plot(result).axes]
    assert titles == ["centre", "low", "high"]
    assert not plot_curve(result, "centre").axes[0].collections


def test_numbers_with_errors():
    figure = plot(Measurement({"slope": 2.0, "slope_error": 0.5}))
    assert [text.get_text() for text in figure.axes[0].texts] == ["slope", "2 ± 0.5"]


def test_a_course_has_one_scale_or_each_its_own():
    small = Measurement({}, {name: curve / 100 for name, curve in BARE.curves.items()}
                        | {"order": ORDER})  # fmt: skip
    together = plot_course([BARE, small], ["before", "after"])
    assert [ax.get_title(loc="left") for ax in together.axes] == ["before", "after"]
    assert together.axes[0].get_ylim() == together.axes[1].get_ylim()
    apart = plot_course([BARE, small], ["before", "after"], one_scale=False)
    assert apart.axes[1].get_ylim()[1] < 0.1 * apart.axes[0].get_ylim()[1]
    many = plot_course([BARE] * 6, list("abcdef"))
    assert isinstance(many, Figure)
    many.canvas.draw()


def test_axes_that_are_given_are_used():
    figure = Figure(layout="constrained")
    ax = figure.add_subplot()
    assert plot_strengths(BARE, ax=ax) is figure
    assert len(ax.patches) == 6
    figure.canvas.draw()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"no curve 'negative'. Give a result"):
        plot_strengths(Measurement({}, {"order": ORDER, "positive": UP}))
    with pytest.raises(ValueError, match=r"2 measurements and 1 titles. Give"):
        plot_course([BARE, BARE], ["one"])
    with pytest.raises(ValueError, match=r"0 measurements and 0 titles"):
        plot_course([], [])
