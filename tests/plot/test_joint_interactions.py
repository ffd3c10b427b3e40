import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from unmask.plot import COLOURS, plot, svg
from unmask.results import JointInteractions

NAMES = ("a", "b", "$x$ and $y$", "_<b>" * 9)
MEMBERS = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]).bool()
IS_OR = torch.tensor([False, False, True, True])
EFFECTS = torch.tensor([[4.0, 2.0, -1.0, 3.0], [4.0, 2.0, -0.5, 0.0]])


def joint(effects=EFFECTS, networks=("_one $", "two")):
    return JointInteractions(
        MEMBERS, IS_OR, effects, torch.zeros(len(effects)), NAMES, networks, gap=0.01
    )


def marks(figure):
    """Height -> [(value, marker, face)], in the order of the networks."""
    found = {}
    for line in figure.axes[0].lines:
        if line.get_marker() != "None":
            (value,), (height,) = line.get_data()
            face = to_hex(line.get_markerfacecolor())
            found.setdefault(round(float(height), 3), []).append((value, line.get_marker(), face))
    return [found[height] for height in sorted(found)]


def labels(figure):
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_one_mark_for_each_network_on_each_row():
    figure = plot(joint())
    blue, orange = (colour.lower() for colour in COLOURS)
    assert marks(figure) == [
        [(4.0, "o", blue), (4.0, "s", blue)],
        [(2.0, "o", blue), (2.0, "s", blue)],
        [(-1.0, "o", "#ffffff"), (-0.5, "s", "#ffffff")],
        [(3.0, "o", "#ffffff"), (0.0, "s", "#ffffff")],
    ]
    assert orange not in str(marks(figure))  # the only negative term is an OR, hence hollow
    edges = {to_hex(line.get_markeredgecolor()) for line in figure.axes[0].lines}
    assert orange in edges


def test_rows_are_sorted_by_what_is_shared():
    assert labels(plot(joint()))[:3] == ["a", "a AND b", "a OR b"]
    apart = EFFECTS.clone()
    apart[1, 0] = -4.0  # of two signs is not in common
    assert labels(plot(joint(apart)))[:3] == ["a AND b", "a OR b", "a"]


def test_a_line_joins_the_marks():
    spans = [
        tuple(line.get_xdata())
        for line in plot(joint()).axes[0].lines
        if line.get_marker() == "None" and len(set(line.get_ydata())) == 1
    ]
    assert (-1.0, -0.5) in [tuple(float(x) for x in span) for span in spans]
    assert (0.0, 3.0) in [tuple(float(x) for x in span) for span in spans]


def test_the_caption_counts_what_is_in_common():
    text = " ".join(t.get_text() for t in plot(joint(), most=2).findobj(Text))
    said = " ".join(text.split())
    assert "2 of 4 terms" in said
    assert "4 and 3, 3 in common" in said
    assert "72.7" in said  # 12 of 16.5
    assert "least price: 1 %" in said


@pytest.mark.parametrize("own", [True, False])
def test_every_text_is_on_the_canvas(own, monkeypatch):
    if own:
        figure = plot(joint())
    else:
        figure = Figure(figsize=(9, 6), layout="constrained")
        ax = figure.subplots(1, 2)[0]
        assert plot(joint(), ax=ax) is figure
        assert ax.has_data()
    drawn: list[Text] = []
    draw = Text.draw
    monkeypatch.setattr(
        Text, "draw", lambda text, *rest, **more: (drawn.append(text), draw(text, *rest, **more))
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    drawn = [text for text in drawn if text.get_visible() and text.get_text().strip()]
    assert len(drawn) > 8
    for text in drawn:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= -0.5, text
        assert box.y0 >= -0.5, text
        assert box.x1 <= width + 0.5, text
        assert box.y1 <= height + 0.5, text
    said = svg(figure)
    assert "_one $" in said
    assert "$x$ and $y$" in said


@pytest.mark.parametrize("terms", [0, 4])
def test_nothing_to_draw_is_said(terms):
    nothing = JointInteractions(
        MEMBERS[:terms], IS_OR[:terms], torch.zeros(2, terms), torch.zeros(2), NAMES, ("a", "b")
    )
    assert "No term has an effect" in svg(plot(nothing))


def test_many_networks():
    figure = plot(joint(torch.randn(14, 4), tuple(map(str, range(14)))))
    assert all(len(row) == 14 for row in marks(figure))
    svg(figure)


def test_colours_are_taken():
    faces = {
        face for row in marks(plot(joint(), colours=("#000000", "#ff0000"))) for *_, face in row
    }
    assert faces == {"#000000", "#ffffff"}
