"""What a decoder keeps of the tokens that it has read, and what it has not computed of others."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class Past:
    """Keys and values of rows of tokens, layer by layer, each in one place that is written over.

    Args:
        rows: at most.
        tokens: of a row at most.
    """

    def __init__(self, rows: int, tokens: int) -> None:
        self.rows, self.tokens = rows, tokens
        self.start = 0
        """How many tokens of each row are kept; what is written next stands behind them."""
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def grown(
        self,
        layer: int,
        keys: Float[Tensor, "rows heads new size"],
        values: Float[Tensor, "rows heads new breadth"],
    ) -> tuple[Float[Tensor, "rows heads tokens size"], Float[Tensor, "rows heads tokens breadth"]]:
        """Those of new tokens behind those that are kept.

        Args:
            layer: its number.
            keys: of the new tokens.
            values: of the new tokens.
        """
        if layer not in self.kept:
            self.kept[layer] = (self._room(keys), self._room(values))
        end = self.start + keys.shape[2]
        all_keys, all_values = (room[: len(keys), :, :end] for room in self.kept[layer])
        all_keys[:, :, self.start :] = keys
        all_values[:, :, self.start :] = values
        return all_keys, all_values

    def so_far(self, layer: int, rows: int, nothing: Tensor) -> tuple[Tensor, Tensor]:
        """What a layer keeps of the first rows.

        Args:
            layer: its number.
            rows: how many.
            nothing: what stands for it where nothing is kept yet.
        """
        if layer not in self.kept:
            return nothing[..., :0], nothing[..., :0]
        keys, values = self.kept[layer]
        return keys[:rows, :, : self.start], values[:rows, :, : self.start]

    def twice(self, rows: int) -> None:
        """Let as many more rows go on from what the first rows have kept.

        Args:
            rows: how many there are.
        """
        for rooms in self.kept.values():
            for room in rooms:
                room[rows : 2 * rows, :, : self.start] = room[:rows, :, : self.start]

    def _room(self, like: Tensor) -> Tensor:
        _, heads, _, size = like.shape
        return like.new_empty(self.rows, heads, self.tokens, size)


class Spread:
    """Some positions of rows, put where they belong among others that are NaN.

    One place is written over, so that not each batch pays for the others.
    """

    def __init__(self) -> None:
        self.room: Tensor | None = None
        self.key: tuple[object, ...] = ()
        self.version = 0

    def __call__(
        self, known: Float[Tensor, "rows some ..."], places: Sequence[int], length: int
    ) -> Float[Tensor, "rows positions ..."]:
        key = (length, *known.shape[2:], tuple(places), known.dtype, known.device)
        room = self.room
        stale = room is None or self.key != key or room._version != self.version
        if room is None or stale or len(room) < len(known):
            room = known.new_full((len(known), length, *known.shape[2:]), torch.nan)
            self.room, self.key = room, key
        room[: len(known), list(places)] = known
        self.version = room._version
        return room[: len(known)]
