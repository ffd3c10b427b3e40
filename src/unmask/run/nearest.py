"""The name that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, words: Iterable[str]) -> str:
    """A sentence part that helps someone who mistyped a name: the closest ones, or all of them."""
    known = sorted(words)
    close = get_close_matches(word, known, n=3, cutoff=0.5)
    if len(close) == 1:
        return f"The nearest name is {close[0]!r}."
    if close:
        return f"The nearest names are {', '.join(map(repr, close))}."
    if len(known) > 12:
        return f"No name is near it; among them are {', '.join(map(repr, known[:6]))}."
    return f"Choose from {', '.join(map(repr, known))}." if known else "It takes none."
