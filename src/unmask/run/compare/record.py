"""The folder of a comparison.

```
comparison.json                        what is compared, by which settings; hashes, costs, reasons
subject.safetensors                    inputs, fillings, players and scores, bit for bit
methods/NAME/explanation/result        what the method says, as `unmask.store.save` writes it
methods/NAME/explanation/failures.json inputs that it failed on, and why
methods/NAME/METRIC/result             the rating of each input, likewise
ratings.parquet                        all ratings: method, metric, criterion, input, value
```

Every explanation and every rating is written whole or not at all, so that a comparison may be
killed at any moment and goes on with nothing computed twice.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unmask.results import Attribution, Rating, Result
from unmask.run.compare.comparison import Cost, Metric, Subject
from unmask.run.folder import DRAFT, Failure, sweep, versions
from unmask.run.lock import LOCK
from unmask.store import load, save, written

FORMAT, VERSION = "unmask comparison", 1
HEADER, TENSORS, METHODS, RATINGS = (
    *("comparison.json", "subject.safetensors", "methods"),
    "ratings.parquet",
)
EXPLANATION, RESULT, FAILURES = "explanation", "result", "failures.json"


@dataclass(frozen=True)
class About:
    """What is the same for every method of a comparison.

    Args:
        settings: what was asked for; another comparison must not go on here.
        hashes: of model, inputs and what else the numbers depend on.
        methods: that are compared.
        references: beside them.
        metrics: that rate them.
        left_out: methods that do not fit, with the reasons.
        cost: what it takes.
        failures: inputs that the model itself fails on, which are left out.
        notes: what the reader must know.
        fillings: how the two fillings are called.
    """

    settings: Mapping[str, Any]
    hashes: Mapping[str, str]
    methods: tuple[str, ...]
    references: tuple[str, ...]
    metrics: tuple[Metric, ...]
    left_out: Mapping[str, str]
    cost: Cost
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    fillings: tuple[str, str] = ("the baseline", "another filling")


@dataclass(frozen=True)
class Record:
    """The places in the folder of a comparison.

    Args:
        path: the folder.
    """

    path: Path

    def begun(self, settings: Mapping[str, Any], hashes: Mapping[str, str]) -> About | None:
        """What was begun here, None where nothing was; refused where it is another comparison.

        Args:
            settings: what is asked for now.
            hashes: of model and inputs as they are now.
        """
        if not (self.path / HEADER).is_file():
            self._refuse_foreign()
            return None
        about = self.about()
        changed = _changed(about.settings, settings) + _changed(about.hashes, hashes)
        if changed:
            raise ValueError(
                f"'{self.path}' is another comparison: they differ in {', '.join(changed)}. "
                "Choose another folder, or delete this one."
            )
        sweep(self.path)
        return about

    def begin(self, about: About, subject: Subject) -> None:
        """Write down what will be compared.

        Args:
            about: the methods, metrics and settings.
            subject: the inputs.
        """
        from safetensors.torch import save as packed

        kept = ("x", "baseline", "second", "owner", "values")
        tensors = {name: getattr(subject, name).detach().cpu().contiguous() for name in kept}
        with written(self.path / TENSORS) as draft:
            draft.write_bytes(packed({name: one.clone() for name, one in tensors.items()}))
        words = {
            "format": FORMAT,
            "version": VERSION,
            "versions": versions(),
            "subject": {
                "score": subject.score,
                "titles": subject.titles,
                "names": subject.names,
                "kind": subject.kind,
                "said": subject.said,
                "pieces": subject.pieces,
            },
            **asdict(about),
        }
        with written(self.path / HEADER) as draft:  # last: where it stands, the tensors do
            draft.write_text(json.dumps(words, indent=1) + "\n", "utf-8")

    def about(self) -> About:
        """What is compared here."""
        words = self._words()
        try:
            cost = words["cost"]
            return About(
                settings=dict(words["settings"]),
                hashes=dict(words["hashes"]),
                methods=tuple(map(str, words["methods"])),
                references=tuple(map(str, words["references"])),
                metrics=tuple(_metric(one) for one in words["metrics"]),
                left_out={str(name): str(why) for name, why in words["left_out"].items()},
                cost=Cost(
                    {str(name): float(value) for name, value in cost["explanation"].items()},
                    {str(name): float(value) for name, value in cost["metrics"].items()},
                    int(cost["inputs"]),
                    None if cost["budget"] is None else float(cost["budget"]),
                    tuple(map(str, cost["dropped"])),
                ),
                failures=tuple(_failure(one) for one in words["failures"]),
                notes=tuple(map(str, words["notes"])),
                fillings=(str(words["fillings"][0]), str(words["fillings"][1])),
            )
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise _broken(self.path / HEADER, error) from None

    def subject(self) -> Subject:
        """What is compared on, bit for bit."""
        from safetensors import SafetensorError
        from safetensors.torch import load as unpacked

        words = self._words()
        try:
            tensors = unpacked((self.path / TENSORS).read_bytes())
            said = words["subject"]
            return Subject(
                score=str(said["score"]),
                titles=tuple(map(str, said["titles"])),
                names=tuple(map(str, said["names"])),
                kind=str(said["kind"]),
                said=tuple(map(str, said["said"])),
                pieces=tuple(tuple(map(str, one)) for one in said["pieces"]),
                **{name: tensors[name] for name in ("x", "baseline", "second", "owner", "values")},
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise _broken(self.path / TENSORS, error) from None

    def keep(self, method: str, what: str, result: Result, failures: Sequence[Failure]) -> None:
        """Keep what a method says, or how it is rated.

        Args:
            method: its name.
            what: `EXPLANATION` or the name of a metric.
            result: an attribution or a rating.
            failures: what went wrong on the way.
        """
        with written(self._place(method, what)) as draft:
            draft.mkdir()
            save(result, draft / RESULT)
            words = [vars(failure) for failure in failures]
            (draft / FAILURES).write_text(json.dumps(words, indent=1) + "\n", "utf-8")

    def attribution(self, method: str, inputs: int) -> tuple[Attribution, list[Failure]] | None:
        """What a method says of all inputs; None where that is still to be found.

        Args:
            method: its name.
            inputs: how many there are.
        """
        found = self._kept(method, EXPLANATION)
        if found is None:
            return None
        result, failures = found
        if not isinstance(result, Attribution) or len(result.values) != inputs:
            raise _broken(self._place(method, EXPLANATION), f"no Attribution of {inputs} inputs")
        return result, failures

    def rating(self, method: str, metric: str, inputs: int) -> tuple[Rating, list[Failure]] | None:
        """How a method is rated; None where that is still to be found.

        Args:
            method: its name.
            metric: its name.
            inputs: how many there are.
        """
        found = self._kept(method, metric)
        if found is None:
            return None
        result, failures = found
        if not isinstance(result, Rating) or len(result.values) != inputs:
            raise _broken(self._place(method, metric), f"no Rating of {inputs} inputs")
        return result, failures

    def assemble(
        self, metrics: Sequence[Metric], ratings: Mapping[str, Mapping[str, Rating]]
    ) -> None:
        """Write all ratings into one table.

        Args:
            metrics: that were taken.
            ratings: by method and metric.
        """
        from unmask.store.parquet import write_columns

        rows: dict[str, list[Any]] = {
            name: [] for name in ("method", "metric", "criterion", "input", "value")
        }
        for method, by_metric in ratings.items():
            for metric in metrics:
                values = by_metric[metric.name].values.double().tolist()
                rows["method"] += [method] * len(values)
                rows["metric"] += [metric.name] * len(values)
                rows["criterion"] += [metric.criterion] * len(values)
                rows["input"] += range(len(values))
                rows["value"] += values
        with written(self.path / RATINGS) as draft:
            write_columns(rows, draft)

    def _place(self, method: str, what: str) -> Path:
        return self.path / METHODS / method / what

    def _kept(self, method: str, what: str) -> tuple[Result, list[Failure]] | None:
        place = self._place(method, what)
        if not place.is_dir():
            return None
        try:
            words = json.loads((place / FAILURES).read_text("utf-8"))
            return load(place / RESULT), [_failure(one) for one in words]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _broken(place, error) from None

    def _words(self) -> dict[str, Any]:
        file = self.path / HEADER
        if not file.is_file():
            raise ValueError(
                f"'{self.path}' holds no comparison: there is no {HEADER} in it. "
                "Give a folder that `unmask compare` wrote."
            )
        try:
            words = json.loads(file.read_text("utf-8"))
            if words["format"] != FORMAT or words["version"] != VERSION:
                raise ValueError(f"it is of the kind {words['format']!r}, {words['version']!r}")
            return words
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise _broken(file, error) from None

    def _refuse_foreign(self) -> None:
        if not self.path.is_dir():
            return
        names = sorted(part.name for part in self.path.iterdir())
        ours = (TENSORS, LOCK)
        foreign = [name for name in names if name not in ours and not DRAFT.fullmatch(name)]
        if foreign:
            raise ValueError(
                f"The folder '{self.path}' is no comparison, but holds other files such as "
                f"{foreign[0]!r}. Choose another folder, or an empty one."
            )


def as_kept(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back, so that they can be compared.

    Args:
        values: by name.
    """
    return json.loads(json.dumps(values))


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    now = as_kept(now)
    return [
        name
        if len(f"{before.get(name)}{now.get(name)}") > 60
        else f"{name} ({before.get(name)!r} before, {now.get(name)!r} now)"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def _metric(words: Mapping[str, Any]) -> Metric:
    return Metric(
        str(words["name"]),
        str(words["criterion"]),
        bool(words["higher_is_better"]),
        str(words["words"]),
        bool(words["tested"]),
        float(words["grain"]),
        None if words["bounds"] is None else (float(words["bounds"][0]), float(words["bounds"][1])),
        None if words["enough"] is None else float(words["enough"]),
    )


def _failure(words: Mapping[str, Any]) -> Failure:
    method = words["method"]
    return Failure(
        int(words["number"]),
        str(words["title"]),
        None if method is None else str(method),
        str(words["reason"]),
    )


def _broken(place: Path, error: object) -> ValueError:
    what = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
    return ValueError(
        f"'{place}' holds no sound part of a comparison ({what}): it is cut short or foreign. "
        "Delete it and repeat the comparison; the rest stays."
    )
