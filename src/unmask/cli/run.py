"""`unmask run`: carry out a plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.cli.errors import UNEXPLAINED, told

if TYPE_CHECKING:
    from unmask.run import Material, Opened, Outcome, Plan


def run(
    plan: Annotated[Path, typer.Argument(help="A plan in TOML, or a run folder that holds one.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder; by default one beside the plan, of the same name."),
    ] = None,
) -> None:
    """Carry out a plan. After a crash, go on where it stopped.

    A plan with [bold]checkpoints[/bold] follows a network through its training.

    Example: [bold]unmask run plans/resnet.toml[/bold]
    """
    with told():
        from unmask.run import read_plan
        from unmask.run.folder import PLAN

        file = plan / PLAN if plan.is_dir() else plan
        folder = out or (plan if plan.is_dir() else _folder_of(file))
        wanted = read_plan(file)
        if wanted.checkpoints:
            _followed(wanted, folder, file.stem)
        else:
            finish(carry_out(wanted, folder, file.stem))


def _folder_of(plan: Path) -> Path:
    """The run that a plan lies in; of any other plan, a folder of its name beside it."""
    from unmask.run.folder import HEADER, PLAN, TRAINING

    if plan.name == PLAN and plan.is_file():
        beside = {part.name for part in plan.parent.iterdir()} - {PLAN}
        if not beside or beside & {HEADER, TRAINING}:
            return plan.parent
    return plan.with_suffix("")


def _followed(plan: "Plan", folder: Path, title: str) -> None:
    """Follow a network through its checkpoints, and write the page."""
    from unmask.cli import say
    from unmask.cli.pages import PAGE, page_of_training
    from unmask.cli.progress import progress
    from unmask.run import follow

    with progress(title) as listen:
        outcome = follow(plan, folder, listen=listen)
    console = say.console()
    for one in outcome.skipped:
        console.print(say.note(f"Step {one.step} was skipped: {one.skipped}."))
    page_of_training(outcome.folder, outcome.folder / PAGE)
    if outcome.skipped:
        raise typer.Exit(UNEXPLAINED)


def carry_out(
    plan: "Plan",
    folder: Path,
    title: str,
    opened: "Opened | None" = None,
    material: "Material | None" = None,
) -> "Outcome":
    """Run a plan with a progress bar.

    Args:
        plan: what to do.
        folder: where results are kept.
        title: for the bar.
        opened: the model, if it is open already.
        material: the inputs, if they are read already.
    """
    from unmask.cli.progress import progress
    from unmask.run import execute

    with progress(title) as listen:
        return execute(plan, folder, listen=listen, opened=opened, material=material)


def finish(outcome: "Outcome", *, show: bool = False) -> None:
    """Say what was found, write the page, and leave with the exit code of the run.

    Args:
        outcome: of the run.
        show: whether the page is opened in the browser.
    """
    from unmask.cli import say
    from unmask.cli.pages import PAGE, page_of
    from unmask.results import Interactions
    from unmask.run import read_run

    console = say.console()
    for line in say.failures(outcome.failures):
        console.print(line)
    found = read_run(outcome.folder)
    if found.explained:
        console.print(say.summary(found.explained, "What was found"))
        terms = found.explained[0].results.get("and_or")
        if len(found.explained) == 1 and isinstance(terms, Interactions) and len(terms.effects):
            console.print("The strongest terms:")
            console.print(say.strongest(terms))
        page = page_of(outcome.folder, outcome.folder / PAGE)
        console.print(f"Results: {outcome.folder}")
        if page is not None:
            console.print(f"Page: {page.resolve()}")
            if show:
                typer.launch(str(page.resolve()))
    if outcome.failures:
        raise typer.Exit(UNEXPLAINED)
