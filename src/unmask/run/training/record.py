"""The run folder of a training: what was found of a network at each step.

```
training.json                who plays on which samples, and how terms were sought
steps/00000130/snapshot.json        the step; why it was skipped, if it was; what was noticed
steps/00000130/tensors.safetensors  terms and losses, bit for bit
terms/part-00000130.parquet         the same terms for other programs (see `unmask.store.tables`)
```

Every step is written whole or not at all, so that a run may be killed at any moment.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.interactions import Snapshot
from unmask.lattice import indices
from unmask.results import Interactions
from unmask.run.folder import DRAFT, PLAN, TRAINING, sweep
from unmask.run.lock import LOCK
from unmask.store import written
from unmask.store.explanations import Explanation, write_explanations
from unmask.store.places import Place
from unmask.store.tables import TERMS, part, tidy

FORMAT, VERSION = "unmask training", 1
ABOUT, STEPS, WORDS, TENSORS = TRAINING, "steps", "snapshot.json", "tensors.safetensors"


@dataclass(frozen=True)
class About:
    """What is the same at every step of a training.

    Args:
        titles: how each sample is called.
        names: of the players of each sample.
        targets: the class whose score is read, of each sample.
        score: the name of that score.
        settings: whatever else the results depend on, as JSON can hold it.
    """

    titles: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    targets: tuple[int, ...]
    score: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """What is kept of one step.

    Args:
        step: updates of the parameters so far.
        skipped: why nothing was found of the network then; None where something was.
        notes: what was noticed, such as predictions that changed.
        source: a hash of the weights, or of the file that they were read from.
        predicted: the class that the network chose for each sample, where that was asked.
    """

    step: int
    skipped: str | None = None
    notes: tuple[str, ...] = ()
    source: str = ""
    predicted: tuple[int, ...] = ()


@dataclass(frozen=True)
class Record:
    """The places in the run folder of a training.

    Args:
        path: the folder.
        about: what is the same at every step.
        tables: where the table of terms lies; None for the folder.
    """

    path: Path
    about: About
    tables: Place | None = None

    @classmethod
    def open(cls, folder: str | Path, about: About, tables: Place | None = None) -> "Record":
        """Begin a record, or go on with one of the same samples and settings.

        Args:
            folder: a new or empty one, or that of the same training.
            about: what is recorded.
            tables: where the table of terms is put; None for the folder.
        """
        path = Path(folder)
        if (path / ABOUT).is_file():
            _refuse_another(path, read_about(path), about)
        elif found := _foreign(path):
            raise ValueError(
                f"The folder '{path}' is no record of a training, but holds other files such as "
                f"{found[0]!r}. Choose another folder, or an empty one."
            )
        else:
            words = {"format": FORMAT, "version": VERSION, **asdict(about)}
            with written(path / ABOUT) as draft:
                draft.write_text(json.dumps(words, indent=1) + "\n", "utf-8")
        sweep(path)
        return cls(path, about, tables)

    @classmethod
    def read(cls, folder: str | Path) -> "Record":
        """The record in a folder.

        Args:
            folder: of a training.
        """
        return cls(Path(folder), read_about(Path(folder)))

    def steps(self) -> tuple[int, ...]:
        """The steps that are kept or were skipped, in their order."""
        place = self.path / STEPS
        if not place.is_dir():
            return ()
        return tuple(sorted(int(part.name) for part in place.iterdir() if part.name.isdigit()))

    def kept(self, step: int) -> Kept:
        """What is said of a step.

        Args:
            step: one of `steps`.
        """
        place = self._place(step)
        try:
            words = json.loads((place / WORDS).read_text("utf-8"))
            skipped = words["skipped"]
            return Kept(
                int(words["step"]),
                None if skipped is None else str(skipped),
                tuple(map(str, words["notes"])),
                str(words["source"]),
                tuple(map(int, words["predicted"])),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _broken(place, error) from None

    def write(
        self,
        snapshot: Snapshot,
        notes: Sequence[str] = (),
        *,
        source: str = "",
        predicted: Sequence[int] = (),
    ) -> None:
        """Keep what was found at a step.

        Args:
            snapshot: of the samples of this record.
            notes: what was noticed.
            source: a hash of the weights.
            predicted: the class that the network chose for each sample.
        """
        from safetensors.torch import save

        names = tuple(terms.names for terms in snapshot.terms)
        if names != self.about.names:
            raise ValueError(
                f"The record in '{self.path}' is of {len(self.about.names)} samples with players "
                f"of their own, but these terms are of {len(names)} others. Keep the samples and "
                "their order, or begin a record in another folder."
            )
        self._write_rows(snapshot)  # first: where the step stands, its rows do
        with written(self._place(snapshot.step)) as draft:
            draft.mkdir()
            (draft / TENSORS).write_bytes(save(_packed(snapshot)))
            _say(draft, Kept(snapshot.step, None, tuple(notes), source, tuple(predicted)))

    def skip(self, step: int, reason: str, source: str = "") -> None:
        """Keep why there is nothing to say of a step.

        Args:
            step: updates of the parameters so far.
            reason: why.
            source: a hash of the weights.
        """
        with written(self._place(step)) as draft:
            draft.mkdir()
            _say(draft, Kept(step, reason, source=source))

    def snapshot(self, step: int) -> Snapshot:
        """What was found at a step, bit for bit.

        Args:
            step: one that was not skipped.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        place = self._place(step)
        try:
            return _unpacked(step, load((place / TENSORS).read_bytes()), self.about.names)
        except (OSError, SafetensorError, KeyError, ValueError, IndexError, RuntimeError) as error:
            raise _broken(place, error) from None

    def history(self) -> tuple[Snapshot, ...]:
        """What was found at every step that was not skipped."""
        return tuple(
            self.snapshot(step) for step in self.steps() if self.kept(step).skipped is None
        )

    def assemble(self) -> Path | str:
        """See that the table has the rows of all steps and no others, and say where it is."""
        tables = self._tables()
        there = set((tables / TERMS).listed()[1])
        found = [step for step in self.steps() if self.kept(step).skipped is None]
        for step in found:
            if part(tables, TERMS, step).name not in there:  # put elsewhere, or by another version
                self._write_rows(self.snapshot(step))
        tidy(tables, TERMS, found)
        table = tables / TERMS
        return table.local or table.url

    def _write_rows(self, snapshot: Snapshot) -> None:
        with part(self._tables(), TERMS, snapshot.step).written() as draft:
            write_explanations(
                (
                    Explanation(number, snapshot.step, "and_or", terms)
                    for number, terms in enumerate(snapshot.terms)
                ),
                draft,
            )

    def _tables(self) -> Place:
        return self.tables or Place(str(self.path))

    def _place(self, step: int) -> Path:
        return self.path / STEPS / f"{step:08d}"


def read_about(folder: Path) -> About:
    """What the record in a folder is about.

    Args:
        folder: of a training.
    """
    file = folder / ABOUT
    if not file.is_file():
        raise ValueError(
            f"'{folder}' holds no record of a training: there is no {ABOUT} in it. Give a folder "
            "that an InteractionMonitor or a plan with checkpoints wrote."
        )
    try:
        words = json.loads(file.read_text("utf-8"))
        if words["format"] != FORMAT or words["version"] != VERSION:
            raise ValueError(f"it is of the kind {words['format']!r}, {words['version']!r}")
        return About(
            tuple(map(str, words["titles"])),
            tuple(tuple(map(str, names)) for names in words["names"]),
            tuple(map(int, words["targets"])),
            str(words["score"]),
            dict(words["settings"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(file, error) from None


def _foreign(path: Path) -> list[str]:
    """What belongs to something else: the plan that is recorded may stand there already."""
    if not path.is_dir():
        return []
    names = (part.name for part in path.iterdir())
    return sorted(name for name in names if name not in (PLAN, LOCK) and not DRAFT.fullmatch(name))


def _refuse_another(path: Path, before: About, about: About) -> None:
    old, new = (json.loads(json.dumps(asdict(one))) for one in (before, about))
    changed = [key for key in old if key != "settings" and old[key] != new[key]]
    kinds = {**old["settings"], **new["settings"]}
    changed += [
        f"{key} ({old['settings'].get(key)!r} before, {new['settings'].get(key)!r} now)"
        for key in kinds
        if old["settings"].get(key) != new["settings"].get(key)
    ]
    if changed:
        raise ValueError(
            f"'{path}' is the record of another training: they differ in {', '.join(changed)}. "
            "Choose another folder, or delete this one."
        )


def _packed(snapshot: Snapshot) -> dict[str, Tensor]:
    terms = snapshot.terms
    counts = torch.tensor([len(one.effects) for one in terms])
    tensors = {
        "count": counts,
        "place": torch.cat([indices(one.members).cpu() for one in terms]),
        "is_or": torch.cat([one.is_or.cpu() for one in terms]),
        "effects": torch.cat([one.effects.detach().cpu().double() for one in terms]),
        "empty": torch.tensor([one.empty for one in terms], dtype=torch.float64),
        "gap": torch.tensor(
            [float("nan") if one.gap is None else one.gap for one in terms], dtype=torch.float64
        ),
    }
    for name in ("train_losses", "test_losses"):
        losses = getattr(snapshot, name)
        if losses is not None:
            tensors[name] = losses.detach().cpu().double().contiguous().clone()
    return tensors


def _unpacked(
    step: int, tensors: Mapping[str, Tensor], names: Sequence[tuple[str, ...]]
) -> Snapshot:
    counts = tensors["count"].tolist()
    if len(counts) != len(names):
        raise ValueError(f"it holds {len(counts)} samples of {len(names)}")
    if not tensors["effects"].isfinite().all():
        raise ValueError("it holds effects that are not finite")
    parts = [tensors[key].split(counts) for key in ("place", "is_or", "effects")]
    terms = []
    for i, (place, is_or, effects) in enumerate(zip(*parts, strict=True)):
        bits = torch.arange(len(names[i]))
        gap = float(tensors["gap"][i])
        terms.append(
            Interactions(
                members=(place[:, None] >> bits & 1).bool(),
                is_or=is_or,
                effects=effects,
                empty=float(tensors["empty"][i]),
                names=names[i],
                gap=None if gap != gap else gap,
                evaluations=2 ** len(names[i]),
            )
        )
    return Snapshot(step, tuple(terms), tensors.get("train_losses"), tensors.get("test_losses"))


def _say(draft: Path, kept: Kept) -> None:
    (draft / WORDS).write_text(json.dumps(asdict(kept), indent=1) + "\n", "utf-8")


def _broken(place: Path, error: Exception) -> ValueError:
    what = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
    return ValueError(
        f"'{place}' holds no sound part of a training's record ({what}): a file is missing, cut "
        "short or foreign. Delete it and repeat this step."
    )
