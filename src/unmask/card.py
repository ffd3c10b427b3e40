"""A card says of a method what its function cannot: the papers it follows, the axioms it keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

AXIOMS = ("completeness", "dummy", "symmetry", "linearity", "matching")

Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True)
class Card:
    """One method.

    Args:
        call: the function or class.
        papers: keys of references.bib, the source of the formula first.
        axioms: what it promises, each tested; from AXIOMS.
    """

    call: Callable[..., Any]
    papers: tuple[str, ...]
    axioms: tuple[str, ...]


CARDS: dict[str, Card] = {}
"""Every method imported so far, by name. Written on import, read by the catalogue."""


def method(*papers: str, axioms: tuple[str, ...] = ()) -> Callable[[Method], Method]:
    """Enter a function in the catalogue and return it unchanged."""
    unknown = set(axioms) - set(AXIOMS)
    if unknown:
        raise ValueError(
            f"{sorted(unknown)[0]!r} is not an axiom that can be tested. "
            f"Choose from {', '.join(AXIOMS)}."
        )

    def enter(call: Method) -> Method:
        CARDS[call.__name__] = Card(call, papers, axioms)
        return call

    return enter
