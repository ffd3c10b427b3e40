"""One process at a time in a run folder."""

import errno
import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from unmask.store.addresses import refuse_address
from unmask.store.whole import ADVICE

LOCK = ".lock"
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems say that know no locks, as some that are mounted from a store do."""


_HERE: dict[Path, tuple[ExitStack, set[int]]] = {}
"""Folders that this process holds, and the numbers of those in it that do."""


class Hold:
    """A folder that other processes are kept out of until it is let go, or nobody has this any
    more. In one process several may hold the same.

    Args:
        folder: in which one process at a time may write.
    """

    def __init__(self, folder: Path):
        place = folder.resolve()
        if place not in _HERE:
            ends = ExitStack()
            ends.enter_context(locked(place))
            _HERE[place] = ends, set()
        _HERE[place][1].add(id(self))
        self.let_go = weakref.finalize(self, _let_go, place, id(self), os.getpid())


def _let_go(place: Path, holder: int, process: int) -> None:
    if os.getpid() != process:  # a copy of the process that held it, as data loaders are
        return
    ends, holders = _HERE[place]
    holders.discard(holder)
    if not holders:
        del _HERE[place]
        ends.close()


@contextmanager
def locked(folder: Path, called: str | None = None) -> Iterator[None]:
    """Keep other processes out of a folder while a block runs, also those of other machines.

    The system holds the lock and takes it back when a process ends, however it ends: a lock never
    goes stale. Where a file system knows no locks, the file itself is one; left behind by a process
    of this machine that is gone, it is taken over, and that of another machine is told.

    The folder is made if it is not there, and removed again if nothing came to lie in it.

    Args:
        folder: in which one process at a time may write.
        called: what the user knows it as, if not by its path.
    """
    refuse_address(folder)
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = _taken(folder / LOCK, called or str(folder))
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            yield
        finally:
            # Removed while it is still held: see `_taken` for who opened it just before.
            (folder / LOCK).unlink(missing_ok=True)
            os.close(handle)
    finally:
        with suppress(OSError):
            for one in made:
                one.rmdir()


def _taken(file: Path, called: str) -> int:
    """The handle of the file, which holds the lock for as long as it is open."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
            if _stands(handle, file):
                _sign(handle, file)
                return handle
        except BlockingIOError:
            owner = _read(handle)
            os.close(handle)
            raise _refused(called, owner) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _sign(handle: int, file: Path) -> None:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} {socket.gethostname()} {now}\n".encode(), 0)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _lock(handle: int) -> None:
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows, where runs are not kept apart
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        owner = _read(handle)
        if owner and not _gone(owner):
            raise BlockingIOError from error


def _read(handle: int) -> str:
    return os.pread(handle, 1000, 0).decode(errors="replace")


def _stands(handle: int, file: Path) -> bool:
    """Whether the file is still there: whoever held it may have removed it since it was opened."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _gone(owner: str) -> bool:
    """Whether a process of this machine wrote that and is no more."""
    words = owner.split()
    if len(words) < 2 or words[1] != socket.gethostname() or not words[0].isdecimal():
        return False
    try:
        os.kill(int(words[0]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _refused(called: str, owner: str) -> ValueError:
    words = owner.split()
    who = f"process {words[0]} on {words[1]}, since {words[2]}" if len(words) == 3 else "unnamed"
    return ValueError(
        f"Another process is at work in '{called}' ({who}). Wait until it is done, stop it, "
        "or choose another folder with --out."
    )


def _unwritable(folder: Path, error: OSError) -> OSError:
    reason = os.strerror(error.errno or 0)
    advice = ADVICE.get(error.errno or 0, "Check the path.")
    told = OSError(f"Nothing can be written in '{folder}': {reason}. {advice}")
    told.errno = error.errno
    return told
