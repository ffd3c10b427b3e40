"""A text as a model reads it: token ids, and the words that a person sees in them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]+")


@dataclass(frozen=True)
class Sentence:
    """One text, cut into tokens.

    Args:
        ids: the tokens.
        pieces: the text of each token, with the spaces that belong to it.
        words: the word of each token, counted from 0; -1 for tokens that belong to none.
        names: the words.
    """

    ids: Int[Tensor, " tokens"]
    pieces: tuple[str, ...]
    words: tuple[int, ...]
    names: tuple[str, ...]


def in_words(text: str, ids: Int[Tensor, " tokens"], spans: Sequence[tuple[int, int]]) -> Sentence:
    """Gather tokens into words by where they stand in the text.

    A token belongs to the word in which its first letter lies; so a token that spans two words
    counts to the first, and a word without a token of its own is none. Tokens that cover no text,
    such as those that begin and end a sentence, belong to no word.

    Args:
        text: the text.
        ids: its tokens.
        spans: where in the text each token begins and ends; equal for added tokens.
    """
    found = list(_WORD.finditer(text))
    word_at = {k: w for w, match in enumerate(found) for k in range(*match.span())}
    raw: list[int] = []
    pieces: list[str] = []
    last = 0
    for start, end in spans:
        inside = [word_at[k] for k in range(start, end) if k in word_at]
        raw.append(inside[0] if inside else -1)
        end = max(end, last) if start < end else last  # bytes of one letter share its span
        pieces.append(text[last:end])
        last = end
    present = list(dict.fromkeys(word for word in raw if word >= 0))
    place = {word: i for i, word in enumerate(present)}
    return Sentence(
        ids,
        tuple(pieces),
        tuple(place.get(word, -1) for word in raw),
        distinct([found[word].group() for word in present]),
    )


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Number the names that occur again: the, cat, the (2)."""
    met: Counter[str] = Counter()
    numbered = []
    for name in names:
        met[name] += 1
        numbered.append(name if met[name] == 1 else f"{name} ({met[name]})")
    return tuple(numbered)
