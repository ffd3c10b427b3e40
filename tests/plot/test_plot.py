"""What holds for pictures of every type of result."""

import subprocess
import sys
from types import SimpleNamespace
from typing import get_args
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from unmask.players import patches, words
from unmask.plot import plot, plot_curve, plot_orders, plot_traces, png, svg
from unmask.plot.notebook import register
from unmask.results import (
    Attribution,
    Dependence,
    Examples,
    Hierarchy,
    Interactions,
    Measurement,
    Result,
    Surrogate,
    Synthesis,
)
from unmask.views import ImageView, TableView, TextView

NAMES = ("price in $ and $", "x_1^2 \\frac{1}", "<script>alert('x')</script> & co", "Größe" * 12)
TERMS = Interactions(
    torch.tensor([[i >> j & 1 == 1 for j in range(4)] for i in range(1, 16)]),
    torch.arange(15) % 3 == 2,
    torch.linspace(-2, 1.5, 15),
    0.5,
    NAMES,
    0.01,
)
CURVES = Measurement(
    {"largest_error": 1e-9, "terms_95": 12.0},
    {"terms": torch.arange(200.0), "fidelity": torch.linspace(0, 1, 200), "$x$": torch.ones(200)},
)
PANELS = Measurement(
    {
        "a_long_name_" * 4: 2.0,
        "a_long_name_" * 4 + "_low": -1e-9,
        "a_long_name_" * 4 + "_high": 2.0,
    },
    {"k": torch.arange(9.0)} | {f"$x_{i}$ {'long ' * 3 * i}": torch.rand(9) for i in range(7)},
    {"$ of all": ("k", *(f"$x_{i}$ {'long ' * 3 * i}" for i in range(6)))},
)
PICTURE = ImageView(torch.zeros(6, 8, 3, dtype=torch.uint8))
PIXELS = Attribution(torch.randn(2, 3, 6, 8), torch.zeros(2))
COLUMNS = Attribution(torch.tensor([[1.0, -2.0, 0.5, 0.0]]), names=NAMES)
TABLE = TableView(("1 $", "2 $", "", "<b>"), ("", "", "", ""))
SENTENCE = TextView(("It", " costs", " $", " 5 and $ 6", "\n", "<script>" * 30))
PIECES = Attribution(torch.linspace(-1, 1, 6)[None])
MADE = Synthesis(torch.randn(2, 1, 5, 5), torch.tensor([3.0, 4.0]), torch.randn(2, 10))
RULES = Surrogate(None, 0.9, "if x_1 > $2:\n    yes\n" + "and so on " * 40)
STEPS = torch.linspace(0, 3, 20)
CURVE = Dependence(
    STEPS[:, None],
    STEPS**2,
    STEPS**2 + torch.arange(5.0)[:, None],
    torch.linspace(-1, 4, 30)[:, None],
    (NAMES[0],),
)
CODES = Dependence(
    torch.arange(4.0)[:, None],
    torch.tensor([1.0, -1.0, 2.0, 0.0]),
    observed=(torch.arange(12.0) % 4)[:, None],
    names=(NAMES[3],),
)
HILLS = Dependence(
    torch.cartesian_prod(STEPS, STEPS[:15]),
    (STEPS[:, None] * STEPS[:15].sin()).flatten(),
    observed=torch.rand(40, 2) * 3,
    names=NAMES[1:3],
)
SETS = torch.tensor([*([i == j for j in range(6)] for i in range(6)), [1, 1, 0, 0, 0, 0],
                     [0, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 0], [1] * 6]).bool()  # fmt: skip
TREE = Hierarchy(
    SETS,
    torch.linspace(-2, 1.5, 10),
    torch.tensor([0] * 6 + [1, 1, 2, 3]),
    ("not", "a", "$ bad", "<b>", "film_1", "!"),
)

ALL = {
    "terms": lambda: plot(TERMS),
    "terms of one player": lambda: plot(
        Interactions(
            torch.ones(1, 1, dtype=torch.bool), torch.zeros(1) > 0, torch.ones(1), 0.0, ("a",)
        )
    ),
    "no terms": lambda: plot(
        Interactions(
            torch.zeros(0, 2, dtype=torch.bool), torch.zeros(0) > 0, torch.zeros(0), 0.0, ("a", "b")
        )
    ),
    "orders": lambda: plot_orders(TERMS),
    "curves": lambda: plot(CURVES),
    "a curve": lambda: plot_curve(CURVES, "fidelity"),
    "numbers": lambda: plot(Measurement({"a_long_name_" * 6: 2.0})),
    "panels": lambda: plot(PANELS),
    "more than is drawn": lambda: plot(PANELS, most=1),
    "nothing of all curves": lambda: plot(Measurement({}, CURVES.curves), most=0),
    "pixels": lambda: plot(PIXELS, over=PICTURE, row=1),
    "pixels of no picture": lambda: plot(PIXELS),
    "patches": lambda: plot(
        Attribution(torch.tensor([[1.0, -2.0, 0.0, 3.0]])),
        over=PICTURE,
        players=patches((3, 6, 8), (2, 2)),
    ),
    "bars": lambda: plot(COLUMNS),
    "a table": lambda: plot(COLUMNS, over=TABLE),
    "a sentence": lambda: plot(PIECES, over=SENTENCE),
    "cases": lambda: plot(Examples(torch.tensor([[3, 1]]), torch.tensor([[0.5, -0.25]]))),
    "made cases": lambda: plot(Examples(inputs=torch.arange(21.0).view(3, 7))),
    "pictures of cases": lambda: plot(
        Examples(torch.tensor([[3, 1]]), torch.tensor([[0.5, 0.2]])),
        data=torch.arange(540.0).view(5, 3, 6, 6),
    ),
    "made pictures": lambda: plot(MADE),
    "made columns": lambda: plot(
        Synthesis(torch.arange(10.0).view(2, 5), torch.ones(2), torch.ones(2, 3))
    ),
    "rules": lambda: plot(RULES),
    "sure bars": lambda: plot(
        Attribution(COLUMNS.values, names=NAMES, errors=torch.tensor([[0.1, 3.0, 0.2, 0.1]]))
    ),
    "pixels without a sign": lambda: plot(Attribution(PIXELS.values.abs()), over=PICTURE),
    "pixels without a sign of no picture": lambda: plot(Attribution(PIXELS.values.abs())),
    "dependence": lambda: plot(CURVE, label="price in $ and $"),
    "centred dependence": lambda: plot(CURVE, centre=True, most=2),
    "dependence on codes": lambda: plot(CODES, values=["a $", "<b>", "a long name " * 3, "d"]),
    "dependence on one point": lambda: plot(Dependence(torch.ones(1, 1), torch.ones(1))),
    "dependence on nothing": lambda: plot(Dependence(torch.ones(0, 1), torch.ones(0))),
    "dependence on two columns": lambda: plot(HILLS),
    "dependence on two columns of few values": lambda: plot(
        Dependence(torch.cartesian_prod(torch.arange(2.0), STEPS), torch.arange(40.0))
    ),
    "a tree above a sentence": lambda: plot(
        TREE, over=TextView(("It", " is", " a", " $ 5", "\n", "b"))
    ),
    "a tree beside a list": lambda: plot(
        Hierarchy(TREE.members, TREE.score, TREE.step, (*NAMES, *NAMES[:2]))
    ),
    "a tree over a picture": lambda: plot(TREE, over=PICTURE, players=patches((6, 8), (2, 3))),
    "a tree of nothing": lambda: plot(
        Hierarchy(SETS[:0], torch.zeros(0), torch.zeros(0).long(), TREE.names)
    ),
}


def _texts(figure: Figure) -> list[Text]:
    return [
        text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()
    ]


@pytest.mark.parametrize("name", ALL)
def test_every_text_is_complete_and_on_the_canvas(name, monkeypatch):
    drawn: list[Text] = []
    draw = Text.draw
    monkeypatch.setattr(
        Text, "draw", lambda text, *rest, **more: (drawn.append(text), draw(text, *rest, **more))
    )
    figure = ALL[name]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    drawn = [text for text in drawn if text.get_visible() and text.get_text().strip()]
    assert drawn
    for text in drawn:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= -0.5, text
        assert box.y0 >= -0.5, text
        assert box.x1 <= width + 0.5, text
        assert box.y1 <= height + 0.5, text


def test_names_are_there_letter_by_letter():
    said = "".join(text.get_text() for text in _texts(ALL["terms"]()))
    said = said.replace("\n", "").replace(" ", "")
    for name in NAMES:
        assert name.replace(" ", "") in said


@pytest.mark.parametrize("name", ALL)
def test_settings_are_as_before(name):
    before = dict(mpl.rcParams)
    svg(ALL[name]())
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", ALL)
def test_svg_is_well_formed_small_and_the_same_twice(name):
    text = svg(ALL[name]())
    assert svg(ALL[name]()) == text
    assert len(text) < 120_000
    ElementTree.fromstring(text)  # raises if a name broke the markup
    assert "<script" not in text
    assert "dc:date" not in text


def test_svg_keeps_text_as_text_and_dollars_as_dollars():
    text = "".join(ElementTree.fromstring(svg(ALL["terms"]())).itertext())
    for said in ("price in $ and $", "x_1^2 \\frac{1}", "<script>alert('x')</script> & co"):
        assert said in text


def test_png_is_a_picture():
    assert png(plot(COLUMNS))[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plot(TERMS, ax=ax),
        lambda ax: plot_orders(TERMS, ax=ax),
        lambda ax: plot_curve(CURVES, "fidelity", ax=ax),
        lambda ax: plot(PIXELS, over=PICTURE, ax=ax),
        lambda ax: plot(PIECES, over=SENTENCE, ax=ax),
        lambda ax: plot(COLUMNS, over=TABLE, ax=ax),
        lambda ax: plot(RULES, ax=ax),
        lambda ax: plot(CURVE, ax=ax),
        lambda ax: plot(CODES, ax=ax),
        lambda ax: plot(HILLS, ax=ax),
        lambda ax: plot(TREE, ax=ax),
        lambda ax: plot_traces(MADE, ax=ax),
        lambda ax: plot(Examples(torch.tensor([[1]]), torch.tensor([[1.0]])), ax=ax),
    ],
)
def test_draws_on_the_axes_it_is_given(draw):
    figure = Figure(figsize=(9, 6), layout="constrained")
    ax = figure.subplots(1, 2)[0]
    assert draw(ax) is figure
    assert ax.has_data() or ax.texts
    svg(figure)


def test_works_without_a_display_and_without_pyplot():
    program = """
import sys, torch
from unmask.plot import plot, png
from unmask.results import Attribution
png(plot(Attribution(torch.ones(1, 3))))
assert "matplotlib.pyplot" not in sys.modules
assert "tkinter" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_notebook_shows_results_as_pictures(monkeypatch):
    taught = {}
    pictures = SimpleNamespace(type_printers=taught, for_type=taught.__setitem__)
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"image/png": pictures}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    register()
    assert taught[Attribution](COLUMNS)[:4] == b"\x89PNG"
    assert {*get_args(Result), Figure} <= set(taught)


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_without_a_running_notebook_nothing_is_registered(monkeypatch, shell):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    register()


def test_what_is_no_result_is_refused():
    with pytest.raises(TypeError, match=r"plot takes a result, but got str\. Give"):
        plot("terms")


def test_words_are_put_together_and_count_once():
    players = words([None, 0, 0, 1, None], ("unbelievable", "film"))
    text = TextView(("[CLS]", " unbeliev", "able", " film", "[SEP]"))
    figure = plot(Attribution(torch.tensor([[1.0, -0.5]])), over=text, players=players)
    said = [text.get_text() for text in _texts(figure)]
    assert said.count("unbelievable") == 1
    assert said.count("+1") == 1
    assert "\N{MINUS SIGN}0.5" in said


def test_colours_are_taken():
    figure = plot(COLUMNS, colours=("#000000", "#ff0000"))
    faces = {bar.get_facecolor() for bar in figure.axes[0].patches}
    assert faces == {(0, 0, 0, 1), (1, 0, 0, 1)}
