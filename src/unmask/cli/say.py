"""Words and tables on the terminal. Names and texts of the user are shown as they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unmask.cli.errors import printable

if TYPE_CHECKING:
    from unmask.results import Interactions
    from unmask.run import Explained, Failure

SHOWN = 5
"""Terms that are shown of an input."""


def console() -> Console:
    """The terminal, or whatever stdout is; nothing in a text is taken for markup."""
    return Console(markup=False, highlight=False, soft_wrap=True)


def summary(explained: "Sequence[Explained]", title: str) -> Table:
    """A line per explained input.

    Args:
        explained: the inputs.
        title: of the table.
    """
    table = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("\ninput", "\nprediction", "\ntruth"):
        table.add_column(name, overflow="fold")
    for name in ("terms\nfor 95 %", "\ngap", "matching\nerror"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in explained:
        entry = one.entry
        said = entry.prediction
        if entry.probability is not None:
            said += f" ({100 * entry.probability:.1f} %)"
        wrong = entry.probability is not None and entry.truth not in (None, entry.prediction)
        table.add_row(
            _text(entry.title),
            _text(said + (" ✗" if wrong else ""), "red" if wrong else ""),
            _text(entry.truth or ""),
            _number(one, "sparsity", "terms_95", "{:.0f}"),
            _gap(one),
            _number(one, "universal_matching", "largest_error", "{:.1e}"),
        )
    return table


def facts(columns: Sequence[str], *, right: bool = False) -> Table:
    """An empty table of names and what is known of them.

    Args:
        columns: their headings.
        right: whether all but the first hold numbers.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if right and i else "left", overflow="fold")
    return table


def strongest(terms: "Interactions") -> Table:
    """The terms that move the score most over all masks.

    Args:
        terms: of one input.
    """
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(justify="right")
    table.add_column()
    for i in terms.spread.argsort(descending=True, stable=True)[:SHOWN].tolist():
        names = [name for name, there in zip(terms.names, terms.members[i], strict=True) if there]
        word = " OR " if bool(terms.is_or[i]) else " AND "
        table.add_row(Text(f"{float(terms.effects[i]):+.3g}"), _text(word.join(names)))
    return table


def failures(found: "Sequence[Failure]") -> list[Text]:
    """A line per thing that could not be explained.

    Args:
        found: what failed.
    """
    lines = []
    for one in found:
        what = f"{one.title} (input {one.number})" + (f", {one.method}" if one.method else "")
        lines.append(_text(f"Not explained: {what}: {one.reason}", "red"))
    return lines


def note(text: str) -> Text:
    """A sentence that may hold names of the user.

    Args:
        text: the sentence.
    """
    return _text(text)


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


def _gap(one: "Explained") -> str:
    gap = getattr(one.results.get("and_or"), "gap", None)
    return "" if gap is None else f"{gap:.1e}"


def _number(one: "Explained", method: str, name: str, form: str) -> str:
    numbers = getattr(one.results.get(method), "numbers", {})
    return form.format(numbers[name]) if name in numbers else ""
