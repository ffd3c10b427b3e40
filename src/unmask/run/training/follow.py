"""Follow a network through saved checkpoints: the terms of the same inputs at every one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unmask.interactions import Snapshot, and_or_games
from unmask.masking import masked
from unmask.run.assemble import claim_store, describe_store, refuse_unwritable, tables_of
from unmask.run.choices.choose_score import class_of_truth
from unmask.run.choices.scene import Scene
from unmask.run.choices.subject import Subject, subject
from unmask.run.engine import Engine, Serial
from unmask.run.explainer import Step
from unmask.run.folder import MOVABLE, RunFolder, digest_of_plan, sweep
from unmask.run.inputs.material import Material, chosen
from unmask.run.inputs.read_inputs import read_inputs
from unmask.run.lock import locked
from unmask.run.models.open_model import open_model
from unmask.run.models.opened import Opened
from unmask.run.models.placed import placed
from unmask.run.plan import Choice, Plan
from unmask.run.training.checkpoints import (
    Checkpoint,
    UnfitCheckpoint,
    find_checkpoints,
    opened_at,
)
from unmask.run.training.record import ABOUT, About, Kept, Record, read_about

METHOD = "and_or"
"""The method that is followed; its options are those of the plan."""
PRECISION = 1e-2
"""Its gap, where the plan does not say another: profiles by order do not gain from a smaller one,
which costs twenty times as much."""
MAY_CHANGE = (*MOVABLE, "checkpoints", "budget")
"""Keys of a plan that results do not depend on: a training that goes on adds to the first."""
_AT_ONCE = 256
"""Inputs in one call of the model, where only their loss is wanted."""


@dataclass(frozen=True)
class Followed:
    """How following a network went.

    Args:
        folder: of the record.
        steps: that terms were found for.
        skipped: steps that could not be looked at, and why.
        computed: steps that were computed now; the others were there already.
        notes: what the user should know.
    """

    folder: Path
    steps: tuple[int, ...]
    skipped: tuple[Kept, ...]
    computed: int
    notes: tuple[str, ...] = ()


def follow(
    plan: Plan,
    folder: str | Path,
    *,
    engine: Engine | None = None,
    listen: Callable[[Step], None] | None = None,
) -> Followed:
    """Carry out a plan with checkpoints. Called again, it goes on where it stopped.

    The class whose score is read of an input stays the same throughout: the one that the plan
    names, or the one that the network predicts in the end. Every checkpoint is written whole or not
    at all, and depends on no other, so that a run that was killed ends as one that never was.
    A checkpoint of another architecture, or of a network that had diverged, is recorded with the
    reason, and the run goes on.

    Args:
        plan: with `checkpoints`; later it may name more of them.
        folder: of the record: a new or empty one, or one of the same plan.
        engine: spreads the checkpoints; by default one after the other.
        listen: is told of every checkpoint.
    """
    _refuse_methods(plan)
    refuse_unwritable(plan)
    with locked(Path(folder)):
        return _followed(plan, Path(folder), engine or Serial(), listen)


def _followed(
    plan: Plan, path: Path, engine: Engine, listen: Callable[[Step], None] | None
) -> Followed:
    checkpoints = find_checkpoints(plan.checkpoints)
    opened = open_model(plan.model)
    material = read_inputs(plan.inputs, opened)
    held_out = None if plan.held_out is None else read_inputs(plan.held_out, opened)
    numbers = chosen(material, plan.rows)
    RunFolder(path).claim(plan, but=MAY_CHANGE)
    claim_store(plan, but=MAY_CHANGE)
    about = (
        read_about(path)
        if (path / ABOUT).is_file()
        else _about(plan, opened, material, numbers, checkpoints)
    )
    about = replace(about, settings=_settings(plan, material))
    record = Record.open(path, about, tables_of(plan, path))
    steps = [checkpoint.step for checkpoint in checkpoints]
    work = _Follower(plan, record, opened, material, held_out, numbers, steps, listen)
    computed = 0
    for done, new in enumerate(engine.map(work, checkpoints), 1):
        computed += new
        work.told(done)
    record.assemble()
    sweep(path)  # of workers that were lost
    describe_store(plan, path / ABOUT)
    kept = [record.kept(step) for step in record.steps()]
    return Followed(
        record.path,
        tuple(one.step for one in kept if one.skipped is None),
        tuple(one for one in kept if one.skipped is not None),
        computed,
        opened.notes,
    )


class _Follower:
    """Looks at one checkpoint after the other."""

    def __init__(
        self,
        plan: Plan,
        record: Record,
        opened: Opened,
        material: Material,
        held_out: Material | None,
        numbers: Sequence[int],
        steps: Sequence[int],
        listen: Callable[[Step], None] | None,
    ):
        self.plan = plan
        self.record = record
        self.opened = opened
        self.material = material
        self.held_out = held_out
        self.numbers = numbers
        self.steps = steps
        self.listen = listen
        self.done = 0

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: there the same folder is written, and nobody listens."""
        record = replace(self.record, path=self.record.path.resolve())
        return {**self.__dict__, "record": record, "listen": None}

    def told(self, done: int) -> None:
        """Tell how far the run has come, where copies in other processes do the work.

        Args:
            done: checkpoints.
        """
        if done > self.done:
            self.done = done
            self._tell(self.steps[done - 1])

    def _tell(self, step: int) -> None:
        if self.listen is not None:
            self.listen(Step(float(self.done), len(self.steps), f"step {step}", "terms"))

    def __call__(self, checkpoint: Checkpoint) -> int:
        """Find the terms at a checkpoint, unless they are there; 1 if that was to be done."""
        RunFolder(self.record.path).refuse_absent()
        self._tell(checkpoint.step)
        self.done += 1
        step = checkpoint.step
        if step in self.record.steps():
            source = self.record.kept(step).source
            if source not in ("", checkpoint.digest):
                raise ValueError(
                    f"The checkpoint '{checkpoint.file}' changed since step {step} was looked at: "
                    "the hashes differ. Choose another folder with --out, or delete this one."
                )
            return 0
        try:
            snapshot, notes = self._looked_at(checkpoint)
        except UnfitCheckpoint as error:
            self.record.skip(step, str(error), source=checkpoint.digest)
            return 1
        self.record.write(snapshot, notes, source=checkpoint.digest)
        return 1

    def _looked_at(self, checkpoint: Checkpoint) -> tuple[Snapshot, tuple[str, ...]]:
        opened = placed(opened_at(self.opened, checkpoint), self.plan)
        subjects = [
            _subject(self.plan, opened, self.material, number, target)
            for number, target in zip(self.numbers, self.record.about.targets, strict=True)
        ]
        games = [
            masked(
                one.reading.score,
                one.scene.x,
                one.players,
                one.baseline,
                batch_size=self.plan.batch_size,
            )
            for one in subjects
        ]
        try:
            terms = and_or_games(games, **{"precision": PRECISION, **self.plan.methods[METHOD]})
        except ValueError as error:
            raise UnfitCheckpoint(str(error)) from error
        answers = [one.reading.prediction for one in subjects]
        wanted = [opened.class_name(target) for target in self.record.about.targets]
        flipped = sum(one != other for one, other in zip(answers, wanted, strict=True))
        notes = (
            (f"{flipped} of {len(answers)} predictions are others than the class read",)
            if flipped and subjects[0].reading.probability is not None
            else ()
        )
        losses = _losses(opened, self.material, self.numbers)
        rows = () if self.held_out is None else range(len(self.held_out))
        test = None if self.held_out is None else _losses(opened, self.held_out, rows)
        return Snapshot(checkpoint.step, terms, losses, test), notes


def _about(
    plan: Plan,
    opened: Opened,
    material: Material,
    numbers: Sequence[int],
    checkpoints: Sequence[Checkpoint],
) -> About:
    """Who plays, and for which class, as the last checkpoint that can be looked at has it."""
    reasons = []
    for checkpoint in reversed(checkpoints):
        try:
            last = placed(opened_at(opened, checkpoint), plan)
            subjects = [_subject(plan, last, material, number, None) for number in numbers]
        except UnfitCheckpoint as error:
            reasons.append(f"step {checkpoint.step}: {error}")
            continue
        cost = len(checkpoints) * sum(one.passes for one in subjects)
        if plan.budget is not None and cost > plan.budget:
            raise ValueError(
                f"{len(checkpoints)} checkpoints of {len(subjects)} inputs cost {cost:,} forward "
                f"passes, but the budget is {plan.budget:,}. Name fewer rows or checkpoints, group "
                "the players into fewer, or raise the budget."
            )
        return About(
            tuple(material.titles[number] for number in numbers),
            tuple(one.players.names for one in subjects),
            tuple(one.reading.target for one in subjects),
            plan.score.name,
        )
    raise ValueError(
        f"No checkpoint can be looked at ({'; '.join(reasons)[:400]}). Give weights of the network "
        f"{plan.model!r}."
    )


def _subject(
    plan: Plan, opened: Opened, material: Material, number: int, target: int | None
) -> Subject:
    if target is not None:
        options = {**plan.score.options, "target": target}
        plan = replace(plan, score=Choice(plan.score.name, options))
    try:
        return subject(Scene(opened, material, number), plan)
    except ValueError as error:
        if "for this input" in str(error):  # the model's answer is not finite
            raise UnfitCheckpoint(f"{material.titles[number]}: {error}") from error
        raise


def _losses(
    opened: Opened, material: Material, numbers: Sequence[int]
) -> Float[Tensor, " inputs"] | None:
    """The cross-entropy of every input; None where inputs have no true class, or differ in size."""
    truths = [class_of_truth(Scene(opened, material, number)) for number in numbers]
    shapes = {material.inputs[number].shape for number in numbers}
    if None in truths or len(shapes) != 1:
        return None
    x = torch.stack([material.inputs[number] for number in numbers])
    x = x if opened.device is None else x.to(opened.device)
    with torch.no_grad():
        output = torch.cat([opened.model(part.clone()) for part in x.split(_AT_ONCE)]).double()
    labels = torch.tensor(truths, device=output.device)
    if output.ndim != 2 or output.shape[1] <= int(labels.max()):
        return None
    return functional.cross_entropy(output, labels, reduction="none")


def _settings(plan: Plan, material: Material) -> dict[str, str]:
    return {
        "plan": digest_of_plan(replace(plan, checkpoints=(), budget=None)),
        "inputs": material.digest,
        "model": plan.model,
    }


def _refuse_methods(plan: Plan) -> None:
    others = [name for name in plan.methods if name != METHOD]
    if others or METHOD not in plan.methods:
        raise ValueError(
            f"A plan with checkpoints follows the terms of [methods.{METHOD}], but this one names "
            f"{', '.join(plan.methods)}. Leave [methods.{METHOD}] alone in it."
        )
