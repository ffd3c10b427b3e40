"""The table of a large game, part by part: each is kept as soon as it is there."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from unmask.game import LARGEST_TABLE, Game
from unmask.masking import Everything
from unmask.store import written

PARTS = "parts"
"""The folder of an input in which the parts of its table lie."""
_VALUES = "values"


@dataclass(frozen=True)
class LargeTable:
    """The parts of a table, which several processes may compute. They lie in a folder until the
    table is kept as a whole, so that a run that was killed goes on in the middle of it.

    Args:
        game: that a model plays.
        everything: its values.
        place: the folder.
        parts: how many.
    """

    game: Game
    everything: Everything
    place: Path
    parts: int

    @classmethod
    def of(cls, game: Game, place: Path) -> "LargeTable | None":
        """The parts of the table of a game; None where it is computed as a whole.

        Args:
            game: of any size.
            place: the folder that its parts are kept in.
        """
        everything = game.everything
        if len(game.names) > LARGEST_TABLE or not isinstance(everything, Everything):
            return None
        parts = everything.parts()
        return cls(game, everything, place, parts) if parts > 1 else None

    def lacking(self) -> tuple[int, ...]:
        """The parts that are still to be computed."""
        return tuple(part for part in range(self.parts) if not self._file(part).exists())

    def values(self, part: int) -> Float[Tensor, " coalitions"]:
        """Those of a part, computed now.

        Args:
            part: its number, from 0 on.
        """
        return self.everything.part(part)

    def keep(self, part: int, values: Float[Tensor, " coalitions"]) -> None:
        """Keep the values of a part.

        Args:
            part: its number.
            values: of its coalitions.
        """
        from safetensors.torch import save

        with written(self._file(part)) as draft:
            draft.write_bytes(save({_VALUES: values.cpu().contiguous()}))

    def table(self) -> Float[Tensor, " coalitions"]:
        """The whole; what is lacking of it is computed. Where that fails, nothing is kept."""
        try:
            parts = [self._part(part) for part in range(self.parts)]
            return replace(self.game, everything=lambda: self.everything.joined(parts)).table()
        except Exception:
            remove_parts(self.place)
            raise

    def _part(self, part: int) -> Float[Tensor, " coalitions"]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(self._file(part).read_bytes())[_VALUES]
        except (OSError, SafetensorError, KeyError):  # whatever is no sound part is made anew
            values = self.values(part)
        self.keep(part, values)
        return values

    def _file(self, part: int) -> Path:
        return self.place / f"{part:03d}.safetensors"


def remove_parts(place: Path) -> None:
    """Remove the parts of a table, once it is kept as a whole.

    Args:
        place: the folder that they were kept in.
    """
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)


class Tabulator:
    """Computes parts of the tables of large games, those of one input by several processes.

    What it fails on is left to whoever puts the table together, who fails on it too, and says so.
    """

    def __init__(self, tables: Callable[[int], LargeTable | None]):
        self.tables = tables
        self.number = -1
        self.table: LargeTable | None = None

    def __call__(self, item: tuple[int, int]) -> None:
        """Compute and keep a part.

        Args:
            item: the number of an input, and of a part of its table.
        """
        number, part = item
        try:
            if number != self.number:
                self.number, self.table = number, self.tables(number)
            values = None if self.table is None else self.table.values(part)
        except Exception:  # whatever a model of the user's may raise
            return
        if self.table is not None and values is not None:
            self.table.keep(part, values)

    def lost(self, item: tuple[int, int], reason: str) -> None:
        """What to say of a part whose process is lost again and again: nothing yet.

        Args:
            item: the part.
            reason: what is known.
        """
