"""`unmask run`: carry out a plan."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.cli.errors import UNEXPLAINED, told

if TYPE_CHECKING:
    from unmask.run import Engine, Material, Opened, Outcome, Plan

On = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="ray", help="Spread the inputs over a Ray cluster, or this machine's cores."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="With --on ray: host:port of the head of a cluster that runs already."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="With --on ray: at most so many at a time.")
]


def run(
    plan: Annotated[str, typer.Argument(help="A plan in TOML, or a run folder that holds one.")],
    out: Annotated[
        str | None,
        typer.Option(
            help="The run folder, here or in a store such as s3://bucket/run; by default one "
            "beside the plan, of the same name."
        ),
    ] = None,
    on: On = None,
    address: Address = None,
    workers: Workers = None,
) -> None:
    """Carry out a plan. After a crash, go on where it stopped.

    A plan with [bold]checkpoints[/bold] follows a network through its training. With
    [bold]--on ray[/bold] inputs or checkpoints are spread over processes; all machines of a cluster
    must see the run folder.

    Example: [bold]unmask run plans/resnet.toml --on ray[/bold]
    """
    with told():
        wanted, folder, title = asked(plan, out)
        engine = engine_of(on, address, workers)
        if wanted.checkpoints:
            _followed(wanted, Path(folder), title, engine)
        else:
            finish(carry_out(wanted, folder, title, engine=engine))


def asked(plan: str, out: str | None = None) -> "tuple[Plan, str, str]":
    """The plan, the run folder, and what the run is called.

    Args:
        plan: a file, a run folder, or the address of one.
        out: the run folder that is asked for, if any.
    """
    from unmask.run import read_plan
    from unmask.run.folder import PLAN, plan_in
    from unmask.store.places import Place

    place = Place(plan)
    if place.local is None:
        wanted = plan_in(place)
        if wanted is None:
            raise ValueError(f"There is no run at '{plan}'. Give a plan, or the address of a run.")
        return wanted, out or plan, place.name
    file = place.local / PLAN if place.local.is_dir() else place.local
    folder = plan if place.local.is_dir() else folder_of(file)
    return read_plan(file), out or str(folder), file.stem


def engine_of(on: str | None, address: str | None, workers: int | None) -> "Engine | None":
    """What spreads the work; None for one after the other.

    Args:
        on: where to.
        address: of a cluster.
        workers: at most so many.
    """
    if on is None:
        for option, value in (("--address", address), ("--workers", workers)):
            if value is not None:
                raise ValueError(f"{option} is {value}, but of no cluster. Add --on ray.")
        return None
    if on != "ray":
        raise ValueError(f"--on is {on!r}, which is unknown. Give --on ray, or leave it out.")
    from unmask.run import OnRay

    return OnRay(address, workers)


def folder_of(plan: Path) -> Path:
    """The run that a plan lies in; of any other plan, a folder of its name beside it.

    Args:
        plan: the file.
    """
    from unmask.run.folder import HEADER, PLAN, TRAINING
    from unmask.run.lock import LOCK

    if plan.name == PLAN and plan.is_file():
        beside = {part.name for part in plan.parent.iterdir()} - {PLAN, LOCK}
        if not beside or beside & {HEADER, TRAINING}:
            return plan.parent
    return plan.with_suffix("")


def _followed(plan: "Plan", folder: Path, title: str, engine: "Engine | None") -> None:
    """Follow a network through its checkpoints, and write the page."""
    from unmask.cli import say
    from unmask.cli.pages import PAGE, page_of_training
    from unmask.cli.progress import progress
    from unmask.run import follow

    with progress(title) as listen:
        outcome = follow(plan, folder, engine=engine, listen=listen)
    console = say.console()
    for one in outcome.skipped:
        console.print(say.note(f"Step {one.step} was skipped: {one.skipped}."))
    page_of_training(outcome.folder, outcome.folder / PAGE)
    if outcome.skipped:
        raise typer.Exit(UNEXPLAINED)


def carry_out(
    plan: "Plan",
    folder: str | os.PathLike[str],
    title: str,
    opened: "Opened | None" = None,
    material: "Material | None" = None,
    engine: "Engine | None" = None,
) -> "Outcome":
    """Run a plan with a progress bar.

    Args:
        plan: what to do.
        folder: where results are kept.
        title: for the bar.
        opened: the model, if it is open already.
        material: the inputs, if they are read already.
        engine: spreads the inputs.
    """
    from unmask.cli.progress import progress
    from unmask.run import execute

    with progress(title) as listen:
        return execute(plan, folder, engine=engine, listen=listen, opened=opened, material=material)


def finish(outcome: "Outcome", *, show: bool = False) -> None:
    """Say what was found, write the page, and leave with the exit code of the run.

    Args:
        outcome: of the run.
        show: whether the page is opened in the browser.
    """
    from unmask.cli import say
    from unmask.cli.pages import PAGE, page_of
    from unmask.run import read_run

    console = say.console()
    for line in say.failures(outcome.failures):
        console.print(line)
    found = read_run(outcome.folder)
    if found.explained:
        console.print(say.summary(found.explained, "What was found"))
        terms = say.terms_of(found.explained[0])
        if len(found.explained) == 1 and terms is not None and len(terms.effects):
            console.print("The strongest terms:")
            console.print(say.strongest(terms))
        page = page_of(outcome.folder, outcome.folder / PAGE)
        console.print(f"Results: {outcome.folder}")
        if page is not None:
            console.print(f"Page: {page}")
            if show:
                typer.launch(str(page))
    if outcome.failures:
        raise typer.Exit(UNEXPLAINED)
