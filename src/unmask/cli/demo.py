"""`unmask demo`: two networks on real data, from training to a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.cli.errors import UNEXPLAINED, told

if TYPE_CHECKING:
    from unmask.zoo import Exhibit

EXHIBITS = ("breast_cancer", "digits")
RIGHT, WRONG = 4, 2
"""Predictions of each kind that are explained."""
LEGEND = """terms for 95 %: how many AND-OR terms explain 95 % of the output over all masked inputs
gap: how far these terms can be from the sparsest there are (proven)
matching error: the largest difference to the network over all masked inputs"""


def demo(
    out: Annotated[Path, typer.Option(help="Where results and page are written.")] = Path(
        "runs/demo"
    ),
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page afterwards.")
    ] = False,
) -> None:
    """Explain predictions, right and wrong ones, of two small networks; needs no data.

    Example: [bold]unmask demo --open[/bold]
    """
    with told():
        from unmask import zoo
        from unmask.cli import say
        from unmask.cli.run import carry_out
        from unmask.report import build
        from unmask.report.from_run import cases
        from unmask.run import Source, Wishes, open_model, read_inputs, read_run, suggest

        console = say.console()
        shown, failed = [], False
        for name in EXHIBITS:
            model = f"unmask.zoo:{name}"
            opened = open_model(model)
            material = read_inputs(Source(), opened)
            wishes = Wishes(rows=_instructive(getattr(zoo, name)()))
            plan = suggest(model, Source(), opened, material, wishes).plan
            outcome = carry_out(plan, out / name, name, opened, material)
            found = read_run(outcome.folder)
            console.print(say.summary(found.explained, name.replace("_", " ")))
            for line in say.failures(outcome.failures):
                console.print(line)
            failed = failed or bool(outcome.failures)
            shown += cases(outcome.folder)
        page = build(
            shown,
            out / "page.html",
            title="What two networks know",
            notes=(
                "A perceptron tells malignant from benign tumours by measurements of cell nuclei; "
                "a small convolutional network reads handwritten digits. Both were trained here, "
                "and the inputs are ones that they have not seen.",
            ),
        )
        console.print(LEGEND)
        console.print(f"Page: {page.resolve()}")
        if open_:
            typer.launch(str(page.resolve()))
        if failed:
            raise typer.Exit(UNEXPLAINED)


def _instructive(exhibit: "Exhibit") -> tuple[int, ...]:
    """Some inputs that the network gets right, of different classes, and some that it does not."""
    import torch

    from unmask.score import predicted

    said = predicted(exhibit.model, torch.stack(exhibit.inputs)).tolist()
    labels = exhibit.labels or tuple(said)
    right = [i for i, label in enumerate(labels) if said[i] == label]
    wrong = [i for i, label in enumerate(labels) if said[i] != label]
    first = list({labels[i]: i for i in reversed(right)}.values())
    ordered = [*sorted(first), *(i for i in right if i not in first)]
    return (*ordered[:RIGHT], *wrong[:WRONG])
