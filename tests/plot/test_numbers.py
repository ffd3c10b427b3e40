"""The lengths and colours that are drawn are the numbers of the result."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unmask.players import channels, features, patches
from unmask.plot import plot, plot_curve, plot_orders, plot_traces
from unmask.plot.labels import term, wrapped
from unmask.results import Attribution, Examples, Interactions, Measurement, Synthesis
from unmask.views import GraphView, ImageView, TableView, TextView

NAMES = ("wing", "tail", "beak")
TERMS = Interactions(
    torch.tensor(
        [[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1]], dtype=torch.bool
    ),
    torch.tensor([False, False, True, True, False, True]),
    torch.tensor([1.0, -3.0, 2.0, -0.5, 0.25, 0.125]),
    0.0,
    NAMES,
    0.02,
)


def _labels(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_bars_are_the_strongest_terms_in_order():
    figure = plot(TERMS, most=4)
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == [-3.0, 2.0, 1.0, -0.5]
    assert _labels(figure) == ["wing AND tail", "wing OR tail", "wing", "tail OR beak"]
    places = figure.axes[0].get_yticks()
    middles = [bar.get_y() + bar.get_height() / 2 for bar in bars]
    np.testing.assert_allclose(middles, places)
    low, high = figure.axes[0].get_ylim()
    assert low > high  # the strongest on top


def test_logic_and_sign_read_without_colour():
    bars = plot(TERMS).axes[0].patches
    hatched = [bool(bar.get_hatch()) for bar in bars]
    # A single player's OR is no other than its AND.
    assert hatched == [False, True, False, True, False, False]
    assert [bar.get_width() > 0 for bar in bars] == [False, True, True, False, True, True]


def test_the_caption_says_share_and_gap():
    said = plot(TERMS, most=2).get_supxlabel()
    assert "2 strongest of 6" in said
    assert "72.7\N{NO-BREAK SPACE}%" in said  # 5 of 6.875
    assert "2\N{NO-BREAK SPACE}%" in said


@pytest.mark.parametrize(
    ("residual", "near_full", "said"),
    [
        (0.03, 0.125, "explain 97 % over all masks and 87.5 % where at most a fifth is hidden, on"),
        (0.03, None, "explain 97 % over all masks, on masks that they were not fitted to."),
        (None, 0.5, "explain 50 % where at most a fifth is hidden, on"),
        (0.0, 0.0, "explain 100 % over all masks and 100 % where"),
        (1.5, float("inf"), "explain 0 % over all masks and 0 % where"),
        (0.0001, 0.2, "explain over 99.9 % over all masks"),
    ],
)
def test_the_caption_says_how_much_a_search_explains(residual, near_full, said):
    terms = replace(TERMS, residual=residual, residual_near_full=near_full)
    caption = plot(terms).get_supxlabel().replace("\N{NO-BREAK SPACE}", " ").replace("\n", " ")
    assert f"Of the variance of the score, all terms together {said}" in caption


def test_what_was_not_measured_leaves_no_trace_in_the_caption():
    for nothing in (TERMS, replace(TERMS, residual=float("nan"))):
        assert "variance" not in plot(nothing).get_supxlabel()


def test_orders_stack_up_and_down():
    bars = plot_orders(TERMS).axes[0].patches
    drawn = {
        (round(bar.get_x() + bar.get_width() / 2), bool(bar.get_hatch()), bar.get_height() > 0): (
            bar.get_y(),
            bar.get_y() + bar.get_height(),
        )
        for bar in bars
    }
    assert drawn == {
        (1, False, True): (0, 1.125),
        (2, False, False): (0, -3.0),
        (2, True, True): (0, 2.0),
        (2, True, False): (-3.0, -3.5),
        (3, False, True): (0, 0.25),
    }


def test_a_curve_goes_through_its_points():
    terms, fidelity = torch.arange(5.0), torch.tensor([0.0, 0.5, 0.75, 0.9, 1.0])
    result = Measurement({"error": 0.25}, {"terms": terms, "fidelity": fidelity})
    for figure in (plot(result), plot_curve(result, "fidelity")):
        x, y = figure.axes[0].lines[0].get_data()
        np.testing.assert_array_equal(x, terms)
        np.testing.assert_allclose(y, fidelity)
        assert figure.axes[0].get_xlabel() == "terms"
    said = [text.get_text() for text in plot(result).axes[1].texts]
    assert said == ["error", "0.25"]


def test_a_long_curve_has_a_logarithmic_axis_and_a_short_one_has_none():
    for many, scale in ((4000, "symlog"), (30, "linear")):
        curves = {"terms": torch.arange(float(many)), "fidelity": torch.ones(many)}
        assert plot(Measurement({}, curves)).axes[0].get_xscale() == scale


def test_a_curve_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match=r"no curve 'fidelty'\. Choose from fidelity"):
        plot_curve(Measurement({}, {"fidelity": torch.ones(2)}), "fidelty")


def test_attributions_are_bars_by_size_with_names_and_values():
    result = Attribution(torch.tensor([[0.5, -2.0, 1.0]]), names=NAMES)
    figure = plot(result, over=TableView(("long", "short", ""), ("", "", "")), most=2)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [-2.0, 1.0]
    assert _labels(figure) == ["tail = short", "beak"]
    assert "others add up to +0.5" in figure.get_supxlabel()


def test_columns_of_one_player_are_added_up():
    players = features(("a", "b", "c"), {"both": ("a", "c")})
    figure = plot(Attribution(torch.tensor([[1.0, 2.0, 4.0]])), players=players)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [5.0, 2.0]
    assert _labels(figure) == ["both", "b"]


def test_the_heat_map_is_the_sum_over_channels_symmetric_about_zero():
    values = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    picture = ImageView(torch.zeros(8, 10, 3, dtype=torch.uint8))
    figure = plot(Attribution(values), over=picture, percentile=90.0)
    image = figure.axes[0].images[-1]
    expected = values[0].sum(0)
    np.testing.assert_allclose(image.get_array(), expected, rtol=1e-6)
    low, high = image.get_clim()
    assert low == -high
    assert high == pytest.approx(np.percentile(expected.abs(), 90), rel=1e-6)
    assert "90th percentile" in figure.axes[1].get_ylabel()
    assert image.get_extent() == [-0.5, 9.5, 7.5, -0.5]  # over the whole picture


def test_what_has_no_sign_begins_at_zero_and_says_so():
    values = torch.rand(1, 4, 5, generator=torch.Generator().manual_seed(1))
    for over in (ImageView(torch.zeros(8, 10, 3, dtype=torch.uint8)), None):
        figure = plot(Attribution(values), over=over, percentile=90.0)
        image = figure.axes[0].images[-1]
        np.testing.assert_allclose(image.get_array(), values[0], rtol=1e-6)
        assert image.get_clim() == (0, pytest.approx(np.percentile(values, 90), rel=1e-6))
        assert "without sign" in figure.axes[1].get_ylabel()
        assert "90th percentile" in figure.axes[1].get_ylabel()
        shades = image.cmap(np.linspace(0, 1, 20))
        light = shades[:, :3] @ [0.299, 0.587, 0.114]
        assert (np.diff(light) < 0).all()  # in grey, too, more is darker
    assert "without sign" not in plot(Attribution(-values)).axes[1].get_ylabel()


def test_lines_show_how_sure_bars_are():
    result = Attribution(
        torch.tensor([[0.5, -2.0, 1.0]]), names=NAMES, errors=torch.tensor([[0.1, 0.5, 3.0]])
    )
    figure = plot(result)
    ax = figure.axes[0]
    (ends,) = (made.get_segments() for made in ax.collections)
    np.testing.assert_allclose(
        [sorted(line[:, 0]) for line in ends], [[-2.5, -1.5], [-2, 4], [0.4, 0.6]], atol=1e-6
    )
    low, high = ax.get_xlim()
    assert low < -2.5
    assert high > 4
    assert "one standard error" in figure.get_supxlabel()
    assert "standard error" not in plot(Attribution(result.values)).get_supxlabel()


def test_players_are_painted_over_the_picture_once_per_pixel():
    players = patches((3, 4, 4), (2, 2))
    picture = ImageView(torch.zeros(4, 4, 3, dtype=torch.uint8))
    figure = plot(Attribution(torch.tensor([[1.0, -2.0, 3.0, 4.0]])), over=picture, players=players)
    painted = figure.axes[0].images[-1].get_array()
    assert painted[0].tolist() == [1, 1, -2, -2]
    assert painted[3].tolist() == [3, 3, 4, 4]
    said = {text.get_text() for text in figure.axes[0].texts}
    assert said == {"+1", "\N{MINUS SIGN}2", "+3", "+4"}


def test_players_on_top_of_each_other_are_bars():
    picture = ImageView(torch.zeros(4, 4, 3, dtype=torch.uint8))
    figure = plot(
        Attribution(torch.tensor([[1.0, -2.0, 3.0]])), over=picture, players=channels((3, 4, 4))
    )
    assert [bar.get_width() for bar in figure.axes[0].patches] == [3.0, -2.0, 1.0]


def test_an_embedding_counts_for_its_token():
    values = torch.tensor([[[1.0, 2.0], [0.5, -4.5]]])
    figure = plot(Attribution(values), over=TextView(("good", " film")))
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said == ["good", "+3", "film", "\N{MINUS SIGN}4"]


def test_channels_that_all_say_the_same_are_drawn_once():
    value = torch.tensor([[0.5, -0.2], [0.0, 1.0]])
    same = value.expand(1, 3, 2, 2)
    picture = ImageView(torch.zeros(2, 2, 3, dtype=torch.uint8))
    figure = plot(Attribution(same), over=picture, percentile=100.0)
    image = figure.axes[0].images[-1]
    assert image.get_array().tolist() == value.tolist()
    assert image.get_clim() == (-1, 1)
    assert "added up" not in figure.axes[1].get_ylabel()
    assert figure.get_supxlabel() == "Sum of all: +1.3."
    # Shares of a score are shares, even if they happen to be equal: a pixel has all three.
    figure = plot(Attribution(same, torch.zeros(1)), over=picture)
    assert figure.axes[0].images[-1].get_array()[1, 1] == 3
    assert "3 channels added up" in figure.axes[1].get_ylabel()


def _pieces(figure):
    """The boxes behind the pieces of a sentence, darkest last, and the numbers below them."""
    texts = figure.axes[0].texts
    boxes = [text.get_bbox_patch().get_facecolor() for text in texts if text.get_bbox_patch()]
    return boxes, [text.get_text() for text in texts if not text.get_bbox_patch()]


def test_a_sentence_whose_values_have_no_sign_does_not_speak_of_two_directions():
    text = TextView(("a", " good", " film"))
    figure = plot(Attribution(torch.tensor([[0.0, 0.25, 1.0]])), over=text)
    assert figure.texts[-1].get_text() == "The darker a piece, the larger its value."
    boxes, numbers = _pieces(figure)
    assert numbers == ["0.25", "1"]
    light = [opaque * (red + green + blue) / 3 + 1 - opaque for red, green, blue, opaque in boxes]
    assert light[0] == 1  # what has nothing is as white as the paper
    assert light[0] > light[1] > light[2]
    complete = plot(Attribution(torch.tensor([[0.0, 0.25, 1.0]]), torch.zeros(1)), over=text)
    assert "Sum of all: +1.25; completeness gap" in complete.texts[-1].get_text()
    for values in ([[-0.5, 0.25, 1.0]], [[0.0, 0.0, 0.0]]):
        figure = plot(Attribution(torch.tensor(values)), over=text)
        assert figure.texts[-1].get_text().startswith("Blue raises the score, orange lowers it.")


def test_the_label_says_what_the_values_are():
    label = "bits of $x$"
    picture, text = ImageView(torch.zeros(2, 2, 3, dtype=torch.uint8)), TextView(("a", " b"))
    graph = GraphView(torch.tensor([[0, 1], [1, 0]]), torch.rand(2, 2), ("a", "b"))
    flat, square = Attribution(torch.tensor([[1.0, -2.0]])), Attribution(torch.randn(1, 2, 2))
    assert plot(flat).axes[0].get_xlabel() == "contribution to the score"
    assert plot(flat, label=label).axes[0].get_xlabel() == label
    assert plot(square, over=picture, label=label).axes[1].get_ylabel().startswith(label + "\n")
    without = plot(Attribution(square.values.abs()), over=picture, label=label)
    assert without.axes[1].get_ylabel().startswith(label + "\n")
    assert plot(flat, over=graph, label=label).axes[1].get_ylabel() == label
    for values, said in (([1.0, -2.0], "below a piece is its"), ([1.0, 2.0], "the larger its")):
        figure = plot(Attribution(torch.tensor([values])), over=text, label=label)
        assert f"{said} {label}." in figure.texts[-1].get_text()


def test_what_does_not_fit_is_told():
    flat = Attribution(torch.ones(1, 3))
    with pytest.raises(ValueError, match="3 values for 1 pieces"):
        plot(flat, over=TextView(("a",)))
    with pytest.raises(ValueError, match="cannot be laid over a picture"):
        plot(flat, over=ImageView(torch.zeros(2, 2, 3, dtype=torch.uint8)))
    with pytest.raises(ValueError, match="1 names for 3 values"):
        plot(Attribution(torch.ones(1, 3), names=("a",)))
    with pytest.raises(ValueError, match="no row 2"):
        plot(flat, row=2)


def test_weights_of_cases_are_bars_and_traces_are_lines():
    figure = plot(Examples(torch.tensor([[7, 9]]), torch.tensor([[0.25, -0.5]])))
    assert [bar.get_width() for bar in figure.axes[0].patches] == [-0.5, 0.25]
    assert _labels(figure) == ["case 9", "case 7"]
    trace = torch.tensor([[1.0, 2.0, 4.0]])
    figure = plot_traces(Synthesis(torch.zeros(1, 2), trace[:, -1], trace))
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), trace[0])


def test_terms_read_as_logic_and_lose_no_letter():
    assert term(("radius", "texture"), False) == "radius AND texture"
    assert term(("wing", "tail"), True) == "wing OR tail"
    assert term(("a", "b", "c"), True, width=7) == "a OR\nb OR c"
    long = "averylongname" * 9
    assert term((long, "b"), False, width=20).replace("\n", "").replace(" ", "") == long + "ANDb"
    assert all(len(line) <= 20 for line in term((long, "b"), False, width=20).split("\n"))
    assert wrapped("one\ttwo\nthree", 9) == "one two\nthree"
    assert wrapped("\x00", 9) == "\N{REPLACEMENT CHARACTER}"
