"""Byte-pair encoding by scores: text to token ids and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Int
from torch import Tensor

BEGIN = 1
"""The id of the token that begins a text."""
BYTES = 3
"""The id of the first of the 256 tokens that stand for a byte each."""


@dataclass(frozen=True)
class Tokenizer:
    """Tokens by id; two neighbours become one token where that token scores highest.

    Args:
        tokens: their texts.
        scores: what decides which pair is joined first.
    """

    tokens: tuple[str, ...]
    scores: tuple[float, ...]

    @cached_property
    def _ids(self) -> dict[str, int]:
        # Later tokens do not replace earlier ones of the same text; bytes are not found by name.
        written = range(BYTES + 256, len(self.tokens))
        return {self.tokens[i]: i for i in reversed(written)}

    def encode(self, text: str) -> Int[Tensor, " tokens"]:
        """The ids of a text, after the token that begins it; a space is put in front."""
        ids: list[int] = []
        for letter in " " + text if text else "":
            if letter in self._ids:
                ids.append(self._ids[letter])
            else:
                ids += [BYTES + byte for byte in letter.encode()]
        while (best := self._best_pair(ids)) is not None:
            i, joined = best
            ids[i : i + 2] = [joined]
        return torch.tensor([BEGIN, *ids])

    def _best_pair(self, ids: Sequence[int]) -> tuple[int, int] | None:
        """Where to join next, and the token that comes of it; the first of equals."""
        pairs = (self.tokens[a] + self.tokens[b] for a, b in pairwise(ids))
        found = [(i, self._ids[pair]) for i, pair in enumerate(pairs) if pair in self._ids]
        return max(found, key=lambda pair: self.scores[pair[1]], default=None)

    def pieces(self, ids: Sequence[int] | Int[Tensor, " tokens"]) -> tuple[str, ...]:
        """The text of each token, with its spaces; of those that are no text, nothing.

        The bytes of one letter all stand at the first of its tokens.
        """
        pieces: list[str] = []
        waiting = b""
        for i in (int(i) for i in ids):
            if BYTES <= i < BYTES + 256:
                pieces.append("")
                waiting += bytes([i - BYTES])
                continue
            pieces = _settled(pieces, waiting)
            waiting = b""
            pieces.append(self.tokens[i] if i >= BYTES else "")
        pieces = _settled(pieces, waiting)
        for i, piece in enumerate(pieces):
            if piece:
                pieces[i] = piece.removeprefix(" ")  # the space that encode put in front
                break
        return tuple(pieces)

    def decode(self, ids: Sequence[int] | Int[Tensor, " tokens"]) -> str:
        """The text of token ids, without the marks at its beginning and end."""
        return "".join(self.pieces(ids))


def _settled(pieces: list[str], waiting: bytes) -> list[str]:
    """Write bytes that came one by one where they began."""
    if not waiting:
        return pieces
    first = len(pieces) - len(waiting)
    return [*pieces[:first], waiting.decode(errors="replace"), *pieces[first + 1 :]]
