"""Words and tables on the terminal. Names and texts of the user are shown as they are."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unmask.cli.errors import printable

if TYPE_CHECKING:
    from unmask.results import Interactions
    from unmask.run import Explained, Failure

ENOUGH = 0.95
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
    measured = {name: [cell(one) for one in explained] for name, cell in _MEASURED.items()}
    measured = {name: cells for name, cells in measured.items() if any(cells)}
    for name in measured:
        table.add_column(name, justify="right", no_wrap=True)
    for at, one in enumerate(explained):
        entry = one.entry
        said = entry.prediction
        if entry.probability is not None:
            said += f" ({100 * entry.probability:.1f} %)"
        wrong = entry.probability is not None and entry.truth not in (None, entry.prediction)
        table.add_row(
            _text(entry.title),
            _text(said + (" ✗" if wrong else ""), "red" if wrong else ""),
            _text(entry.truth or ""),
            *(cells[at] for cells in measured.values()),
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


def terms_of(one: "Explained") -> "Interactions | None":
    """The terms of an input: the exact ones, or else those of a search.

    Args:
        one: an explained input.
    """
    from unmask.results import Interactions

    found = (one.results.get(name) for name in ("and_or", "large_n"))
    return next((terms for terms in found if isinstance(terms, Interactions)), None)


def _gap(one: "Explained") -> str:
    gap = getattr(one.results.get("and_or"), "gap", None)
    return "" if gap is None else f"{gap:.1e}"


def _explained(one: "Explained", residual: str) -> str:
    """The share of the variance that the terms explain where they were not fitted."""
    left = getattr(terms_of(one), residual, None)
    return "" if left is None or left != left else f"{100 * max(0.0, 1 - left):.1f} %"


def _terms_95(one: "Explained") -> str:
    """How many terms explain 95 %, as counted or as read off the curve."""
    counted = _number(one, "sparsity", "terms_95", "{:.0f}")
    curves = getattr(one.results.get("universal_matching"), "curves", {})
    if counted or not {"terms", "fidelity"} <= set(curves):
        return counted
    enough = (curves["fidelity"] >= ENOUGH).nonzero()
    return f"{float(curves['terms'][int(enough[0])]):.0f}" if len(enough) else ""


def _number(one: "Explained", method: str, name: str, form: str) -> str:
    numbers = getattr(one.results.get(method), "numbers", {})
    return form.format(numbers[name]) if name in numbers else ""


_MEASURED: "Mapping[str, Callable[[Explained], str]]" = {
    "terms\nfor 95 %": _terms_95,
    "\ngap": _gap,
    "matching\nerror": lambda one: _number(one, "universal_matching", "largest_error", "{:.1e}"),
    "\nexplained": lambda one: _explained(one, "residual"),
    "explained\nnear full": lambda one: _explained(one, "residual_near_full"),
}
"""What is said of an input beside its prediction, where any has it."""
