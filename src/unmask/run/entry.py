"""What a run keeps of one input besides the results: who plays, what the model says, and v."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmask.game import LARGEST_TABLE, Game
from unmask.lattice import indices
from unmask.players import Players
from unmask.store import written
from unmask.views import ImageView, TableView, TextView, View

FORMAT = "unmask entry"
WORDS, TENSORS = "entry.json", "tensors.safetensors"


@dataclass(frozen=True)
class Entry:
    """One input of a run.

    Args:
        number: its place among the inputs.
        title: how it is called.
        prediction: the model's answer, as it reads.
        probability: of that answer.
        truth: the true answer, as it reads.
        target: the class whose score was read.
        score: the name of that score.
        players: the parts that can be hidden.
        view: what a person sees.
        x: the input.
        baseline: what stands where a player is hidden.
        table: the score of all coalitions, in lattice order; None where there are too many.
        rows: how many rows of which part of the model the table took (`sharing.rows_run`).
        ends: where there is no table, the score with everything hidden and with everything shown.
    """

    number: int
    title: str
    prediction: str
    probability: float | None
    truth: str | None
    target: int
    score: str
    players: Players
    view: View
    x: Shaped[Tensor, "*input"]
    baseline: Shaped[Tensor, "*background"]
    table: Float[Tensor, " coalitions"] | None
    rows: Mapping[str, int] = field(default_factory=dict)
    ends: Float[Tensor, " two"] | None = None

    def game(self) -> Game:
        """The game that the table is of. It asks no model."""
        table = self.table
        if table is None:
            raise ValueError(
                f"The {len(self.players.names)} players of input {self.number} have too many "
                "coalitions for a table, so that nothing tells their values but the model. Play "
                "the game with `masked`."
            )
        return Game(lambda masks: table[indices(masks)], self.players.names, lambda: table.clone())


def ends(game: Game) -> Float[Tensor, " two"]:
    """The values with everything hidden and with everything shown.

    Args:
        game: of any size.
    """
    n = len(game.names)
    return game(torch.tensor([[False] * n, [True] * n]))


def save_entry(entry: Entry, path: Path) -> None:
    """Write an entry into a folder of its own, whole or not at all.

    Args:
        entry: one input.
        path: the folder.
    """
    from safetensors.torch import save

    view = entry.view
    words: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        "number": entry.number,
        "title": entry.title,
        "prediction": entry.prediction,
        "probability": entry.probability,
        "truth": entry.truth,
        "target": entry.target,
        "score": entry.score,
        "names": entry.players.names,
        "view": _view_words(view),
        "rows": dict(entry.rows),
    }
    tensors = {
        "x": entry.x,
        "baseline": entry.baseline,
        "owner": entry.players.owner,
    }
    for name, values in (("table", entry.table), ("ends", entry.ends)):
        if values is not None:
            tensors[name] = values
    if isinstance(view, ImageView):
        tensors["pixels"] = view.pixels
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with written(path) as draft:
        draft.mkdir()
        (draft / WORDS).write_text(json.dumps(words, indent=1) + "\n", "utf-8")
        (draft / TENSORS).write_bytes(save(plain))


def load_entry(path: Path) -> Entry:
    """Read an entry that `save_entry` wrote.

    Args:
        path: the folder.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        words = json.loads((path / WORDS).read_text("utf-8"))
        tensors = load((path / TENSORS).read_bytes())
        if words["format"] != FORMAT or words["version"] != 1:
            raise ValueError(f"it is of the kind {words['format']!r}, {words['version']!r}")
        entry = _entry(words, tensors)
    except (
        *(OSError, ValueError, KeyError, TypeError, IndexError, RecursionError),
        SafetensorError,
    ) as error:
        what = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"'{path}' holds no sound input of a run ({what}): a file is missing, cut short or "
            "foreign. Delete this folder and repeat the run."
        ) from None
    return entry


def _entry(words: dict[str, Any], tensors: dict[str, Tensor]) -> Entry:
    names = tuple(map(str, words["names"]))
    players = Players(tensors["owner"], names)
    x, baseline = tensors["x"], tensors["baseline"]
    large = len(names) > LARGEST_TABLE
    kept, count = ("ends", 2) if large else ("table", 2 ** len(names))
    values = tensors[kept]
    if values.shape != (count,):
        raise ValueError(f"{len(names)} players have no {kept} of shape {tuple(values.shape)}")
    if not values.is_floating_point() or not values.isfinite().all():
        raise ValueError(f"its {kept} holds other things than finite numbers")
    if x.shape != players.owner.shape:
        raise ValueError(f"players of shape {tuple(players.owner.shape)} on {tuple(x.shape)}")
    probability = words["probability"]
    return Entry(
        number=int(words["number"]),
        title=str(words["title"]),
        prediction=str(words["prediction"]),
        probability=None if probability is None else float(probability),
        truth=None if words["truth"] is None else str(words["truth"]),
        target=int(words["target"]),
        score=str(words["score"]),
        players=players,
        view=_view(words["view"], tensors),
        x=x,
        baseline=baseline,
        table=None if large else values,
        ends=values if large else None,
        rows={str(part): int(count) for part, count in words.get("rows", {}).items()},
    )


def _view_words(view: View) -> dict[str, Any]:
    if isinstance(view, TextView):
        return {"kind": "text", "pieces": view.pieces}
    if isinstance(view, TableView):
        return {"kind": "table", "present": view.present, "absent": view.absent}
    return {"kind": "image"}


def _view(words: dict[str, Any], tensors: dict[str, Tensor]) -> View:
    if words["kind"] == "text":
        return TextView(tuple(map(str, words["pieces"])))
    if words["kind"] == "table":
        return TableView(tuple(map(str, words["present"])), tuple(map(str, words["absent"])))
    pixels = tensors["pixels"]
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise ValueError(f"a picture of shape {tuple(pixels.shape)} and {pixels.dtype}")
    return ImageView(pixels)
