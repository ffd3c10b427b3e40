"""The work of a run: explain some inputs and keep what comes out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unmask import catalogue
from unmask.catalogue import Entry as Method
from unmask.game import LARGEST_TABLE, Game
from unmask.interactions import and_or_tables
from unmask.masking import masked
from unmask.results import Interactions, Result
from unmask.run.assemble import tables_of, write_part
from unmask.run.choices.choose_score import SCORES, Reading, digits
from unmask.run.choices.scene import Scene
from unmask.run.choices.subject import Subject, subject
from unmask.run.entry import Entry, ends, save_entry
from unmask.run.folder import Failure, RunFolder
from unmask.run.inputs.material import Material
from unmask.run.kept import kept_entry, kept_result, refuse_without_terms
from unmask.run.large_table import PARTS, LargeTable, remove_parts
from unmask.run.mirror import publish
from unmask.run.models.opened import Opened
from unmask.run.models.placed import placed, there
from unmask.run.plan import Plan
from unmask.score import Score
from unmask.sharing import rows_run
from unmask.store import save

TOGETHER = "and_or"
"""The method whose results for many inputs are sought at once."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Step:
    """How far a run has come.

    Args:
        done: steps that are done; may end in a part of one.
        total: steps in all: for each input its values, and each method.
        title: of the input at hand.
        what: is being done to it.
    """

    done: float
    total: int
    title: str
    what: str


@dataclass(frozen=True)
class Report:
    """What came of some inputs.

    Args:
        failures: what could not be explained.
        computed: how many results and tables were computed, not found.
        lost: whether their process did not survive them together, so that each is to be tried
            alone.
        large: inputs, and the parts of their tables that others should compute before; nothing of
            the group is explained until then.
    """

    failures: tuple[Failure, ...]
    computed: int
    lost: bool = False
    large: tuple[tuple[int, tuple[int, ...]], ...] = ()


class Explainer:
    """Explains groups of inputs: their tables, then their terms together, then the rest."""

    def __init__(
        self,
        plan: Plan,
        run: RunFolder,
        opened: Opened,
        material: Material,
        methods: Mapping[str, Method],
        inputs: int,
        listen: Callable[[Step], None] | None,
        spread: bool = False,
    ):
        self.plan = plan
        self.run = run
        self.tables = tables_of(plan, run.mirror or run.path)
        self.opened = opened
        self.material = material
        self.methods = methods
        self.total = inputs * (1 + len(methods))
        self.listen = listen
        self.done = 0
        self.computed = 0
        self.failures: list[Failure] = []
        self.spread = spread
        """Whether there are others, to share a large table with."""
        self.large: list[tuple[int, tuple[int, ...]]] = []

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: there the same folder is written, and nobody listens."""
        return {
            **self.__dict__,
            "run": replace(self.run, path=self.run.path.resolve()),
            "listen": None,
        }

    def __call__(self, numbers: Sequence[int]) -> Report:
        """Explain the inputs of these numbers, as far as that is not done already."""
        self._begin()
        entries: dict[int, Entry] = {}
        for number in numbers:
            entry = self._entry(number)
            if entry is None:
                self.done += len(self.methods)
            else:
                entries[number] = entry
            self._tell(number, "values", 1)
        if self.large:
            return Report((), self.computed, large=tuple(self.large))
        if TOGETHER in self.methods:
            self._terms_together(entries)
        for number, entry in entries.items():
            self._explain(number, entry)
        self.gather(numbers)
        return Report(tuple(self.failures), self.computed)

    def large_table(self, number: int) -> LargeTable | None:
        """The table of an input, where it is computed in parts.

        Args:
            number: of the input.
        """
        self._begin()
        game = self._game(number, subject(Scene(self.opened, self.material, number), self.plan))
        return self._large(number, game)

    def told(
        self, inputs: int, number: int, *, tables: int | float = 0, what: str = "explained"
    ) -> None:
        """Tell how far the run has come, where copies in other processes do the work.

        Args:
            inputs: that are done.
            number: of the last of them.
            tables: of others that are there; may end in a part of one.
            what: was done.
        """
        steps = inputs * (1 + len(self.methods)) + int(tables) - self.done
        if steps > 0 or tables % 1:
            self._tell(number, what, steps, tables % 1)

    def lost(self, item: Sequence[int], reason: str) -> Report:
        """What to say of inputs whose process is lost again and again.

        Args:
            item: numbers of inputs; of several, none is known to be the cause.
            reason: what is known.
        """
        if len(item) > 1:
            return Report((), 0, lost=True)
        (number,) = item
        title = self.material.titles[number]
        lacking = [name for name in self.methods if not self.run.result(number, name).exists()]
        methods = lacking if self.run.entry(number).exists() else [None]
        return Report(tuple(Failure(number, title, method, reason) for method in methods), 0)

    def gather(self, numbers: Sequence[int]) -> None:
        """Write the tables of a group, of what is explained of it.

        Args:
            numbers: of the inputs.
        """
        write_part(self.tables, self.run, numbers, tuple(self.methods))
        publish(self.run, numbers)

    def _begin(self) -> None:
        self.run.refuse_absent()
        self.opened = placed(self.opened, self.plan)  # here, as other machines have other devices
        self.failures, self.computed, self.large = [], 0, []

    def _entry(self, number: int) -> Entry | None:
        place = self.run.entry(number)
        if place.exists():
            remove_parts(self._parts(number))  # if the process ended before that was done
            return there(kept_entry(self.run, number), self.opened)
        entry = self._attempt(number, None, lambda: self._tabulated(number))
        if entry is not None:
            save_entry(entry, place)
            remove_parts(self._parts(number))
            self.computed += 1
        return entry

    def _parts(self, number: int) -> Path:
        return self.run.entry(number).with_name(PARTS)

    def _large(self, number: int, game: Game) -> LargeTable | None:
        return LargeTable.of(game, self._parts(number))

    def _tabulated(self, number: int) -> Entry | None:
        """Make the choices for an input and ask the model for the values of all coalitions.

        Nothing comes of it where others are to help with the values.
        """
        scene = Scene(self.opened, self.material, number)
        made = subject(scene, self.plan)
        reading = made.reading
        game = self._game(number, made)
        large = len(made.players.names) > LARGEST_TABLE
        parts = self._large(number, game)
        if self.spread and parts is not None and (lacking := parts.lacking()):
            self.large.append((number, lacking))
            return None
        return Entry(
            number=number,
            title=self._title(number, reading),
            prediction=reading.prediction,
            probability=reading.probability,
            truth=self._truth(number, reading),
            target=reading.target,
            score=reading.score.name,
            players=made.players,
            view=made.view,
            x=scene.x,
            baseline=made.baseline,
            table=None if large else game.table() if parts is None else parts.table(),
            rows=rows_run(game),
            ends=ends(game) if large else None,
        )

    def _truth(self, number: int, reading: Reading) -> str | None:
        """The truth in the words of the prediction, so that the two can be compared."""
        truth = self.material.truths[number]
        if truth is None or not self._comparable(truth, reading):
            return None
        if reading.probability is None or self.opened.classes:
            return truth
        return f"class {int(digits(truth))}"

    def _title(self, number: int, reading: Reading) -> str:
        """How the input is called; a truth that no prediction can be compared with stands here."""
        title, truth = self.material.titles[number], self.material.truths[number]
        lone = truth is not None and not self._comparable(truth, reading)
        return f"{title} (truth {truth})" if lone else title

    def _comparable(self, truth: str, reading: Reading) -> bool:
        """Whether the truth speaks of classes as the prediction does: by name, or by number."""
        named = reading.probability is None or bool(self.opened.classes)
        return named or digits(truth).isdecimal()

    def _game(self, number: int, made: Subject) -> Game:
        """The game of an input, which tells how far it is with its table."""
        return masked(
            self._heard(made.reading.score, number, "values", made.passes),
            made.scene.x,
            made.players,
            made.baseline,
            batch_size=self.plan.batch_size,
        )

    def _heard(self, score: Score, number: int, what: str, rows: int) -> Score:
        """A score that tells how far it is with so many rows."""
        asked = 0

        def read(output: Tensor, source: Tensor | None) -> Tensor:
            nonlocal asked
            values = score.read(output, source)
            asked += len(values)
            self._tell(number, what, 0, min(1.0, asked / rows))
            return values

        return replace(score, read=read)

    def _terms_together(self, entries: Mapping[int, Entry]) -> None:
        """Seek the terms of games of one size at once, which is faster than one by one.

        The last bits depend on which games are solved together. So that a run that goes on ends
        as one that never stopped, a batch is solved again as a whole if any of it is lacking.
        """
        sizes: dict[int, list[int]] = {}
        for number, entry in entries.items():
            if entry.table is None:
                continue
            sizes.setdefault(len(entry.players.names), []).append(number)
        for players, numbers in sizes.items():
            at_once = max(1, 2**16 >> players)
            for i in range(0, len(numbers), at_once):
                self._keep_together(numbers[i : i + at_once], entries)

    def _keep_together(self, numbers: Sequence[int], entries: Mapping[int, Entry]) -> None:
        lacking = [n for n in numbers if not self.run.result(n, TOGETHER).exists()]
        if len(numbers) < 2 or not lacking:
            return
        self._tell(numbers[0], TOGETHER, 0)
        known = [entries[number].table for number in numbers]
        tables = torch.stack([table.double() for table in known if table is not None])
        try:
            names = entries[numbers[0]].players.names
            found = and_or_tables(tables, names, **self.plan.methods[TOGETHER])
        except Exception:  # one table may spoil it for all; each is tried alone below
            return
        for number, terms in zip(numbers, found, strict=True):
            if number in lacking:
                named = replace(terms, names=entries[number].players.names)
                save(named, self.run.result(number, TOGETHER))
                self.computed += 1

    def _explain(self, number: int, entry: Entry) -> None:
        """Each method of the plan in turn; those that look at terms come after the terms."""
        terms: Interactions | None = None
        later = [name for name, method in self.methods.items() if "terms" in method.options]
        for name in [*(name for name in self.methods if name not in later), *later]:
            place = self.run.result(number, name)
            if place.exists():
                result = there(kept_result(self.run, entry, name), self.opened)
            else:
                self._tell(number, name, 0)
                made = self._attempt(number, name, lambda n=name, t=terms: self._call(n, entry, t))
                result = made
                if made is not None:
                    save(made, place)
                    self.computed += 1
            if isinstance(result, Interactions) and (terms is None or name == TOGETHER):
                terms = result
            self._tell(number, name, 1)

    def _call(self, name: str, entry: Entry, terms: Interactions | None) -> Result:
        method = self.methods[name]
        needs = (*method.needs, *method.options)
        supplies: dict[str, object] = {
            "game": self._played(entry, method) if entry.table is None else entry.game(),
            "x": entry.x[None].clone(),
            "baseline": entry.baseline,
            "players": entry.players,
            "target": entry.target,
            "generator": torch.Generator().manual_seed(self.plan.seed + entry.number),
        }
        if self.plan.batch_size is not None:
            supplies["batch_size"] = self.plan.batch_size
        if terms is not None:
            supplies["terms"] = terms
        elif entry.table is None and "terms" in method.options:
            refuse_without_terms(entry.number, self.failures)
        if isinstance(self.opened.model, nn.Module):
            supplies["model"] = self.opened.model
        if "score" in needs:
            supplies["score"] = self._score(entry, method)
        return catalogue.fill(method, supplies, self.plan.methods[name])

    def _played(self, entry: Entry, method: Method) -> Game:
        """The game of an input whose values no table holds: it asks the model."""
        score, players, size = self._reading(entry).score, entry.players, self.plan.batch_size
        options = {**method.options, **self.plan.methods[method.name]}
        rows = options.get("budget") or options.get("samples")
        if isinstance(rows, int):
            rows *= len(entry.baseline) if entry.baseline.ndim > entry.x.ndim else 1
            score = self._heard(score, entry.number, method.name, rows)
        return masked(score, entry.x, players, entry.baseline, batch_size=size)

    def _score(self, entry: Entry, method: Method) -> Score:
        if method.section == "gradients" and not self.opened.differentiable:
            raise ValueError(
                f"{method.name} needs gradients, but this model or its input has none. "
                "Leave it out of the plan."
            )
        return self._reading(entry).score

    def _reading(self, entry: Entry) -> Reading:
        scene = Scene(self.opened, self.material, entry.number)
        options = {**self.plan.score.options, "target": entry.target}
        return SCORES[self.plan.score.name](scene, **options)

    def _attempt(self, number: int, method: str | None, work: Callable[[], Made]) -> Made | None:
        """Do some work; if it fails, record why, so that the run can go on with the rest."""
        try:
            return work()
        except Exception as error:
            reason = " ".join(str(error).split()) or "no reason given"
            if not isinstance(error, ValueError):
                reason = f"{type(error).__name__}: {reason}"
            title = self.material.titles[number]
            self.failures.append(Failure(number, title, method, reason[:500]))
            return None

    def _tell(self, number: int, what: str, steps: int, part: float = 0.0) -> None:
        self.done += steps
        if self.listen is not None:
            title = self.material.titles[number]
            self.listen(Step(self.done + part, self.total, title, what))
