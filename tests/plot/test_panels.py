"""Curves that are compared share their axes, and can be told apart there without colour."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from unmask.plot import plot, plot_panel
from unmask.plot.curves import readable
from unmask.results import Attribution, Hierarchy, Measurement
from unmask.views import TextView

STEP = torch.tensor([0.0, 1.0, 2.0, 3.0])
RISE, FALL = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([4.0, 3.0, 2.0, 1.0])
BOTH = Measurement(
    {"inputs": 7.0},
    {
        "step": STEP,
        "mean_order": RISE,
        "mean_order_low": RISE - 0.5,
        "mean_order_high": RISE + 0.25,
        "predicted_mean_order": FALL,
        "predicted_mean_order_error": torch.full((4,), 0.5),
        "gap": RISE * FALL,
        "share": torch.tensor([0.1, 0.4]),
        "covered": torch.tensor([9.0, 8.0]),
    },
    {
        "mean order": ("step", "mean_order", "predicted_mean_order"),
        "covered": ("share", "covered"),
    },
)


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes]


def drawn(ax):
    """Every curve: where it runs, and the band about it."""
    bands = [{tuple(map(float, row)) for row in band.get_paths()[0].vertices}
             for band in ax.collections]  # fmt: skip
    return [tuple(map(list, line.get_data())) for line in ax.lines], bands


def many(count, points=6):
    curves = {f"curve_{i}": torch.arange(points) * (i + 1.0) for i in range(count)}
    return Measurement({}, {"x": torch.arange(float(points))} | curves, {"many": ("x", *curves)})


def test_a_panel_has_all_its_curves_and_bands_once():
    figure = plot(BOTH)
    assert titles(figure)[:3] == ["mean order", "covered", "gap"]
    assert len(figure.axes) == 4  # the last holds the numbers
    lines, bands = drawn(figure.axes[0])
    assert lines == [([0, 1, 2, 3], [1, 2, 3, 4]), ([0, 1, 2, 3], [4, 3, 2, 1])]
    assert bands[0] >= {(0, 0.5), (3, 3.5), (0, 1.25), (3, 4.25)}
    assert bands[1] >= {(0, 3.0), (3, 0.0), (0, 5.0), (3, 2.0)}  # two errors to either side
    assert figure.axes[0].get_xlabel() == "step"
    (own,) = drawn(figure.axes[1])[0]
    assert own == (pytest.approx([0.1, 0.4]), [9, 8])  # over the axis that the panel names
    assert figure.axes[1].get_xlabel() == "share"


def test_labels_leave_out_what_the_title_says():
    def labels(curves, title):
        values = dict.fromkeys(("x", *curves), STEP)
        legend = plot_panel(Measurement({}, values, {title: ("x", *curves)}), title).axes[0].legend_
        return [text.get_text() for text in legend.get_texts()]

    assert labels(("mean_order", "predicted_mean_order"), "mean order") == [
        "mean order", "predicted",
    ]  # fmt: skip
    assert labels(("overlap a to b", "new a to b"), "a to b") == ["overlap", "new"]
    assert labels(("strength a", "strength b.c"), "strength") == ["a", "b.c"]
    assert labels(("a_cost", "cost_a"), "cost") == ["a cost", "cost a"]  # both would be called a
    assert plot(BOTH).axes[1].legend_ is None  # one curve needs none
    assert readable("mean_order") == "mean order"


def test_curves_differ_in_colour_in_line_and_in_marker():
    lines = plot_panel(many(5), "many").axes[0].lines
    grey = {round(float(np.dot(to_rgb(line.get_color()), [0.299, 0.587, 0.114])), 2)
            for line in lines}  # fmt: skip
    assert len(grey) > 1
    assert len({line.get_color() for line in lines}) == 5
    assert len({line.get_marker() for line in lines}) == 5
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == 5
    # And where there are more than there are colours, the three together still do.
    lines = plot_panel(many(40), "many").axes[0].lines
    looks = {(line.get_color(), line.get_marker(), str(line._unscaled_dash_pattern))
             for line in lines}  # fmt: skip
    assert len(looks) == 40


@pytest.mark.parametrize("count", [2, 3, 8, 15])
@pytest.mark.parametrize("points", [4, 300])
def test_the_legend_covers_nothing(count, points):
    result = many(count, points)
    for figure in (plot(result), plot(Measurement({"a": 1.0}, result.curves, result.panels))):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        ax = figure.axes[0]
        legend = ax.legend_.get_window_extent(canvas.get_renderer())
        title = ax._left_title.get_window_extent(canvas.get_renderer())
        assert legend.y0 >= ax.bbox.y1 - 1
        assert title.y0 >= legend.y1 - 1
        assert legend.x1 <= figure.bbox.x1
        assert ax.bbox.height > 80  # at 100 dots per inch: the curves can be seen


def test_at_most_eight_axes_and_the_others_are_counted():
    curves = {"x": STEP} | {f"c{i}": STEP + i for i in range(12)}
    result = Measurement({}, curves, {"three": ("x", "c9", "c10", "c11")})
    figure = plot(result)
    assert titles(figure) == ["three", *(f"c{i}" for i in range(7))]
    assert figure.get_supxlabel().startswith("2 more curves are not drawn.")
    assert len(plot(result, most=20).axes) == 10
    assert "more" not in plot(result, most=10).get_supxlabel()
    assert plot(result, most=9).get_supxlabel().startswith("1 more curve is not drawn.")
    (only,) = plot(result, most=0).axes
    assert only.texts[0].get_text().startswith("12 more curves are not drawn")


def test_numbers_stand_below_if_they_are_many_and_never_lie_on_each_other():
    label = "a_rather_long_name_of_a_number"
    values = {f"{label}_{i}": 1.23456789e-7 * (i + 1) for i in range(14)}
    values |= {f"{name}_{end}": 3.3e-9 for name in list(values) for end in ("low", "high")}
    for count, beside in ((2, True), (14, False)):
        numbers = {k: v for k, v in values.items() if int(k.split("_")[7]) < count}
        figure = plot(Measurement(numbers, {"only": RISE}))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        table = figure.axes[-1]
        assert bool(table.bbox.x0 > figure.axes[0].bbox.x1) is beside
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in table.texts]
        assert len(boxes) == 2 * count
        for i, one in enumerate(boxes):
            assert one.y0 >= 0
            assert not any(one.overlaps(other) for other in boxes[i + 1 :])


def test_an_interval_that_is_not_known_is_not_written():
    nothing = float("nan")
    for low, high, said in ((nothing, nothing, "2"), (1.0, nothing, "2 (1 to nan)")):
        figure = plot(Measurement({"rise": 2.0, "rise_low": low, "rise_high": high}))
        assert figure.axes[0].texts[1].get_text() == said


def test_a_steep_panel_has_a_logarithmic_axis():
    def scale(values):
        curves = {"x": STEP, "y": torch.tensor(values)}
        return plot(Measurement({}, curves, {"p": ("x", "y")})).axes[0].get_yscale()

    assert scale([1e-4, 1e-3, 1e-2, 10.0]) == "log"
    assert scale([0.0, 1e-3, 1e-2, 10.0]) == "linear"  # zero has no logarithm
    assert scale([1.0, 2.0, 3.0, 50.0]) == "linear"
    assert scale([float("nan")] * 4) == "linear"


def test_whole_places_have_whole_ticks():
    ax = plot_panel(Measurement({}, {"order": STEP, "y": RISE}, {"p": ("order", "y")}), "p").axes[0]
    assert all(tick == round(tick) for tick in ax.get_xticks())


def test_a_panel_is_drawn_on_given_axes_and_changes_no_setting():
    before = dict(mpl.rcParams)
    figure = Figure()
    ax = figure.add_subplot()
    assert plot_panel(BOTH, "mean order", ax=ax, colours=("#112233", "#445566")) is figure
    assert [line.get_color() for line in ax.lines] == ["#112233", "#445566"]
    figure.canvas.draw()
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("panels", "words"),
    [
        ({"p": ("x", "z")}, r"panel 'p' shows 'z', which is no curve of it. Its curves are 'x', "),
        ({"p": ("z", "x")}, r"panel 'p' shows 'z'"),
        ({"p": ("x",)}, r"panel 'p' names 1 of the two .* Name those of a panel: first what"),
        ({"p": ()}, r"panel 'p' names 0 of the two"),
        ({"p": ("x", "y"), "q": ("x", "long")}, r"curves of its panel 'q' differ in length"),
    ],
)
def test_panels_that_cannot_be_drawn_are_refused(panels, words):
    curves = {"x": torch.zeros(2), "y": torch.zeros(2), "long": torch.zeros(3)}
    with pytest.raises(ValueError, match=words):
        Measurement({}, curves, panels)


def test_a_panel_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match=r"no panel 'gap'\. Choose from mean order, covered"):
        plot_panel(BOTH, "gap")


def test_the_colours_of_a_hierarchy_are_told_of_any_score():
    """A score may be an interaction, which raises nothing by itself."""
    members = torch.tensor([[True, False], [False, True], [True, True]])
    tree = Hierarchy(members, torch.tensor([0.0, 1, -2]), torch.tensor([0, 0, 1]), ("a", "b"))
    said = plot(tree).axes[0].get_title(loc="left")
    assert said == "Number: the score of the set. Blue: above zero, orange: below."
    named = plot(tree, colours=("#000000", "#ffffff")).axes[0].get_title(loc="left")
    assert named == "Number: the score of the set."


def test_a_piece_of_no_letters_is_not_written():
    values = torch.tensor([[1.0, 0.0, -2.0, 0.5]])
    figure = plot(Attribution(values), over=TextView(("good", "", "", " film")))
    said = [text.get_text() for text in figure.axes[0].texts if text.get_text()]
    # The third piece has no letters, but its number is told all the same.
    assert said == ["good", "+1", "\N{MINUS SIGN}2", "film", "+0.5"]
    tree = Hierarchy(torch.eye(3).bool(), torch.ones(3), torch.zeros(3).long(), ("a", "b", "c"))
    ax = plot(tree, over=TextView(("It", "", " is"))).axes[0]
    assert [text.get_text() for text in ax.texts][3:] == ["It", "", "is"]
