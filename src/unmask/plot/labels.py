"""Names of players and terms as lines to read. They are broken where needed, and never cut."""

import unicodedata
from collections.abc import Sequence


def clean(name: str) -> str:
    """A name on one line: other white space becomes a blank, what cannot be seen a mark."""
    shown = " ".join(name.split())
    if not shown:
        return "\N{OPEN BOX}" if name else "(no name)"
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown
    )


def term(members: Sequence[str], is_or: bool, width: int = 42) -> str:
    """A term as it reads: "radius AND texture", "wing OR tail".

    Args:
        members: the names of its players.
        is_or: whether any of them is enough.
        width: letters on a line.
    """
    if not members:
        return "(never)" if is_or else "(always)"
    word = " OR" if is_or else " AND"
    names = [clean(name) for name in members]
    return lines([name + word for name in names[:-1]] + names[-1:], width)


def wrapped(text: str, width: int = 42) -> str:
    """A text in lines, broken between words and only in need within one.

    Args:
        text: any text.
        width: letters on a line.
    """
    return lines([clean(text)], width)


def lines(pieces: Sequence[str], width: int) -> str:
    """Pieces put on lines, each kept whole where it fits one.

    Args:
        pieces: set with a blank between them.
        width: letters on a line.
    """
    done: list[str] = []
    for piece in pieces:
        units = [piece] if _wide(piece) <= width else _broken(piece, width)
        for unit in units:
            if done and _wide(done[-1]) + 1 + _wide(unit) <= width:
                done[-1] += " " + unit
            else:
                done.append(unit)
    return "\n".join(done)


def _broken(piece: str, width: int) -> list[str]:
    """The words of a piece; a word longer than a line in parts as long as one."""
    units: list[str] = []
    for word in piece.split(" "):
        part = ""
        for letter in word:
            if _wide(part + letter) > width:
                units.append(part)
                part = ""
            part += letter
        units.append(part)
    return units


def _wide(text: str) -> int:
    """Columns that a text takes; East Asian letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
