"""An engine spreads work that does not talk to each other."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@runtime_checkable
class Engine(Protocol):
    """Whatever can do the same work on many items."""

    def map(self, work: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """The answers, in the order of the items."""
        ...


@runtime_checkable
class Spreading(Protocol):
    """An engine that works on several items at a time, in processes that take time to begin."""

    def begun(self) -> AbstractContextManager[Engine]:
        """The same with processes that stay until the block ends, whatever it maps."""
        ...


@runtime_checkable
class Insured(Protocol):
    """Work that knows what to say of an item whose process is lost again and again."""

    def lost(self, item: Any, reason: str) -> Any:
        """The answer then.

        Args:
            item: that was to be worked on.
            reason: what is known.
        """
        ...


class Serial:
    """One item after the other, in this process."""

    def map(self, work: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """The built-in map."""
        return map(work, items)
