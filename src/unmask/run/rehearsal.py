"""A run of a few inputs in a folder that is thrown away, to see what it takes."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from unmask.evaluation.passes import Passes, counted
from unmask.game import LARGEST_TABLE
from unmask.run.choices.subject import Subject
from unmask.run.engine import Answer, Item
from unmask.run.entry import Entry, save_entry
from unmask.run.execute import execute
from unmask.run.explainer import Step
from unmask.run.folder import HEADER, PLAN, Failure, RunFolder
from unmask.run.inputs.material import Material
from unmask.run.models.opened import Opened
from unmask.run.plan import Plan
from unmask.run.plan_file import written as plan_text

TABLES = "tables"
"""The part of a run that writes the rows of terms and attributions."""


@dataclass(frozen=True)
class Part:
    """What one part of the work takes for one input, the values or a method.

    Args:
        forward: inputs that the model is run on.
        backward: inputs whose gradient is taken.
        seconds: in one process.
    """

    forward: float
    backward: float
    seconds: float


@dataclass(frozen=True)
class Rehearsal:
    """What a run of some inputs took.

    Args:
        inputs: how many.
        parts: by method, what it took for one of them.
        gathering: seconds in the end, of all of them.
        result: bytes written for one of them.
        failures: what went wrong.
    """

    inputs: int
    parts: Mapping[str, Part]
    gathering: float
    result: float
    failures: tuple[Failure, ...]


def rehearsed(
    plan: Plan,
    opened: Opened,
    material: Material,
    subjects: Sequence[Subject],
    tables: Sequence[Tensor],
    seconds: float,
) -> Rehearsal:
    """Carry out a plan with values that are there. A first input warms up, unless it is dear.

    Args:
        plan: what to do.
        opened: its model, which is counted.
        material: all inputs.
        subjects: those that are explained.
        tables: their values; of an input with too many players, those at its ends.
        seconds: as many are explained as that takes four times over, and one at least.
    """
    begun = time.perf_counter()
    found = _run(plan, opened, material, subjects[:1], tables[:1])
    count = min(len(subjects), int(4 * seconds / (time.perf_counter() - begun)))
    if count < 2:
        return found
    return _run(plan, opened, material, subjects[:count], tables[:count])


def _run(
    plan: Plan,
    opened: Opened,
    material: Material,
    subjects: Sequence[Subject],
    tables: Sequence[Tensor],
) -> Rehearsal:
    numbers = tuple(one.scene.number for one in subjects)
    plan = replace(plan, rows=numbers, store=None)
    passes = Passes()
    with TemporaryDirectory() as place, counted(opened.model, passes) as model:
        run = RunFolder(Path(place))
        (run.path / PLAN).write_text(plan_text(plan), "utf-8")
        for one, table in zip(subjects, tables, strict=True):
            save_entry(_entry(one, table), run.entry(one.scene.number))
        watched = replace(opened, model=model)
        clock, engine = _Clock(passes), _Watching()
        outcome = execute(
            plan, run.path, engine=engine, listen=clock, opened=watched, material=material
        )
        gathering = time.perf_counter() - engine.ended
        written = sum(
            file.stat().st_size
            for file in run.path.rglob("*")
            if file.is_file() and file.name not in (PLAN, HEADER)
        )
    count = len(numbers)
    taken = {name: clock.parts.get(name, [0.0, 0.0, 0.0]) for name in plan.methods}
    taken[TABLES] = [0.0, 0.0, engine.ended - clock.last]
    parts = {name: Part(*(total / count for total in part)) for name, part in taken.items()}
    return Rehearsal(count, parts, gathering, written / count, outcome.failures)


class _Watching:
    """An engine that knows when the work was done."""

    def __init__(self) -> None:
        self.ended = time.perf_counter()

    def map(self, work: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """One item after the other."""
        for item in items:
            answer = work(item)
            self.ended = time.perf_counter()
            yield answer


class _Clock:
    """Listens to a run: what happened since it was told last belongs to what it is told of now."""

    def __init__(self, passes: Passes) -> None:
        self.passes = passes
        self.parts: dict[str, list[float]] = {}
        self.last = time.perf_counter()
        self.seen = (passes.forward, passes.backward)

    def __call__(self, step: Step) -> None:
        now = time.perf_counter()
        seen = (self.passes.forward, self.passes.backward)
        part = self.parts.setdefault(step.what, [0.0, 0.0, 0.0])
        part[0] += seen[0] - self.seen[0]
        part[1] += seen[1] - self.seen[1]
        part[2] += now - self.last
        self.last, self.seen = now, seen


def _entry(one: Subject, values: Tensor) -> Entry:
    scene, reading = one.scene, one.reading
    large = len(one.players.names) > LARGEST_TABLE
    return Entry(
        number=scene.number,
        title=scene.material.titles[scene.number],
        prediction=reading.prediction,
        probability=reading.probability,
        truth=scene.material.truths[scene.number],
        target=reading.target,
        score=reading.score.name,
        players=one.players,
        view=one.view,
        x=scene.x,
        baseline=one.baseline,
        table=None if large else values,
        ends=values if large else None,
    )
