"""A progress bar on stderr, where that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from unmask.run.explainer import Step


@contextmanager
def progress(title: str) -> "Iterator[Callable[[Step], None]]":
    """Lend a listener that shows how far a run has come.

    Args:
        title: of the run.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        expand=True,
    )
    with bar:
        task = bar.add_task(escape(title), total=None)

        def listen(step: "Step") -> None:
            what = f"{title}: {step.title[:30]}, {step.what}"
            bar.update(task, completed=step.done, total=step.total, description=escape(what))

        yield listen
