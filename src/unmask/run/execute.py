"""Carry out a plan: one result per input and method, each kept as soon as it is there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unmask.catalogue import Entry as Method
from unmask.run.assemble import claim_store, describe_store, finish_tables, refuse_unwritable
from unmask.run.check_plan import checked_methods
from unmask.run.engine import Engine, Serial
from unmask.run.explainer import Explainer, Step
from unmask.run.folder import HEADER, MOVABLE, Failure, Header, RunFolder, digest_of_plan, sweep
from unmask.run.inputs.material import Material, chosen
from unmask.run.inputs.read_inputs import read_inputs
from unmask.run.lock import locked
from unmask.run.models.open_model import open_model
from unmask.run.models.opened import Opened
from unmask.run.models.placed import refuse_absent
from unmask.run.plan import Plan

GROUP = 8
"""Inputs that one process works on at a time; it seeks their terms at once, where their games are
of one size. Larger groups are hardly faster and leave workers idle in the end."""


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

    Every result is written whole or not at all. An input that cannot be read, or that the model
    fails on, is recorded with the reason, and the run goes on with the others; it is tried again
    the next time. While it goes on, no other process can work in the folder.

    Inputs are worked on in groups that are the same whatever the engine, and each process writes
    what it found where it belongs, so that nothing is lost with the process that waits for all.

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
    refuse_unwritable(plan)
    if plan.device is not None and engine is None:  # else it may be that of other machines
        refuse_absent(plan.device)
    with locked(Path(folder)):
        return _carried_out(
            plan, RunFolder(Path(folder)), methods, engine or Serial(), listen, opened, material
        )


def _carried_out(
    plan: Plan,
    run: RunFolder,
    methods: Mapping[str, Method],
    engine: Engine,
    listen: Callable[[Step], None] | None,
    opened: Opened | None,
    material: Material | None,
) -> Outcome:
    opened = opened or open_model(plan.model)
    material = material or read_inputs(plan.inputs, opened)
    numbers = chosen(material, plan.rows)
    run.claim(plan, but=MOVABLE)
    claim_store(plan)
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
    failures, computed, lost = _explained(explainer, engine, groups)
    if lost:
        alone = [(number,) for group in lost for number in group]
        others, more, _ = _explained(explainer, engine, alone)
        for group in lost:
            explainer.gather(group)
        failures, computed = failures + others, computed + more
    failed = {failure.number for failure in failures}
    finish_tables(explainer.tables, groups)
    sweep(run.path)  # of workers that were lost
    run.write_header(replace(header, finished=True, failures=tuple(failures)))
    describe_store(plan, run.path / HEADER)
    explained = tuple(number for number in numbers if number not in failed)
    return Outcome(run.path, explained, tuple(failures), computed, opened.notes)


def _explained(
    explainer: Explainer, engine: Engine, groups: Sequence[Sequence[int]]
) -> tuple[list[Failure], int, list[Sequence[int]]]:
    """What failed, how much was computed, and the groups that no process survived."""
    failures: list[Failure] = []
    lost: list[Sequence[int]] = []
    computed = done = 0
    for group, report in zip(groups, engine.map(explainer, groups), strict=True):
        failures += report.failures
        computed += report.computed
        done += len(group)
        explainer.told(done, group[-1])
        if report.lost:
            lost.append(group)
    return failures, computed, lost


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
