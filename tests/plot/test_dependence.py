"""The curves and maps that are drawn are those of the result."""

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from unmask.plot import plot
from unmask.results import Dependence

AT = torch.linspace(0, 3, 20)
ROWS = torch.arange(5.0)
CURVES = AT**2 + ROWS[:, None] * (AT + 1)
OBSERVED = torch.linspace(-1, 4, 51)
RESULT = Dependence(AT[:, None], CURVES.mean(0), CURVES, OBSERVED[:, None], ("age",))


def collections(ax):
    return [made for made in ax.collections if isinstance(made, LineCollection)]


def test_the_average_is_bold_and_every_row_has_its_curve():
    ax = plot(RESULT).axes[0]
    bold = ax.lines[0]
    np.testing.assert_allclose(bold.get_ydata(), CURVES.mean(0))
    thin = collections(ax)[0]
    for segment, curve in zip(thin.get_segments(), CURVES, strict=True):
        np.testing.assert_allclose(segment[:, 0], AT)
        np.testing.assert_allclose(segment[:, 1], curve)
    assert bold.get_linewidth() > 2 * thin.get_linewidth()[0]
    assert ax.get_xlabel() == "age"
    low, high = ax.get_ylim()
    assert low < float(CURVES.min())
    assert high >= float(CURVES.max())


def test_of_many_rows_some_are_drawn_and_it_says_how_many():
    figure = plot(RESULT, most=2)
    segments = collections(figure.axes[0])[0].get_segments()
    np.testing.assert_allclose([one[-1, 1] for one in segments], CURVES[[0, 4], -1])
    assert "5 rows. Thin: 2 single rows" in figure.get_supxlabel()
    assert len(plot(RESULT, most=0).axes[0].lines) == 1


def test_centred_curves_begin_at_zero():
    ax = plot(RESULT, centre=True).axes[0]
    segments = collections(ax)[0].get_segments()
    np.testing.assert_allclose([one[0, 1] for one in segments], 0)
    np.testing.assert_allclose(segments[3][:, 1], CURVES[3] - CURVES[3, 0], rtol=1e-6)
    assert ax.get_ylabel() == "change of the score"


def test_ticks_are_the_values_that_were_seen_and_their_deciles():
    figure = plot(RESULT)
    ticks, deciles = collections(figure.axes[0])[1:3]
    inside = OBSERVED[(OBSERVED >= 0) & (OBSERVED <= 3)]
    np.testing.assert_allclose([one[0, 0] for one in ticks.get_segments()], inside)
    expected = [value for value in np.arange(-0.5, 4, 0.5) if 0 <= value <= 3]
    np.testing.assert_allclose([one[0, 0] for one in deciles.get_segments()], expected, atol=1e-6)
    assert "39.2\N{NO-BREAK SPACE}% of the rows lie outside" in figure.get_supxlabel()  # 20 of 51


def test_codes_are_marked_and_named_with_their_share_of_the_rows():
    seen = torch.tensor([0.0] * 6 + [1.0] * 3 + [2.0])
    result = Dependence(torch.arange(3.0)[:, None], torch.ones(3), observed=seen[:, None])
    ax = plot(result, values=("low", "middle", "high")).axes[0]
    assert ax.lines[0].get_marker() == "o"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["low", "middle", "high"]
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(np.array(heights) / heights[0], [1, 0.5, 1 / 6])
    said = [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in ax.texts]
    assert said == ["60 %", "30 %", "10 %"]
    with pytest.raises(ValueError, match="2 names for 3 values"):
        plot(result, values=("low", "high"))


def test_two_columns_are_a_map_in_their_own_units():
    x, y = torch.linspace(0, 3, 20), torch.linspace(10, 11, 15)
    height = x[:, None] + 10 * y
    result = Dependence(torch.cartesian_prod(x, y), height.flatten(), names=("a", "b"))
    ax = plot(result).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    assert ax.get_xlim() == pytest.approx((0, 3))
    assert ax.get_ylim() == pytest.approx((10, 11))
    low, high = ax.collections[0].get_clim()
    assert low <= 100
    assert high >= 113
    with pytest.raises(ValueError, match="299 points for 20 x 15 values"):
        plot(Dependence(result.points[1:], result.average[1:]))


def test_a_map_of_few_values_has_a_field_for_each():
    x, y = torch.arange(2.0), torch.linspace(0, 1, 20)
    height = 100 * x[:, None] + y
    figure = plot(Dependence(torch.cartesian_prod(x, y), height.flatten()))
    fields = figure.axes[0].collections[0].get_array()
    np.testing.assert_allclose(fields, height.T)
