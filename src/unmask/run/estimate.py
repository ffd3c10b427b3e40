"""What a plan will take, told before it is carried out: passes, memory, bytes and hours."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmask.evaluation.passes import Passes, counted
from unmask.game import LARGEST_TABLE, Game
from unmask.lattice import coalitions
from unmask.masking import cached_rows, masked
from unmask.run.check_plan import checked_methods
from unmask.run.choices.scene import Scene
from unmask.run.choices.subject import Subject, subject
from unmask.run.entry import ends
from unmask.run.execute import groups_of
from unmask.run.folder import Failure
from unmask.run.inputs.material import Material, chosen
from unmask.run.inputs.read_inputs import read_inputs
from unmask.run.models.open_model import open_model
from unmask.run.models.opened import Opened
from unmask.run.models.placed import placed
from unmask.run.plan import Plan
from unmask.run.rehearsal import Part, rehearsed
from unmask.run.training.checkpoints import find_checkpoints
from unmask.run.training.follow import METHOD, PRECISION

LOOKED_AT = 16
"""Inputs whose players are counted, spread evenly over all."""
VALUES = "values"
"""The part of a run that makes the choices for an input and tabulates its game."""


@dataclass(frozen=True)
class Estimate:
    """What a plan will take.

    Args:
        inputs: that are explained.
        looked_at: of these, how many were looked at to know how many players they have.
        tried: of these, how many were explained in full, and timed.
        players: the fewest and the most of any that were looked at.
        parts: by name, what each part takes for one input.
        checkpoints: at which the inputs are explained; 0 where a model is explained as it is.
        tasks: pieces of work that may go to different workers.
        opening: seconds to open the model and read the inputs, which every worker spends.
        gathering: seconds in the end, which one process spends; they hardly grow with the inputs.
        memory: bytes that a worker needs: the most that this process has held, which has done all
            of it; None where the system does not tell.
        device_memory: bytes on the GPU; None where there is none.
        result: bytes that are written.
        weights: bytes of the model, which go to every worker.
        threads: that a process computes with, here.
        stand_in: whether the methods were timed on made-up values, as asking the model for all of
            one input takes too long for a trial.
        failures: what went wrong in the trial; it is not counted.
    """

    inputs: int
    looked_at: int
    tried: int
    players: tuple[int, int]
    parts: Mapping[str, Part]
    checkpoints: int
    tasks: int
    opening: float
    gathering: float
    memory: int | None
    device_memory: int | None
    result: int
    weights: int
    threads: int
    stand_in: bool
    failures: tuple[Failure, ...] = ()

    @property
    def times(self) -> int:
        """How often an input is explained."""
        return self.inputs * max(1, self.checkpoints)

    @property
    def forward(self) -> int:
        """Forward passes of one input, in all."""
        return round(self.times * sum(part.forward for part in self.parts.values()))

    @property
    def backward(self) -> int:
        """Backward passes of one input, in all."""
        return round(self.times * sum(part.backward for part in self.parts.values()))

    @property
    def work(self) -> float:
        """Seconds of work that can be shared out."""
        return self.times * sum(part.seconds for part in self.parts.values())

    def seconds(self, workers: int = 1) -> float:
        """How long it takes with so many workers, each like this process and with its own cores.

        What is not shared out is opening the model and gathering the results; and a worker takes
        whole tasks. The seconds in which workers start are not counted.

        Args:
            workers: processes.
        """
        if workers < 1:
            raise ValueError(f"There are {workers} workers. Give a number of at least 1.")
        turns = math.ceil(self.tasks / workers)
        return self.opening + self.work * turns / max(1, self.tasks) + self.gathering

    def gain(self, workers: int) -> float:
        """How many times faster that is than one process.

        Args:
            workers: processes.
        """
        return self.seconds() / self.seconds(workers)


def estimate(
    plan: Plan,
    *,
    opened: Opened | None = None,
    material: Material | None = None,
    seconds: float = 1.0,
) -> Estimate:
    """Tell what a plan takes, from a trial in a folder that is thrown away.

    As many inputs are tried, 16 at the most and one at least, as the model has values for in about
    a second. If one alone takes longer, its model is timed for that second on drawn coalitions, and
    the methods are tried on a smooth table in place of its own. Where coalitions share work, the
    time is then too high, as it counts a pass for each. Methods that look into the model are tried
    in full, so an estimate takes up to as long as they do on one input.

    >>> from unmask.run import Choice, Plan, Source
    >>> own = Choice("given")
    >>> plan = Plan("unmask.zoo:breast_cancer", Source(), own, own, own, {"and_or": {}}, (0, 1))
    >>> found = estimate(plan)
    >>> found.inputs, found.players, found.forward == 2 * (2**10 + 1)
    (2, (10, 10), True)

    Args:
        plan: what is to be done.
        opened: the model of the plan, if it is open already.
        material: the inputs of the plan, if they are read already.
        seconds: of asking the model for values, after which the trial begins.
    """
    if not seconds > 0:
        raise ValueError(f"The model is timed for {seconds} seconds. Give a number above 0.")
    begun = time.perf_counter()
    opened = opened or open_model(plan.model)
    material = material or read_inputs(plan.inputs, opened)
    opened = placed(opened, plan)
    opening = time.perf_counter() - begun
    numbers = chosen(material, plan.rows)
    checkpoints = len(find_checkpoints(plan.checkpoints)) if plan.checkpoints else 0
    trial = _without_checkpoints(plan)
    checked_methods(trial)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()

    begun = time.perf_counter()
    asked = Passes()
    with counted(opened.model, asked) as model:
        subjects = _looked_at(trial, replace(opened, model=model), material, numbers)
    choosing = (time.perf_counter() - begun) / len(subjects)
    passes = sum(one.passes for one in subjects) / len(subjects)
    rate = _rate(trial, _middle(subjects), seconds)
    affordable = _affordable(subjects, 2 * seconds * rate)
    begun = time.perf_counter()
    tables = [_values(_game(trial, one)) for one in affordable]
    per_table = (time.perf_counter() - begun) / len(tables) if tables else passes / rate
    found = rehearsed(
        trial,
        opened,
        material,
        affordable or [_middle(subjects)],
        tables or [_stand_in(trial, _middle(subjects))],
        seconds,
    )
    counts = [len(one.players.names) for one in subjects]
    times = len(numbers) * max(1, checkpoints)
    groups = len(groups_of(numbers))
    return Estimate(
        inputs=len(numbers),
        looked_at=len(subjects),
        tried=found.inputs,
        players=(min(counts), max(counts)),
        parts={
            VALUES: Part(passes + asked.forward / len(subjects), 0.0, choosing + per_table),
            **found.parts,
        },
        checkpoints=checkpoints,
        tasks=checkpoints or groups,
        opening=opening,
        gathering=found.gathering,
        memory=_most_held(),
        device_memory=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        result=round(found.result * times),
        weights=_weights(opened),
        threads=torch.get_num_threads(),
        stand_in=not tables,
        failures=found.failures,
    )


def _without_checkpoints(plan: Plan) -> Plan:
    """What is done at one checkpoint, as a plan of its own."""
    if not plan.checkpoints:
        return plan
    options = {"precision": PRECISION, **plan.methods.get(METHOD, {})}
    return replace(plan, checkpoints=(), held_out=None, budget=None, methods={METHOD: options})


def _looked_at(
    plan: Plan, opened: Opened, material: Material, numbers: Sequence[int]
) -> list[Subject]:
    """Some of the inputs, ready to be explained; those that this fails on are passed over."""
    count = min(LOOKED_AT, len(numbers))
    found: list[Subject] = []
    reason = ""
    for i in range(count):
        number = numbers[i * len(numbers) // count]
        try:
            one = subject(Scene(opened, material, number), plan)
        except Exception as error:  # whatever a model of the user's may raise: the run records it
            reason = reason or f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            continue
        found.append(one)
    if not found:
        raise ValueError(
            f"None of {count} inputs can be explained ({reason.rstrip('.')}). Mend the plan, or "
            "name other rows in it."
        )
    return found


def _middle(subjects: Sequence[Subject]) -> Subject:
    """The input with as many players as half of the others have at most."""
    return sorted(subjects, key=lambda one: one.passes)[len(subjects) // 2]


def _game(plan: Plan, one: Subject) -> Game:
    return masked(
        one.reading.score, one.scene.x, one.players, one.baseline, batch_size=plan.batch_size
    )


def _values(game: Game) -> Tensor:
    """The table of a game, or of one that is too large for it the values at its ends."""
    return game.table() if len(game.names) <= LARGEST_TABLE else ends(game)


def _rate(plan: Plan, one: Subject, seconds: float) -> float:
    """Inputs a second that the model is run on, on drawn coalitions and in batches as the run's."""
    game, n = _game(plan, one), len(one.players.names)
    rows = max(1, 4 * (plan.batch_size or cached_rows(one.scene.x)) // one.backgrounds)
    masks = torch.rand(rows, n, generator=torch.Generator().manual_seed(0)) < 0.5
    game(masks)  # the first call finds out what the others need not
    begun, asked = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        game(masks)
        asked += rows * one.backgrounds
    return asked / (time.perf_counter() - begun)


def _affordable(subjects: Sequence[Subject], passes: float) -> list[Subject]:
    """As many inputs as have their values within so many passes."""
    found: list[Subject] = []
    for one in subjects:
        passes -= one.passes
        if passes < 0:
            break
        found.append(one)
    return found


def _stand_in(plan: Plan, one: Subject) -> Tensor:
    """Values for the methods to be tried on, where those of the model would take too long."""
    n = len(one.players.names)
    return _smooth(n) if n <= LARGEST_TABLE else ends(_game(plan, one))


def _smooth(players: int) -> Float[Tensor, " coalitions"]:
    """Values such as a small network has: a sum of saturating functions."""
    generator = torch.Generator().manual_seed(0)
    inner = torch.randn(players, 8, generator=generator) * 2 / players**0.5
    outer = torch.randn(8, generator=generator)
    return (coalitions(players).float() @ inner - inner.sum(0) / 2).tanh() @ outer


def _weights(opened: Opened) -> int:
    """Bytes of parameters and buffers; 0 of a model that cannot be looked into."""
    if not isinstance(opened.model, nn.Module):
        return 0
    return sum(one.nbytes for one in opened.model.state_dict().values() if isinstance(one, Tensor))


def _most_held() -> int | None:
    """The most bytes of memory that this process has held."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return None
    most = getrusage(RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
