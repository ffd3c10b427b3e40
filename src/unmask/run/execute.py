"""Carry out a plan: one result per input and method, each kept as soon as it is there."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from unmask.run.assemble import assemble
from unmask.run.check_plan import checked_methods
from unmask.run.engine import Engine, Serial
from unmask.run.explainer import Explainer, Step
from unmask.run.folder import Failure, Header, RunFolder, digest_of_plan
from unmask.run.inputs.material import Material, chosen
from unmask.run.inputs.read_inputs import read_inputs
from unmask.run.models.open_model import open_model
from unmask.run.models.opened import Opened
from unmask.run.plan import Plan

GROUP = 16
"""Inputs whose terms are sought at once, where their games are of one size."""


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    Args:
        folder: of the run.
        explained: the numbers of the inputs that have all their results.
        failures: what could not be explained, and why.
        computed: results that were computed now; the others were there already.
        notes: what the user should know.
    """

    folder: Path
    explained: tuple[int, ...]
    failures: tuple[Failure, ...]
    computed: int
    notes: tuple[str, ...] = ()


def execute(
    plan: Plan,
    folder: str | Path,
    *,
    engine: Engine | None = None,
    listen: Callable[[Step], None] | None = None,
    opened: Opened | None = None,
    material: Material | None = None,
) -> Outcome:
    """Carry out a plan in a folder. Called again, it goes on where it stopped.

    Every result is written whole or not at all. An input that the model fails on is recorded with
    the reason, and the run goes on with the others; it is tried again the next time.

    Args:
        plan: what to do.
        folder: where results are kept: a new or empty one, or one of the same plan.
        engine: spreads the inputs; by default one after the other.
        listen: is told of every step.
        opened: the model of the plan, if it is open already.
        material: the inputs of the plan, if they are read already.
    """
    if plan.checkpoints:
        raise ValueError(
            f"This plan names {len(plan.checkpoints)} checkpoints of a training, and `execute` "
            "explains one state of a model. Call `follow`, or leave `checkpoints` out of the plan."
        )
    methods = checked_methods(plan)
    opened = opened or open_model(plan.model)
    material = material or read_inputs(plan.inputs, opened)
    numbers = chosen(material, plan.rows)
    run = RunFolder(Path(folder))
    run.claim(plan)
    header = Header(
        hashes={
            "plan": digest_of_plan(plan),
            "inputs": material.digest,
            "model": opened.digest,
        },
        numbers=numbers,
        notes=opened.notes,
        seed=plan.seed,
    )
    _refuse_changed(run, header)
    run.write_header(header)

    explainer = Explainer(plan, run, opened, material, methods, len(numbers), listen)
    groups = [numbers[i : i + GROUP] for i in range(0, len(numbers), GROUP)]
    failures: list[Failure] = []
    computed = 0
    for report in (engine or Serial()).map(explainer, groups):
        failures += report.failures
        computed += report.computed
    failed = {failure.number for failure in failures}
    assemble(run, [number for number in numbers if run.entry(number).exists()], tuple(methods))
    run.write_header(replace(header, finished=True, failures=tuple(failures)))
    explained = tuple(number for number in numbers if number not in failed)
    return Outcome(run.path, explained, tuple(failures), computed, opened.notes)


def _refuse_changed(run: RunFolder, header: Header) -> None:
    """Results of two models, or of two versions of a file, must not stand in one folder."""
    before = run.header()
    if before is None:
        return
    changed = [key for key, value in header.hashes.items() if before.hashes.get(key) != value]
    if changed:
        raise ValueError(
            f"The {' and the '.join(changed)} changed since the run in '{run.path}' began: the "
            "hashes differ. Choose another folder with --out, or delete this one; a function that "
            "builds a model at random must set its seed."
        )
