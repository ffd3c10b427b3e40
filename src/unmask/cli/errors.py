"""Errors as one line, and what they mean for the exit code."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import typer

UNEXPLAINED, BAD_INPUT, INTERRUPTED = 1, 2, 130
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


DEBUG: ContextVar[bool] = ContextVar("DEBUG", default=False)
"""Whether tracebacks are wanted."""


@contextmanager
def told() -> Iterator[None]:
    """Turn an error into one line and an exit code, unless --debug asks for the traceback."""
    try:
        yield
    except KeyboardInterrupt:
        told_as_line("Interrupted. What is finished is kept: the same command goes on from here.")
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except Exception as error:
        if DEBUG.get():
            raise
        told_as_line(_line(error))
        raise typer.Exit(_code(error)) from None


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"'{error.filename}' cannot be used: {error.strerror}. {_advice(error)}"
    if isinstance(error, OSError) and text.startswith("[Errno"):
        return f"The output could not be written: {error.strerror}. {_advice(error)}"
    if isinstance(error, ValueError | TypeError | OSError) and text:
        return text
    return (
        f"Something unexpected went wrong: {type(error).__name__}: {text or 'no reason given'}. "
        "Repeat the command with --debug to see where."
    )


def _advice(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Choose another one, or change its permissions."
    if error.errno in _NO_ROOM:
        return "Free some space, or write to another disk."
    return "Check the path."


def _code(error: Exception) -> int:
    if isinstance(error, OSError):
        return UNEXPLAINED if error.errno in _NO_ROOM else BAD_INPUT
    return BAD_INPUT if isinstance(error, ValueError | TypeError) else UNEXPLAINED


def told_as_line(line: str) -> None:
    """Write one line to stderr.

    Args:
        line: what to say.
    """
    print(f"unmask: {printable(line)}", file=sys.stderr)


def printable(text: str) -> str:
    """A text without signs that would steer the terminal."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in text)
