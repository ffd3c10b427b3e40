"""Carry out a plan: one result per input and method, each kept as soon as it is there."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from unmask.catalogue import Entry as Method
from unmask.run.assemble import claim_store, describe_store, finish_tables, refuse_unwritable
from unmask.run.check_plan import checked_methods
from unmask.run.engine import Engine, Serial, Spreading
from unmask.run.explainer import Explainer, Report, Step
from unmask.run.folder import HEADER, MOVABLE, Failure, Header, RunFolder, digest_of_plan, sweep
from unmask.run.inputs.material import Material, chosen
from unmask.run.inputs.read_inputs import read_inputs
from unmask.run.large_table import Tabulator
from unmask.run.mirror import begun, worked_on
from unmask.run.models.open_model import open_model
from unmask.run.models.opened import Opened
from unmask.run.models.placed import refuse_absent
from unmask.run.plan import Plan
from unmask.store.places import Place

GROUP = 8
"""The most inputs that one process works on at a time; it seeks their terms at once, where their
games are of one size. Larger groups are hardly faster."""
FEWEST = 2
"""Inputs of the smallest groups: each has files of its own among the tables."""
_SHARE = 16
"""A group is no more than such a part of what is left, so that as many workers end together."""


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    Args:
        folder: of the run, here or in a store.
        explained: the numbers of the inputs that have all their results.
        failures: what could not be explained, and why.
        computed: results that were computed now; the others were there already.
        notes: what the user should know.
    """

    folder: Path | Place
    explained: tuple[int, ...]
    failures: tuple[Failure, ...]
    computed: int
    notes: tuple[str, ...] = ()


def execute(
    plan: Plan,
    folder: str | os.PathLike[str],
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
    The table of a game of 15 players or more is computed in parts, by all processes of an engine
    that has several.

    Args:
        plan: what to do.
        folder: where results are kept: a new or empty one, or one of the same plan; a path, or an
            address that fsspec knows (see `unmask.run.mirror`).
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
    with worked_on(folder, plan) as run:
        return _carried_out(plan, run, methods, engine or Serial(), listen, opened, material)


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
    begun(run)
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

    spread = isinstance(engine, Spreading)
    explainer = Explainer(plan, run, opened, material, methods, len(numbers), listen, spread)
    groups = groups_of(numbers)
    with engine.begun() if isinstance(engine, Spreading) else nullcontext(engine) as crew:
        failures, computed = _all_explained(explainer, crew, groups)
    failed = {failure.number for failure in failures}
    finish_tables(explainer.tables, groups)
    sweep(run.path)  # of workers that were lost
    run.write_header(replace(header, finished=True, failures=tuple(failures)))
    describe_store(plan, run.path / HEADER)
    explained = tuple(number for number in numbers if number not in failed)
    return Outcome(run.mirror or run.path, explained, tuple(failures), computed, opened.notes)


def groups_of(numbers: Sequence[int]) -> list[Sequence[int]]:
    """The inputs that one process works on at a time, the same whatever the engine.

    Args:
        numbers: of all inputs.

    >>> [len(group) for group in groups_of(range(60))]
    [4, 4, 4, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    groups: list[Sequence[int]] = []
    done = 0
    while done < len(numbers):
        size = min(GROUP, max(FEWEST, math.ceil((len(numbers) - done) / _SHARE)))
        groups.append(numbers[done : done + size])
        done += size
    return groups


def _all_explained(
    explainer: Explainer, engine: Engine, groups: Sequence[Sequence[int]]
) -> tuple[list[Failure], int]:
    """What failed, and how much was computed."""
    reports = _reports(explainer, engine, groups)
    computed = sum(report.computed for report in reports)
    again = [i for i, report in enumerate(reports) if report.large]
    explainer.spread = False
    if again:  # their tables first, by all
        done = sum(len(group) for i, group in enumerate(groups) if i not in again)
        _tabulated(explainer, engine, [one for i in again for one in reports[i].large], done)
        there = [len(reports[i].large) for i in again]
        found = _reports(explainer, engine, [groups[i] for i in again], done, there)
        computed += sum(report.computed for report in found)
        for i, report in zip(again, found, strict=True):
            reports[i] = report
    lost = [group for group, report in zip(groups, reports, strict=True) if report.lost]
    if lost:
        alone = [(number,) for group in lost for number in group]
        others = _reports(explainer, engine, alone, sum(map(len, groups)))
        computed += sum(report.computed for report in others)
        reports += others
        for group in lost:
            explainer.gather(group)
    return [failure for report in reports for failure in report.failures], computed


def _reports(
    explainer: Explainer,
    engine: Engine,
    groups: Sequence[Sequence[int]],
    done: int = 0,
    there: Sequence[int] | None = None,
) -> list[Report]:
    """What came of each group, of which so many tables may be there already."""
    there = there or [0] * len(groups)
    ahead = sum(there)
    found: list[Report] = []
    for group, tables, report in zip(groups, there, engine.map(explainer, groups), strict=True):
        if not report.large:
            done, ahead = done + len(group), ahead - tables
            explainer.told(done, group[-1], tables=float(ahead))
        found.append(report)
    return found


def _tabulated(
    explainer: Explainer,
    engine: Engine,
    large: Sequence[tuple[int, tuple[int, ...]]],
    done: int,
) -> None:
    """Have the tables of large games computed part by part."""
    items = [(number, part) for number, parts in large for part in parts]
    shares = [
        i + (k + 1) / len(parts) for i, (_, parts) in enumerate(large) for k in range(len(parts))
    ]
    work = Tabulator(explainer.large_table)
    for (number, _), share, _ in zip(items, shares, engine.map(work, items), strict=True):
        explainer.told(done, number, tables=share, what="values")


def _refuse_changed(run: RunFolder, header: Header) -> None:
    """Results of two models, or of two versions of a file, must not stand in one folder."""
    before = run.header()
    if before is None:
        return
    changed = [key for key, value in header.hashes.items() if before.hashes.get(key) != value]
    if changed:
        random = "; a function that builds a model at random must set its seed"
        raise ValueError(
            f"The {' and the '.join(changed)} changed since the run in '{run.told}' began: the "
            "hashes differ. Choose another folder with --out, or delete this one"
            f"{random if 'model' in changed else ''}."
        )
