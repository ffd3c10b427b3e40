"""The words of a text that say something by themselves, as players."""

from collections import Counter
from collections.abc import Sequence

import torch

from unmask.players import Players, words

_LINKS = """
a an the this that these those it its he his him she her they their them we our us you your i
my me one who whom whose which what where when there here is are was were be been being am 's 're
've 'll 'd 'm has have had do does did will would can could may might shall should must of in on at
to from by with for into as about over under between through during and or if than then so such
while up out all some any both each
"""
_MORE = """
it's himself herself hers theirs themselves ours yours mine myself why how isn't aren't wasn't
weren't having don't doesn't didn't won't can't couldn't shouldn't without onto upon above below
before after again against further once nor but because until down off few more most other no not
only own same too very just also s t d m o y re ve ll
"""
LINKS = frozenset(_LINKS.split())
"""English words that hold a sentence together."""
STOP_WORDS = LINKS | frozenset(_MORE.split())
"""English words that say little by themselves, those among them that turn a meaning round too."""

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
    names = distinct([_bare(spelt[i]) for i in sorted(kept)])
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


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Number the names that occur again.

    Args:
        names: in their order.
    """
    met: Counter[str] = Counter()
    numbered: list[str] = []
    for name in names:
        met[name] += 1
        numbered.append(name if met[name] == 1 else f"{name} ({met[name]})")
    return tuple(numbered)
