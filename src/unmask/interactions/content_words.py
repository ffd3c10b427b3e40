"""The words of a text that say something by themselves, as players."""

from collections import Counter
from collections.abc import Sequence

import torch

from unmask.players import Players, words

_STOP = """
a an the this that these those it its it's he his him himself she her hers herself they their
theirs them themselves we our ours us you your yours i my mine me myself who whom whose which what
where when why how there here is are was were be been being am isn't aren't wasn't weren't have has
had having do does did don't doesn't didn't will would can could may might shall should must won't
can't couldn't shouldn't of in on at to from by with without for into onto upon as about over under
above below between through during before after again against further once and or nor but if than
then so such because while until up down out off all some any both each few more most other no not
only own same too very just also s t d m o y ve re ll
"""
STOP_WORDS = frozenset(_STOP.split())
"""English words that say little by themselves."""

SPACES = (" ", "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}", "\N{LOWER ONE EIGHTH BLOCK}", "\n")
"""What the first piece of a word begins with: a space, or the sign that a tokeniser has for it."""


def content_words(
    pieces: Sequence[str],
    *,
    most: int = 10,
    width: int | None = None,
    generator: torch.Generator | None = None,
) -> Players:
    """Words of a text as players, leaving out stop words, numbers, letters and punctuation.

    All pieces of a word, and the punctuation that is written onto it, are hidden together. A word
    begins with the first piece and wherever a piece begins with a space. What is no player is never
    hidden. Where more words than `most` are left some are drawn at random; they keep their order.

    Args:
        pieces: the text of each token, with its spaces; of tokens that are no text, nothing.
        most: players at most.
        width: of the embeddings, if these are the input.
        generator: source of the draws.

    >>> content_words((" The", " drag", "on", " ate", " 3", " of", " the", " kings", ".")).names
    ('dragon', 'ate', 'kings')
    """
    if most < 1:
        raise ValueError(f"At most {most} players is none. Give a number of at least 1.")
    groups, spelt = _words(pieces)
    chosen = [i for i, word in enumerate(spelt) if speaks(word)]
    if not chosen:
        raise ValueError(
            f"None of the words of {''.join(pieces)!r} says anything by itself. Choose the players "
            "with unmask.words or unmask.tokens."
        )
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    drawn = torch.randperm(len(chosen), generator=generator, device=generator.device)[:most]
    kept = {chosen[i] for i in drawn.tolist()}
    names = _distinct([_bare(spelt[i]) for i in sorted(kept)])
    return words([group if group in kept else None for group in groups], names, width)


def speaks(word: str) -> bool:
    """Whether a word says something by itself: no stop word, number or single letter.

    Args:
        word: with or without spaces and punctuation around it.
    """
    bare = _bare(word).lower()
    letters = sum(letter.isalpha() for letter in bare)
    return letters > 1 and bare not in STOP_WORDS


def _words(pieces: Sequence[str]) -> tuple[list[int | None], list[str]]:
    """The word of each piece, and how the words read."""
    groups: list[int | None] = []
    spelt: list[str] = []
    for piece in pieces:
        if not piece:
            groups.append(None)
            continue
        if not spelt or piece.startswith(SPACES):
            spelt.append("")
        spelt[-1] += piece
        groups.append(len(spelt) - 1)
    return groups, spelt


def _bare(word: str) -> str:
    """Without the spaces and punctuation around it."""
    inside = [i for i, letter in enumerate(word) if letter.isalnum() and letter not in SPACES]
    return word[inside[0] : inside[-1] + 1] if inside else ""


def _distinct(names: Sequence[str]) -> list[str]:
    """Number the names that occur again."""
    met: Counter[str] = Counter()
    distinct: list[str] = []
    for name in names:
        met[name] += 1
        distinct.append(name if met[name] == 1 else f"{name} ({met[name]})")
    return distinct
