"""Addresses of stores, such as s3://bucket/run, told from paths."""

import os
import re

_ADDRESS = re.compile(r"(?!(?:file|local):)([a-z][a-z0-9+.-]+):/+(.*)", re.DOTALL)
"""Also one that has been taken for a path, in which two slashes are one."""


def address(path: "str | os.PathLike[str]") -> str | None:
    """The address that was meant, also where it was taken for a path; None of a path.

    Args:
        path: what a user gave.

    >>> address("s3:/bucket/run"), address("runs/a")
    ('s3://bucket/run', None)
    """
    found = _ADDRESS.fullmatch(os.fspath(path))
    return None if found is None else f"{found[1]}://{found[2]}"


def refuse_address(path: "str | os.PathLike[str]") -> None:
    """Refuse an address where a file or a folder of this machine is wanted.

    Args:
        path: what a user gave.
    """
    meant = address(path)
    if meant is not None:
        raise ValueError(
            f"'{meant}' is an address, and this is kept on a disk only. Give a path; what goes to "
            "a store is a run of `unmask run` or `unmask explain` as a whole, and the tables of a "
            "plan that names a store."
        )
