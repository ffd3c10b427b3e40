"""`unmask compare`: which explanation of a model to believe, on inputs of the user's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.cli.errors import told
from unmask.cli.run import Address, On, Workers, engine_of

if TYPE_CHECKING:
    from rich.table import Table

    from unmask.run.compare import Comparison, Cost, Metric, Place

ROWS = 50
"""Inputs that are compared on unasked."""
SHOWN = 3
"""Methods whose failures are told by name."""
SHORT = {
    "exactness": "exact",
    "completeness": "valid",
    "consistency": "stable",
    "sanity": "sane",
    "complexity": "complex",
}
"""The criteria as the columns are called, so that they all fit into eighty."""


def compare(
    model: Annotated[
        str,
        typer.Argument(
            help="package.module:function, a .pt2 program, an .onnx file, or a folder with a "
            "transformers model in safetensors."
        ),
    ],
    inputs: Annotated[
        str | None,
        typer.Argument(
            help="A .csv, .parquet, .npy, .npz, .safetensors, .txt or image file, or a folder of "
            "images. A model of the zoo brings its own."
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Names with commas between; by default all that fit.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Forward passes of one input that all may take; a gradient counts as 2."),
    ] = None,
    rows: Annotated[int, typer.Option(help="How many inputs, from the first on.")] = ROWS,
    label: Annotated[
        str | None, typer.Option(help="The column that holds the truth and is no input.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder of results; by default one in runs.")
    ] = None,
    on: On = None,
    address: Address = None,
    workers: Workers = None,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page afterwards.")
    ] = False,
) -> None:
    """Run every method that fits, rate the explanations, say which to believe, and write a page.

    Called again with the same arguments it goes on where it stopped. With [bold]--on ray[/bold]
    the methods are spread over processes.

    Example: [bold]unmask compare model.onnx table.csv --label diagnosis --rows 50[/bold]
    """
    with told():
        from unmask.cli import say
        from unmask.cli.pages import PAGE
        from unmask.cli.progress import progress
        from unmask.report import build_comparison
        from unmask.run import Source, Wishes, open_model, read_inputs, suggest
        from unmask.run.compare import compare as compared
        from unmask.run.compare.on_material import prepared

        engine = engine_of(on, address, workers)
        if rows < 1:
            raise ValueError(f"There is nothing to compare on {rows} inputs. Give --rows 50.")
        source = Source(file=None if inputs is None else str(Path(inputs).resolve()), label=label)
        opened = open_model(model)
        material = read_inputs(source, opened)
        numbers = tuple(range(min(rows, len(material))))
        name = str(Path(model).resolve()) if Path(model).exists() else model
        found = suggest(name, source, opened, material, Wishes(rows=numbers))
        subject = prepared(found.plan, opened, material, numbers)
        console = say.console()
        for note in found.notes:
            if not note.startswith("Methods:"):  # those are of `unmask explain`
                console.print(say.note(note))
        folder = out or _folder(model, inputs)
        with progress("compare") as listen:
            comparison = compared(
                subject.score,
                subject.x,
                baseline=subject.baseline,
                players=subject.players,
                methods=None if methods is None else _names(methods),
                data=subject.data,
                budget=budget,
                folder=folder,
                words=subject.words,
                batch_size=found.plan.batch_size,
                engine=engine,
                listen=listen,
                announce=lambda cost: console.print(say.note(_foretold(cost))),
            )
        _print(comparison)
        page = build_comparison(
            comparison, folder / PAGE, title=f"Which explanation of {model} to believe"
        )
        console.print(f"Page: {page.resolve()}")
        if open_:
            typer.launch(str(page.resolve()))


def _names(methods: str) -> list[str]:
    return [name.strip().replace("-", "_") for name in methods.split(",") if name.strip()]


def _folder(model: str, inputs: str | None) -> Path:
    import re

    parts = [Path(model.rpartition(":")[2] or model).stem, Path(inputs).stem if inputs else ""]
    name = "-".join(filter(None, ("compare", *parts)))
    return Path("runs", re.sub(r"[^\w.-]+", "-", name).strip(".-"))


def _foretold(cost: "Cost") -> str:
    methods = len(cost.explanation)
    limit = "" if cost.budget is None else f" of the {cost.budget:,.0f} that are allowed"
    return (
        f"Cost: {methods} methods and references on {cost.inputs} inputs take about "
        f"{cost.total:,.0f} forward passes of one input{limit}; a gradient counts as 2."
    )


def _print(comparison: "Comparison") -> None:
    from unmask.cli import say

    console = say.console()
    console.print(standing(comparison))
    console.print(
        say.note(
            "Ranks: means over the metrics, 1 is best; in brackets, where they lie in 95 % of the "
            f"draws of the {len(comparison.subject.titles)} inputs. Valid: explained, with parts "
            "ranked. Sane: likeness to what random weights give, beyond chance. Cost: passes for "
            "one input. * recommended."
        )
    )
    for note in comparison.notes:
        console.print(say.note(note))
    console.print("")
    for sentence, names in _objections(comparison).items():
        console.print(say.note(f"{sentence} {', '.join(names)}"))
    if comparison.left_out:
        console.print(say.note(f"Left out: {len(comparison.left_out)} methods that do not fit."))
    for one in comparison.failures[:SHOWN]:
        who = one.method or "the model"
        console.print(say.note(f"Failed: {who}, {one.title}: {one.reason}"))
    if len(comparison.failures) > SHOWN:
        console.print(say.note(f"... and {len(comparison.failures) - SHOWN} more failures."))
    if comparison.folder is not None:
        console.print(f"Results: {comparison.folder}")


def _objections(comparison: "Comparison") -> dict[str, list[str]]:
    """What speaks against methods, or is open, each with those that it holds for."""
    found: dict[str, list[str]] = {}
    for name in comparison.order:
        for remark in comparison.verdicts[name]:
            if remark.good is not True:
                head = remark.text.partition(":")[0].partition(" (")[0].rstrip(".")
                found.setdefault(f"{head}:", []).append(name)
    return found


def standing(comparison: "Comparison") -> "Table":
    """A line per method, the recommended first, with its rank in every criterion.

    Args:
        comparison: that is shown.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from unmask.run.compare.comparison import RANKED
    from unmask.run.compare.standings import ALL

    table = Table(box=SIMPLE_HEAD, padding=0)
    table.add_column("method", no_wrap=True)
    ranked = [name for name in (*RANKED, ALL) if _placed(comparison, name)]
    others = [one for one in comparison.metrics.values() if one.criterion not in RANKED]
    for name in (*ranked, *(one.criterion for one in others)):
        table.add_column(SHORT.get(name, name), justify="right", no_wrap=True)
    for method in comparison.order:
        best = method in comparison.recommended
        name = Text(f"{method} *" if best else method, "bold" if best else "")
        places = [
            _rank(comparison.places[method][criterion], told=criterion == ALL)
            for criterion in ranked
        ]
        means = [_mean(comparison, method, metric) for metric in others]
        table.add_row(name, *places, *means)
    for reference in comparison.references:
        means = [_mean(comparison, reference, metric) for metric in others]
        table.add_row(Text(f"({reference})", "dim"), *("" for _ in ranked), *means)
    return table


def _placed(comparison: "Comparison", criterion: str) -> bool:
    return any(criterion in places for places in comparison.places.values())


def _rank(place: "Place", told: bool) -> str:
    if not told or not place.high > place.low:  # one input, or one method
        return f"{place.rank:.0f}"
    return f"{place.rank:.0f} ({place.low:.0f}-{place.high:.0f})"


def _mean(comparison: "Comparison", method: str, metric: "Metric") -> str:
    mean = comparison.ratings[method][metric.name].mean
    if mean != mean:
        return ""
    if metric.criterion == "cost" and mean >= 1000:
        return f"{mean / 1000:,.0f}k" if mean >= 9950 else f"{mean / 1000:.1f}k"
    return {"completeness": "{:.0%}", "cost": "{:.0f}"}.get(metric.criterion, "{:.2f}").format(mean)
