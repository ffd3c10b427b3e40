"""The same work on a Ray cluster: on several cores, GPUs or machines."""

import io
import os
import platform
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeGuard

import torch
from torch import Tensor

from unmask.run.engine import Answer, Engine, Insured, Item
from unmask.run.folder import versions
from unmask.run.models.open_model import open_model
from unmask.run.models.opened import Opened
from unmask.run.unshippable import culprit

TRIES = 3
"""How often an item is begun before it is given up, where its process is lost each time."""
_PATIENCE = 10.0
"""Seconds to wait for the head of a cluster to answer."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use the interpreter that runs here
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class OnRay(Engine):
    """Spread items over the workers of a Ray cluster: one per GPU, or per core where it has none.

    Answers come in the order of the items, and are those of a serial run to the last bit where that
    computes with as many threads on machines of the same kind. The work is sent once to every
    worker and stays there. Ray starts a worker anew that is lost, and gives its item to it again;
    an item whose worker is lost three times is given up.

    Workers write into the run folder themselves: what they finished outlives the process that waits
    for them, and nothing is sent twice. So all machines must see that folder under one path, as on
    a shared disk, and have the same packages; they look for the user's modules in the folder and
    along the path of the process that began. Environment variables reach workers of this machine
    only.

    Args:
        address: host:port of the head of a running cluster, or "auto" for the one of this machine;
            None starts one here and ends it afterwards.
        workers: at most so many; None for as many as the cluster has room for.
        threads: that each worker computes with.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(
                    f"A run on Ray needs one of its {name} at least, but got {value}. Give a "
                    "number above 0, or none."
                )

    def map(self, work: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """The answers, in the order of the items.

        Args:
            work: that can be sent to other processes; what it says when an item is lost counts as
                the answer (see `Insured`).
            items: that can be sent too.
        """
        ray = _ray()
        packed = _packed(work)
        listed = list(items)
        with _joined(ray, self.address, self.workers):
            gpus, cores = _places(ray)
            room = gpus or cores
            count = min(room, self.workers or room, len(listed))
            kind = ray.remote(
                num_cpus=0 if gpus else 1,
                num_gpus=1 if gpus else 0,
                max_restarts=-1,
                max_task_retries=TRIES - 1,
            )(_Worker)
            kept = ray.put(packed)
            actors = [kind.remote(os.getcwd(), [*sys.path], self.threads) for _ in range(count)]
            yield from _answers(ray, work, kept, actors, listed)


class _Worker:
    """A process that keeps the work and does it on one item after the other.

    The work comes with every call, as a number that stands for it: one in a list is not looked up
    before it is asked for, which happens once.
    """

    def __init__(self, here: str, path: list[str], threads: int):
        # The work is fetched only later, so that its modules are looked for where the user's are.
        sys.path[:] = [*path, *(one for one in sys.path if one not in path)]
        if os.path.isdir(here):
            os.chdir(here)
        torch.set_num_threads(threads)
        self.work: Any = None

    def greeting(self, kept: list[Any]) -> dict[str, str]:
        """Where this is, and what computes here; fetches the work."""
        self._work(kept)
        return {**versions(), "machine": platform.node()}

    def do(self, kept: list[Any], item: Any) -> "tuple[Any, _Raised | None]":
        """The answer, or what was raised."""
        try:
            return self._work(kept)(item), None
        except Exception as error:
            return None, _Raised.of(error)

    def _work(self, kept: list[Any]) -> Callable[[Any], Any]:
        if self.work is None:
            ray = _ray()
            self.work = ray.cloudpickle.loads(ray.get(kept[0]))
        return self.work


@dataclass(frozen=True)
class _Raised:
    """An error on its way to another process, where some would lose their number."""

    error: Exception
    number: int | None

    @classmethod
    def of(cls, error: Exception) -> "_Raised":
        number = error.errno if isinstance(error, OSError) else None
        trace = "".join(traceback.format_exception(error))
        error = error.with_traceback(None)
        error.__cause__ = None
        try:
            _ray().cloudpickle.loads(_ray().cloudpickle.dumps(error))
        except Exception:  # an error of the user's may hold or ask for anything
            error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(f"Raised by a worker on {platform.node()}:\n{trace}")
        return cls(error, number)

    def again(self) -> Exception:
        if isinstance(self.error, OSError):
            self.error.errno = self.number
        return self.error


def _answers(
    ray: ModuleType,
    work: Callable[[Item], Answer],
    kept: Any,
    actors: list[Any],
    items: list[Item],
) -> Iterator[Answer]:
    """Hand an item to whoever is free, and the answers over in their order.

    At the end workers are let go one by one: a machine may be lost meanwhile, and its worker, which
    holds an item, then finds room.
    """
    going = {actor.greeting.remote([kept]): (-1, actor) for actor in actors}
    actors.clear()
    waiting = iter(range(len(items)))
    found: dict[int, Answer] = {}
    due = 0
    try:
        while due < len(items):
            done = ray.wait([*going], num_returns=1)[0][0]
            number, actor = going[done]
            if number < 0:
                _refuse_others(ray, done)
            else:
                found[number] = _answer(ray, done, work, items[number])
            following = next(waiting, None)
            if following is not None:
                going[actor.do.remote([kept], items[following])] = (following, actor)
            del going[done], actor, done
            while due in found:
                yield found.pop(due)
                due += 1
    finally:
        # Of an error the traceback would keep them, and with them their places in the cluster.
        for _, actor in going.values():
            ray.kill(actor)
        going.clear()


def _answer(ray: ModuleType, done: Any, work: Callable[[Item], Answer], item: Item) -> Answer:
    try:
        answer, raised = ray.get(done)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        reason = (
            f"The process that worked on this was lost {TRIES} times "
            f"({type(error).__name__}): it was killed, ran out of memory, or its machine went "
            "away. Give workers more memory, or try it by itself without a cluster."
        )
        if isinstance(work, Insured):
            return work.lost(item, reason)
        raise RuntimeError(reason) from error
    if raised is not None:
        raise raised.again()
    return answer


def _refuse_others(ray: ModuleType, greeting: Any) -> None:
    """Numbers of several versions must not stand in one run."""
    try:
        there = ray.get(greeting)
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if "Error: " in line]
        reason = lines[-1] if lines else type(error).__name__
        raise ValueError(
            f"A worker of the cluster could not begin: {reason}. Install the same packages on all "
            "of its machines, in the same environment as here, and put the module of the model "
            "where they find it too."
        ) from error
    here = versions()
    differ = [
        f"{name} {there.get(name)} instead of {one}"
        for name, one in here.items()
        if there.get(name) != one
    ]
    if differ:
        raise ValueError(
            f"The worker on {there['machine']} computes with {', '.join(differ)}. Install the same "
            "versions on all machines, so that the numbers of one run are of one making."
        )


@contextmanager
def _joined(ray: ModuleType, address: str | None, workers: int | None) -> Iterator[None]:
    """Join a cluster, or begin one; one that the process is part of already is left as it is."""
    if ray.is_initialized():
        at = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", at):
            raise ValueError(
                f"This process is part of the cluster at {at} already, but the run is to go to "
                f"{address}. Leave the address out, or call ray.shutdown() before."
            )
        yield
        return
    if address is not None:
        _refuse_silent(address)
    own = {"include_dashboard": False, "num_cpus": workers} if address is None else {}
    with _undone(_QUIET):
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                configure_logging=True,
                logging_level="ERROR",
                **own,
            )
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            if address is None:
                raise ValueError(
                    f"Ray could not begin a cluster on this machine: {reason}. Leave out --on ray, "
                    "or give --address of one that runs."
                ) from error
            raise _absent(address, reason) from error
        try:
            yield
        finally:
            ray.shutdown()


def _refuse_silent(address: str) -> None:
    """Ray would wait for a minute before it says that nobody is there."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not (colon and host and port.isdecimal()):
        raise ValueError(
            f"{address!r} is no address of a cluster. Give host:port of its head, as `ray start "
            '--head` tells it, or "auto".'
        )
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _absent(address, str(error)) from error


def _absent(address: str, reason: str) -> ValueError:
    return ValueError(
        f"There is no Ray cluster at {address!r} ({reason}). Start one with `ray start --head`, "
        "or leave the address out: one is then started on this machine."
    )


@contextmanager
def _undone(settings: dict[str, str]) -> Iterator[None]:
    """Settings of the environment, and what Ray does on signals, are put back in the end."""
    before = {name: os.environ.get(name) for name in settings}
    ends = signal.getsignal(signal.SIGTERM)
    os.environ.update({name: one for name, one in settings.items() if before[name] is None})
    try:
        yield
    finally:
        for name, one in before.items():
            if one is None:
                os.environ.pop(name, None)
        if threading.current_thread() is threading.main_thread():
            with suppress(TypeError):  # a handler that was not set from Python
                signal.signal(signal.SIGTERM, ends)


def _places(ray: ModuleType) -> tuple[int, int]:
    """The GPUs of a cluster, and its cores."""
    there = ray.cluster_resources()
    gpus, cores = int(there.get("GPU", 0)), int(there.get("CPU", 0))
    if not gpus and not cores:
        raise ValueError(
            f"The cluster has no room for a worker: it offers {there}. Start it with processors, "
            "or with GPUs."
        )
    return gpus, cores


def _packed(thing: object) -> bytes:
    """A thing as bytes, from which only processes of this run make it again."""
    try:
        return _pickled(thing)
    except Exception as error:
        path, part = culprit(thing, _pickled)
        raise ValueError(
            f"The work cannot be sent to other processes: {path} is a {part}, which cannot leave "
            f"this one ({error}). Make it where it is first used, leave it out of what "
            "`__getstate__` returns, or run without a cluster."
        ) from error


def _pickled(thing: object) -> bytes:
    cloudpickle = _ray().cloudpickle

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            if _part_of_more(obj):
                # A row would take the whole table along, and every other row once more.
                alone = obj.detach().clone().requires_grad_(obj.requires_grad)
                return alone.__reduce_ex__(5)
            if isinstance(obj, Opened) and obj.source is not None:
                return _again, (obj.source, obj.digest)
            return super().reducer_override(obj)

    file = io.BytesIO()
    Pickler(file, protocol=5).dump(thing)
    return file.getvalue()


def _part_of_more(thing: object) -> TypeGuard[Tensor]:
    return (
        type(thing) is Tensor
        and thing.layout is torch.strided
        and not thing.is_quantized
        and thing.device.type != "meta"
        and thing.untyped_storage().nbytes() > thing.nbytes
    )


def _again(source: str, digest: str) -> Opened:
    """The model of a file that every machine sees, which must be the same everywhere."""
    opened = open_model(source)
    if opened.digest != digest:
        raise ValueError(
            f"The model '{source}' is another one on {platform.node()}: the hashes differ. Put it "
            "on a disk that all machines share."
        )
    return opened


def _ray() -> ModuleType:
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError(
            "A run on a cluster needs the package ray, which is not installed. Install it with: "
            "pip install 'unmask[ray]'."
        ) from None
    return ray
