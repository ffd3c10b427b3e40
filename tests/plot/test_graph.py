import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from unmask.plot import plot, svg
from unmask.results import Attribution
from unmask.views import GraphView

EDGES = torch.tensor([[1, 0, 2, 3, 3], [0, 1, 0, 2, 3]])
PLACES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
VIEW = GraphView(EDGES, PLACES, ("a", "b", "$x$ and $y$", "<b>" * 9))
VALUES = Attribution(torch.tensor([[1.0, 0.5, 0.25, 0.0, 0.75, 9.0]]))


def lines(figure):
    return [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]


def test_the_larger_the_value_the_wider_the_edge():
    every, seen = lines(plot(VALUES, over=VIEW))
    assert len(every.get_segments()) == 5
    widths = list(seen.get_linewidths())
    assert len(widths) == 4  # the value of one edge is zero
    assert widths == sorted(widths)
    assert widths[-1] - 0.5 == pytest.approx(4 * (widths[0] - 0.5))
    segment = seen.get_segments()[-1]  # from node 1 to node 0
    assert segment == pytest.approx(np.array([[1, 0], [0, 0]]), abs=0.02)


def test_both_directions_can_be_told_apart():
    _, seen = lines(plot(VALUES, over=VIEW))
    there, back = seen.get_segments()[-1], seen.get_segments()[-3]
    assert there[0, 1] > 0 > back[0, 1]  # each on its own right
    alone = seen.get_segments()[0]  # from node 2 to node 0
    assert alone.tolist() == [[0, 1], [0, 0]]


def test_heads_point_where_edges_lead_and_loops_have_none():
    figure = plot(VALUES, over=VIEW)
    (heads,) = [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)]
    paths = [path.vertices for path in heads.get_paths()]
    assert len(paths) == 3
    tip, *foot = paths[-1][:3]  # of the edge from node 1 to node 0
    assert all(tip[0] < corner[0] for corner in foot)


def test_colours_are_symmetric_and_signs_differ():
    figure = plot(Attribution(torch.tensor([[1.0, -1.0, 0.0, 0.0, 0.0]])), over=VIEW)
    one, other = lines(figure)[1].get_colors()
    assert one[2] > one[0]  # blue
    assert other[0] > other[2]  # orange
    scale = figure.axes[1].get_ylim()
    assert scale == (-1, 1)
    assert plot(VALUES, over=VIEW).axes[1].get_ylim() == (0, 1)


def test_labels_are_there_and_on_the_canvas():
    figure = plot(VALUES, over=VIEW)
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    said = {text.get_text().replace("\n", "") for text in figure.findobj(Text)}
    assert {"a", "b", "$x$ and $y$", "<b>" * 9} <= said
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            box = text.get_window_extent()
            assert -0.5 <= box.x0 <= box.x1 <= width + 0.5
            assert -0.5 <= box.y0 <= box.y1 <= height + 0.5


def test_what_is_no_edge_is_said_to_be_left_out():
    said = [text.get_text() for text in plot(VALUES, over=VIEW).findobj(Text)]
    assert any("The 1 values of the features are not drawn" in text for text in said)
    exact = Attribution(VALUES.values[:, :5])
    said = [text.get_text() for text in plot(exact, over=VIEW).findobj(Text)]
    assert not any("not drawn" in text for text in said)


def test_a_gap_is_told():
    result = Attribution(VALUES.values[:, :5], gap=torch.tensor([0.125]))
    said = " ".join(text.get_text() for text in plot(result, over=VIEW).findobj(Text))
    assert "completeness gap +0.125" in said


def test_the_row_is_chosen_and_given_axes_are_taken():
    two = Attribution(torch.stack([torch.zeros(5), torch.ones(5)]))
    figure = Figure(layout="constrained")
    ax = figure.subplots(1, 2)[0]
    assert plot(two, over=VIEW, row=1, ax=ax) is figure
    assert len(lines(figure)[1].get_segments()) == 5
    svg(figure)
    assert len(lines(plot(two, over=VIEW, row=0))[1].get_segments()) == 0


@pytest.mark.parametrize("nodes", [1, 100])
def test_graphs_without_edges_and_large_ones(nodes):
    places = torch.rand(nodes, 2, generator=torch.Generator().manual_seed(0))
    none = torch.zeros(2, 0, dtype=torch.long)
    figure = plot(Attribution(torch.zeros(1, 0)), over=GraphView(none, places, ("",) * nodes))
    assert svg(figure) == svg(
        plot(Attribution(torch.zeros(1, 0)), over=GraphView(none, places, ("",) * nodes))
    )
    assert len(figure.axes) == 1  # without edges there is nothing to have a scale of


@pytest.mark.parametrize(
    ("values", "view"),
    [
        (torch.zeros(1, 4), VIEW),
        (torch.zeros(1, 5), GraphView(EDGES, PLACES, ("a",))),
    ],
)
def test_what_does_not_fit_the_graph_is_refused(values, view):
    with pytest.raises(ValueError, match=r"5 edges.*Give a value per edge"):
        plot(Attribution(values), over=view)
