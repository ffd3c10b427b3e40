"""`unmask plan`: a plan as it will be carried out, and what that takes."""

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unmask.cli.errors import told

if TYPE_CHECKING:
    from rich.table import Table

    from unmask.run import Estimate, Material, Opened, Plan

WORKERS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
"""Numbers of workers whose gain is told, as far as there is work for them."""
_MANY = 12
"""Numbers of rows that are told one by one."""


def plan(
    plan: Annotated[
        str,
        typer.Argument(help="A plan in TOML, or a run folder that holds one, here or in a store."),
    ],
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Try it on a few inputs, and tell what all of them take: forward passes, memory, "
            "bytes, hours, and what more workers gain.",
        ),
    ] = False,
) -> None:
    """Show a plan as it will be carried out, and what that takes. Nothing is written.

    Example: [bold]unmask plan plans/resnet.toml --estimate[/bold]
    """
    with told():
        from unmask.cli import say
        from unmask.cli.run import asked
        from unmask.run import open_model, read_inputs
        from unmask.run.check_plan import checked_methods

        wanted, folder, _ = asked(plan)
        checked_methods(wanted)
        begun = perf_counter()
        opened = open_model(wanted.model)
        material = read_inputs(wanted.inputs, opened)
        opening = perf_counter() - begun
        console = say.console()
        console.print(_as_carried_out(wanted, opened, material, folder))
        for one in opened.notes:
            console.print(say.note(one))
        if estimate:
            _estimated(wanted, opened, material, opening)


def _as_carried_out(plan: "Plan", opened: "Opened", material: "Material", folder: str) -> "Table":
    """Every key with its value, and whether the plan says so."""
    from unmask.cli import say
    from unmask.run.inputs.material import chosen

    numbers = chosen(material, plan.rows)
    table = say.facts(("key", "value", ""))

    def line(key: str, value: object, given: bool) -> None:
        table.add_row(say.note(key), say.note(str(value)), "" if given else "by default")

    where = plan.inputs.file or (
        f"{len(plan.inputs.text)} texts" if plan.inputs.text else "those that the model brings"
    )
    line("model", plan.model, True)
    line("inputs", f"{where}: {len(material)}, of the kind {material.kind}", True)
    rows = "all" if plan.rows is None else ", ".join(map(str, numbers[:_MANY]))
    more = ", ..." if plan.rows is not None and len(numbers) > _MANY else ""
    line("rows", f"{rows}{more}: {len(numbers)} to explain", plan.rows is not None)
    for key in ("score", "players", "baseline"):
        choice = getattr(plan, key)
        options = _options(choice.options)
        line(key, f"{choice.name} {options}".strip(), True)
    if plan.checkpoints:
        line("checkpoints", f"{len(plan.checkpoints)} names", True)
        line("budget", plan.budget or "any number of passes", plan.budget is not None)
    line("seed", plan.seed, plan.seed != 0)
    line("batch_size", *_batch(plan, material, numbers[0]))
    line("device", plan.device or "where the model is opened", plan.device is not None)
    line("precision", plan.precision or "the model's own", plan.precision is not None)
    line("run folder", folder, False)
    line("store", plan.store or "the run folder", plan.store is not None)
    for name, options in plan.methods.items():
        table.add_row(say.note(f"methods.{name}"), "", "")
        for option, value in _of_method(name, options).items():
            line(f"  {option}", value, option in options)
    return table


def _batch(plan: "Plan", material: "Material", number: int) -> tuple[str, bool]:
    from unmask.masking import cached_rows

    if plan.batch_size is not None:
        return str(plan.batch_size), True
    return f"{cached_rows(material.inputs[number])}, by the size of an input", False


def _of_method(name: str, given: Any) -> dict[str, Any]:
    """The options of a method, those of the plan and those it has besides."""
    from unmask import catalogue
    from unmask.run.check_plan import SUPPLIES

    own = catalogue.methods()[name].options
    return {key: value for key, value in own.items() if key not in (*SUPPLIES, "terms")} | given


def _options(options: Any) -> str:
    return ", ".join(f"{key} = {value}" for key, value in options.items())


def _estimated(plan: "Plan", opened: "Opened", material: "Material", opening: float) -> None:
    from unmask.cli import say
    from unmask.run import estimate

    console = say.console()
    found = replace(estimate(plan, opened=opened, material=material), opening=opening)
    few, most = found.players
    players = f"{few}" if few == most else f"{few} to {most}"
    times = f" at {found.checkpoints} checkpoints" if found.checkpoints else ""
    console.print(
        f"\nFrom a trial on {found.tried} of {found.inputs} inputs{times}, with {players} players:"
    )
    table = say.facts(("part", "forward passes", "backward passes", "time"), right=True)
    for name, part in found.parts.items():
        table.add_row(
            say.note(name),
            f"{round(part.forward * found.times):,}",
            f"{round(part.backward * found.times):,}",
            span(part.seconds * found.times),
        )
    table.add_row("all", f"{found.forward:,}", f"{found.backward:,}", span(found.work))
    console.print(table)
    threads = f"{found.threads} thread" + ("s" if found.threads > 1 else "")
    memory = "" if found.memory is None else f"; memory of a worker: {size(found.memory)}"
    console.print(f"Results: {size(found.result)}{memory}.")
    if found.device_memory is not None:
        console.print(f"Memory of the GPU: {size(found.device_memory)}.")
    console.print(
        f"Time: {span(found.seconds())} in one process like this, of {threads}; "
        f"{span(found.opening)} to open the model, {span(found.gathering)} to gather the results."
    )
    _workers(found)
    if found.stand_in:
        console.print(
            "The model was timed for a second; the methods were tried on made-up values in place "
            "of its own."
        )
    for line in say.failures(found.failures):
        console.print(line)


def _workers(found: "Estimate") -> None:
    from unmask.cli import say

    console = say.console()
    pieces = "checkpoints" if found.checkpoints else "groups of inputs"
    if found.tasks < 2:
        console.print("More workers gain nothing: the inputs are one group.")
        return
    table = say.facts(("workers", "time", "gain"), right=True)
    for workers in WORKERS:
        table.add_row(str(workers), span(found.seconds(workers)), f"{found.gain(workers):.1f}")
        if workers >= found.tasks:
            break
    console.print(table)
    console.print(
        f"The work is {found.tasks:,} {pieces}; the seconds in which workers start are not in it."
    )


def span(seconds: float) -> str:
    """A time as one says it.

    Args:
        seconds: at least 0.
    """
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"


def size(count: int) -> str:
    """Bytes as one says them.

    Args:
        count: at least 0.
    """
    for power, name in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {name}"
    return f"{count} bytes"
