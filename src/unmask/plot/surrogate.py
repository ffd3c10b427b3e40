"""Surrogate: its words, and how far it can be trusted."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unmask.plot.dispatch import plot
from unmask.plot.labels import clean, wrapped
from unmask.plot.style import COLOURS, FAINT, INK, MUTED, NORMAL, Colours, stage
from unmask.results import Surrogate

COLUMNS = 88
LINE = 0.165


@plot.register
def _(result: Surrogate, *, ax: Axes | None = None, colours: Colours = COLOURS) -> Figure:
    """The text of the model below a bar of its fidelity.

    Args:
        result: the simpler model.
        ax: where to draw.
        colours: the first is that of the bar.
    """
    kind = getattr(result.model, "kind", type(result.model).__name__).rpartition(".")[2]
    text = "\n".join(_indented(line) for line in result.text.expandtabs(4).splitlines())
    text = text or "The model has no text."
    lines = text.count("\n") + 1
    high = 0.75 + LINE * lines
    figure, ax = stage(ax, high)
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(high, 0)
    ax.text(
        0, 0.16, f"{clean(kind)}: fidelity {result.fidelity:.3g}", size=NORMAL + 1, color=INK,
        va="center", parse_math=False,
    )  # fmt: skip
    ax.barh(0.38, 1, height=0.07, color=FAINT)
    ax.barh(0.38, min(1.0, max(0.0, result.fidelity)), height=0.07, color=colours[0])
    ax.text(
        0, 0.58, text, size=NORMAL - 1, color=INK if result.text else MUTED, va="top",
        family="monospace", linespacing=1.25, parse_math=False,
    )  # fmt: skip
    return figure


def _indented(line: str) -> str:
    """A line of the text in the width of the page, its indentation kept."""
    margin = " " * min(len(line) - len(line.lstrip()), COLUMNS // 2)
    if not line.strip():
        return ""
    return "\n".join(margin + part for part in wrapped(line, COLUMNS - len(margin)).split("\n"))
