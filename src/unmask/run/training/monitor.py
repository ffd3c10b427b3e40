"""Watch the interactions of a network while it is trained."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn

from unmask import admission
from unmask.interactions import Snapshot
from unmask.methods.dynamics import two_phase
from unmask.players import Players
from unmask.results import Measurement
from unmask.run.lock import Hold
from unmask.run.training.losses import comparable
from unmask.run.training.progress import Progress, Seen, line
from unmask.run.training.record import About, Record
from unmask.run.training.samples import MakeScore, Samples
from unmask.run.training.schedule import log_spaced
from unmask.run.training.undisturbed import undisturbed
from unmask.run.training.weights import fingerprint, inside, refuse_valueless
from unmask.score import Score, log_odds

PRECISION = 1e-2
FEWEST = 6
"""Checkpoints in which phases can be told."""
Losses = Callable[[nn.Module], tuple[Tensor | float, Tensor | float]]
"""From the model to losses on training data and on other data: one per sample, or per batch."""


class InteractionMonitor:
    """Finds the interactions of some samples at scheduled steps of a training, and tells them.

    Call `step` after every update of the parameters (or less often), with the number of updates so
    far, and with 0 before the first. Most calls cost nothing. At a scheduled step the sparsest
    AND-OR terms of every sample are found and written, and a line is printed: the mean order of the
    terms and, as small bars, the share of each order. Once there is evidence that the second phase
    has begun, in which interactions grow more complex and the network over-fits, that is said as
    well: since when, and how surely. It takes training samples alone. See `phase_two_begun`.

    Training is never disturbed: random states, the mode of each module, buffers, gradients and
    mixed precision are as before. A step at which the network gives numbers that are not finite is
    reported and skipped. What is wrong with a score or with `losses` raises at the first look;
    later on an error, such as too little memory, is reported, the step skipped, and training goes
    on. So it does where the record cannot be written; `finish` tries once more.

    With the same folder and the same samples a resumed training goes on with the record: steps that
    are in it are not computed again. All that is found depends on the weights alone. Where the
    weights at a step that is in the record are others than they were, the record is of another
    training: at step 0 that is refused, later on it is said.

    From the first look until `finish` no other process can work in the folder.

    A network that is compiled or trained by several processes is looked at as it is inside of that;
    call `step` on the first process alone. Weights that are spread over processes cannot be read.

    >>> import torch
    >>> from unmask import features
    >>> data = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    >>> monitor = InteractionMonitor(
    ...     nn.Linear(3, 2), data, [0, 1, 0, 1], features(3), torch.zeros(3), schedule=[10, 90]
    ... )
    4 samples at 2 steps: 2 x 36 = 72 forward passes.
    >>> monitor.step(5), monitor.cost
    (None, 72)

    Args:
        model: the module that is trained, on whatever device.
        x: samples that it learns from, without any change that is drawn anew at each step: a batch,
            or a list of inputs that may differ in length. Some sixty are enough.
        targets: the class of each whose score is explained: the label that it is trained to.
        players: of one sample, or of each: about ten.
        baseline: what stands where a player is hidden, for all samples, or a list of one for each.
        folder: of the record; without one it is kept in memory alone.
        schedule: steps to look at; by default spaced evenly in their logarithm up to 10,000. If a
            step is passed over, the next call counts. Better: `log_spaced(last)`, of your last.
        score: makes the number that is explained, of the model and a class. For a model that does
            not return one tensor: `lambda model, y: log_odds(lambda x: model(x).logits, y)`.
        losses: gives losses on training and on test data, the same ones every time, to set the
            phases against their gap.
        titles: how each sample is called in the record and on its page.
        budget: forward passes that the whole schedule may cost; what exceeds it is refused.
        precision: the gap of the terms at which to stop.
        tau: the least strength of a term that counts for its order.
        batch_size: inputs in one call of the model.
        say: prints a line.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor | Sequence[Tensor],
        targets: Int[Tensor, " samples"] | Sequence[int],
        players: Players | Sequence[Players],
        baseline: Tensor | Sequence[Tensor],
        *,
        folder: str | Path | None = None,
        schedule: Iterable[int] | None = None,
        score: MakeScore = log_odds,
        losses: Losses | None = None,
        titles: Sequence[str] | None = None,
        budget: int | None = None,
        precision: float = PRECISION,
        tau: float = 0.0,
        batch_size: int | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        _check(model, precision, tau, batch_size)
        self.model = inside(model)
        self.samples = Samples.of(x, targets, players, baseline, titles)
        self.schedule = _schedule(log_spaced(10_000) if schedule is None else schedule)
        self._score, self._losses, self._say = score, losses, say
        self._precision, self._batch_size = precision, batch_size
        self._seconds, self._began = 0.0, None
        self._seen: tuple[int, ...] | None = None
        self._history: list[Snapshot] = []
        self._tried: set[int] = set()
        self._weights: dict[int, str] = {}
        """Of steps that were recorded before, as long as none of them was compared."""
        self._owed: list[Callable[[], object]] = []
        self._progress = Progress(tau)
        self._record: Record | None = None
        self._hold: Hold | None = None
        self.cost = len(self.schedule) * self.samples.passes
        """Forward passes that the whole schedule costs, besides those of `losses`."""
        self._refuse(budget)
        if folder is not None:
            self._record = Record.open(folder, self._about())
            self._resume()
        says = f"{len(self.schedule)} x {self.samples.passes:,} = {self.cost:,} forward passes."
        say(f"{len(self.samples.x)} samples at {len(self.schedule)} steps: {says}")

    def step(self, step: int) -> Snapshot | None:
        """Look at the network if a scheduled step was reached; what was found, if anything.

        Args:
            step: updates of the parameters so far.
        """
        if self._began is None:
            self._began = time.perf_counter()
        refuse_valueless(self.model)
        if step in self._weights:
            self._compare(step)
        last = max(self._tried, default=-1)
        if step <= last or not any(last < planned <= step for planned in self.schedule):
            return None
        self._keep_others_out()
        start = time.perf_counter()
        try:
            with undisturbed(self.model):
                return self._look(step, start)
        except Exception as error:
            if not self._history:  # so that a mistake shows at once
                raise
            self._skip(step, f"{type(error).__name__}: {error}".rstrip(".\n"))
            return None
        finally:
            self._seconds += time.perf_counter() - start

    def finish(self) -> Measurement | None:
        """Write the table of all terms, and tell the phases; None of too short a training."""
        if self._record is not None:
            owed, self._owed = self._owed, []
            for write in owed:
                self._kept(write)
            if self._record.steps():
                self._kept(self._record.assemble)
        found = None
        if len(self._history) < FEWEST:
            self._say(
                f"No phases can be told: they show in {FEWEST} checkpoints or more, and there are "
                f"{len(self._history)}."
            )
        else:
            try:
                found = two_phase(comparable(self._history), tau=self._progress.tau)
            except ValueError as error:
                self._say(f"No phases can be told: {error}")
        self._say(f"Watching took {self._spent()}.")
        if found is not None:
            self._say(_told(found))
        if self._hold is not None:
            self._hold.let_go()
            self._hold = None
        return found

    @property
    def history(self) -> tuple[Snapshot, ...]:
        """What was found at every step that was not skipped."""
        return tuple(self._history)

    @property
    def seconds(self) -> float:
        """Spent on watching, by this process."""
        return self._seconds

    def _look(self, step: int, start: float) -> Snapshot | None:
        tables = self.samples.tables(self.model, self._score, self._batch_size)
        weights = fingerprint(self.model)
        broken = sum(not bool(table.isfinite().all()) for table in tables)
        if broken:
            where = f"on {broken} of {len(tables)} samples"
            self._skip(step, f"the network gives numbers that are not finite {where}", weights)
            return None
        train, test = self._asked()
        snapshot = Snapshot(step, self.samples.terms(tables, self._precision), train, test)
        chosen = self.samples.predicted(self.model, self._score)
        seen = Seen(chosen, self.samples.targets, self._seen)
        # From here on the step is done; whatever interrupts before, it is looked at again.
        self._tried.add(step)
        self._seen = chosen
        self._history.append(snapshot)
        if self._record is not None:
            record = self._record
            self._kept(
                lambda: record.write(snapshot, seen.notes(), source=weights, predicted=chosen)
            )
        news = self._progress.add(snapshot)
        spent = time.perf_counter() - start
        self._say(f"{line(snapshot, seen)}  {self._spent(spent)}")
        if news is not None:
            self._say(news)
        return snapshot

    def _skip(self, step: int, reason: str, weights: str = "") -> None:
        self._tried.add(step)
        self._say(f"step {step:>6}  skipped: {reason}")
        if self._record is not None:
            record = self._record
            self._kept(lambda: record.skip(step, reason, weights))

    def _asked(self) -> tuple[Tensor | None, Tensor | None]:
        """The losses, as many as at the first look."""
        if self._losses is None:
            return None, None
        found = self._losses(self.model)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise TypeError(
                f"`losses` gives two tensors, of training and of test data, but gave {_kind(found)}"
                ". Return train, test."
            )
        train, test = (torch.as_tensor(one).detach().reshape(-1).double().cpu() for one in found)
        for snapshot in self._history[:1]:
            pairs = (train, snapshot.train_losses), (test, snapshot.test_losses)
            if any(old is not None and len(new) != len(old) for new, old in pairs):
                counts = [0 if old is None else len(old) for _, old in pairs]
                raise ValueError(
                    f"`losses` gave {len(train)} numbers of training and {len(test)} of test data, "
                    f"but {counts[0]} and {counts[1]} at the first look. Compute them on the same "
                    "data every time"
                )
        return train, test

    def _compare(self, step: int) -> None:
        """Whether a step that is in the record is being repeated."""
        expected, self._weights = self._weights[step], {}
        if fingerprint(self.model) == expected:
            return
        assert self._record is not None
        where = f"'{self._record.path}' was recorded with other weights at step {step}"
        if step == 0:
            raise ValueError(
                f"{where}: it is of another training, or this one began from other random "
                "numbers. Choose another folder, or delete this one."
            )
        self._say(
            f"step {step:>6}  {where}: this training does not repeat that one exactly, and what "
            "follows is mixed with it. To keep them apart, choose another folder."
        )

    def _keep_others_out(self) -> None:
        # Not before the first look: every process of a training may make a monitor.
        if self._record is not None and self._hold is None:
            try:
                self._hold = Hold(self._record.path)
            except OSError as error:  # a disk that is full must not end a training
                self._say(f"The folder of the record is open to other processes: {error}")

    def _kept(self, write: Callable[[], object]) -> None:
        """A disk that is full must not end a training."""
        try:
            write()
        except (OSError, ValueError) as error:
            self._owed.append(write)
            self._say(f"The record could not be written: {error}")

    def _spent(self, now: float = 0.0) -> str:
        """Seconds until now, and their share of the time since the first call."""
        spent = self._seconds + now
        whole = time.perf_counter() - (self._began or time.perf_counter())
        share = f" ({spent / whole:.0%} of the time)" if whole > 0 else ""
        return f"{spent:.1f} s{share}"

    def _about(self) -> About:
        settings = {
            "samples": self.samples.digest,
            "precision": self._precision,
            "model": type(self.model).__name__,
        }
        return About(
            self.samples.titles,
            tuple(players.names for players in self.samples.players),
            self.samples.targets,
            _named(self._score(self.model, self.samples.targets[0])),
            settings,
        )

    def _resume(self) -> None:
        """Go on where the record ends."""
        assert self._record is not None
        for step in self._record.steps():
            kept = self._record.kept(step)
            self._tried.add(step)
            if kept.source:
                self._weights[step] = kept.source
            if kept.skipped is None:
                self._seen = kept.predicted or self._seen
                self._history.append(self._record.snapshot(step))
                self._progress.add(self._history[-1])
        if self._tried:
            begun = " Phase two had begun." if self._progress.begun else ""
            self._say(f"The record goes on after step {max(self._tried)}.{begun}")

    def _refuse(self, budget: int | None) -> None:
        if budget is not None and self.cost > budget:
            raise ValueError(
                f"{len(self.samples.x)} samples at {len(self.schedule)} steps cost {self.cost:,} "
                f"forward passes, but the budget is {budget:,}. Watch fewer samples, steps or "
                "players, or raise the budget."
            )


def _kind(found: object) -> str:
    count = f" of {len(found)}" if isinstance(found, tuple | list) else ""
    return f"a {type(found).__name__}{count}"


def _named(score: Score) -> str:
    """A score without the class, which differs between samples."""
    what, of, _ = score.name.partition(" of ")
    return f"{what} of each sample's target" if of else what


def _schedule(steps: Iterable[int]) -> tuple[int, ...]:
    found = tuple(sorted({int(step) for step in steps}))
    if not found or found[0] < 0:
        raise ValueError(
            f"The schedule names steps from 0 on, but got {list(found)}. "
            "Give numbers of updates, such as log_spaced(last)."
        )
    return found


def _check(model: object, precision: float, tau: float, batch_size: int | None) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"What is trained is an nn.Module, but the model is a {type(model).__name__}. "
            "Give the module whose parameters the optimiser changes."
        )
    admission.batched(batch_size)
    if not 0 <= precision < float("inf"):
        raise ValueError(
            f"precision is the gap at which to stop, at least 0, but is {precision}. "
            "Give a small number such as 0.01."
        )
    if not 0 <= tau <= 1:
        raise ValueError(
            f"tau is a share of the strongest term, but got {tau}. Give a number from 0 to 1."
        )


def _told(found: Measurement) -> str:
    """Both phases in a sentence."""
    n = found.numbers
    one, two = n["phase_one"] > 0, n["phase_two"] > 0
    if not one and not two:
        return "No phases: the mean order neither fell nor rose by more than noise."
    where = f"step {n['switch']:.0f} ({n['switch_low']:.0f} to {n['switch_high']:.0f})"
    course = (
        f"mean order {n['centre_at_start']:.2f} -> {n['centre_at_switch']:.2f} -> "
        f"{n['centre_at_end']:.2f}"
    )
    if one and two:
        return f"Two phases that meet at {where}: {course}."
    if one:
        return f"Phase one only: {course}."
    return f"Phase two without phase one: {course}."
