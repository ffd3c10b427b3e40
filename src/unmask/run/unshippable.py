"""Which part of an object keeps the whole from being sent to another process."""

from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from torch import nn

DEEPEST = 40
"""Steps into an object; one that goes deeper is told from there."""


def culprit(thing: object, send: Callable[[object], object]) -> tuple[str, str]:
    """The path to the innermost part that cannot be sent, and what kind of thing that is.

    Args:
        thing: that cannot be sent as a whole.
        send: raises if its argument cannot be sent.

    >>> import pickle
    >>> culprit({"model": [1, (2, lambda: 3)]}, pickle.dumps)
    ('model.1.1', 'function (<lambda>)')
    """
    path: list[str] = []
    seen: set[int] = set()
    while len(path) < DEEPEST and id(thing) not in seen:
        seen.add(id(thing))
        for name, part in _parts(thing):
            if not _goes(part, send):
                path.append(name)
                thing = part
                break
        else:
            break
    return ".".join(path) or "it", _kind(thing)


def _goes(part: object, send: Callable[[object], object]) -> bool:
    try:
        send(part)
    except Exception:  # whatever a class of the user's may raise
        return False
    return True


def _kind(thing: object) -> str:
    kind = type(thing)
    if isinstance(thing, FunctionType):
        return f"function ({thing.__name__})"
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _parts(thing: object) -> Iterator[tuple[str, object]]:
    """What an object is made of, each by the name that a user knows it by."""
    if isinstance(thing, MethodType):
        yield "__self__", thing.__self__
    elif isinstance(thing, FunctionType):
        names = thing.__code__.co_freevars
        for name, cell in zip(names, thing.__closure__ or (), strict=True):
            yield name, cell.cell_contents
        for name in thing.__code__.co_names:
            if name in thing.__globals__:
                yield name, thing.__globals__[name]
    elif isinstance(thing, Mapping):
        yield from ((str(key), value) for key, value in thing.items())
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from ((str(i), value) for i, value in enumerate(thing))
    else:
        yield from _attributes(thing)


def _attributes(thing: object) -> Iterator[tuple[str, Any]]:
    try:
        state = thing.__getstate__()  # what a class says of itself comes before what it holds
    except Exception:
        state = getattr(thing, "__dict__", {})
    for one in state if isinstance(state, tuple) else (state,):
        if not isinstance(one, Mapping):
            continue
        for name, value in one.items():
            if isinstance(thing, nn.Module) and name in ("_modules", "_parameters", "_buffers"):
                yield from value.items()
            else:
                yield str(name), value
