"""The same work on a Ray cluster: on several cores, GPUs or machines."""

import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from unmask.run.cluster import joined, places
from unmask.run.engine import Answer, Engine, Insured, Item
from unmask.run.folder import versions
from unmask.run.packed import packed

TRIES = 3
"""How often an item is begun before it is given up, where its process is lost each time."""
_LONG = 30.0
"""Seconds in which nothing is done, after which workers are let go that have nothing to do."""


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
        with self.begun() as crew:
            yield from crew.map(work, items)

    @contextmanager
    def begun(self) -> Iterator[Engine]:
        """The same with workers that stay until the block ends: they take seconds to begin.

        A run does so by itself; do it where several runs follow each other.
        """
        crew = _Crew(_ray(), self)
        try:
            yield crew
        finally:
            crew.end()


class _Crew:
    """Workers that stay, begun as they are needed."""

    def __init__(self, ray: ModuleType, how: OnRay):
        self.ray, self.how = ray, how
        self.ends = ExitStack()
        self.idle: list[Any] = []
        self.coming: dict[Any, tuple[Any, int]] = {}
        """What tells that a worker is ready, the worker, and how often it was asked."""
        self.joined = False

    @contextmanager
    def begun(self) -> Iterator[Engine]:
        """They are begun already, and stay for others."""
        yield self

    def map(self, work: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """Hand an item to whoever is free, and the answers over in their order."""
        ray, listed = self.ray, list(items)
        sent = packed(work, ray.cloudpickle)
        if not listed:
            return
        if not self.joined:
            self.ends.enter_context(joined(ray, self.how.address, self.how.workers))
            self.joined = True
        kept = [ray.put((os.getcwd(), [*sys.path], sent))]
        self._begin(len(listed), kept)
        waiting = iter(range(len(listed)))
        going: dict[Any, tuple[int, Any]] = {}
        found: dict[int, Answer] = {}
        due = 0
        try:
            while due < len(listed):
                while self.idle and (following := next(waiting, None)) is not None:
                    actor = self.idle.pop()
                    going[actor.do.remote(kept, listed[following])] = (following, actor)
                    del actor
                for done in self._done([*going, *self.coming]):
                    if done in self.coming:
                        self._greeted(done, kept)
                    else:
                        number, actor = going.pop(done)
                        self.idle.append(actor)
                        del actor
                        found[number] = _answer(ray, done, work, listed[number])
                while due in found:
                    yield found.pop(due)
                    due += 1
        finally:
            # Of an error the traceback would keep them, and with them their places in the cluster.
            for _, actor in going.values():
                ray.kill(actor)
            going.clear()

    def end(self) -> None:
        """Let all workers go, and leave the cluster."""
        for actor in (*self.idle, *(actor for actor, _ in self.coming.values())):
            self.ray.kill(actor)
        self.idle.clear()
        self.coming.clear()
        self.ends.close()

    def _begin(self, items: int, kept: list[Any]) -> None:
        """Begin as many workers as items need and there is room for."""
        gpus, cores = places(self.ray)
        room = gpus or cores
        count = min(room, self.how.workers or room, items)
        kind = self.ray.remote(
            num_cpus=0 if gpus else 1,
            num_gpus=1 if gpus else 0,
            max_restarts=-1,
            max_task_retries=TRIES - 1,
        )(_Worker)
        for _ in range(count - len(self.idle) - len(self.coming)):
            self._ask(kind.remote(self.how.threads), kept, 1)

    def _ask(self, actor: Any, kept: list[Any], times: int) -> None:
        # Ray would tell of every retry, also where a run ends before all of its workers are there.
        greeting = actor.greeting.options(max_task_retries=0).remote(kept)
        self.coming[greeting] = (actor, times)

    def _greeted(self, done: Any, kept: list[Any]) -> None:
        actor, times = self.coming.pop(done)
        try:
            _refuse_others(self.ray, done)
        except ValueError as error:
            if times == TRIES or not isinstance(error.__cause__, self.ray.exceptions.RayActorError):
                self.coming[done] = (actor, times)  # to be ended with the others
                raise
            self._ask(actor, kept, times + 1)
        else:
            self.idle.append(actor)

    def _done(self, pending: list[Any]) -> list[Any]:
        """Of what is under way that which is done, once something is.

        A machine may be lost meanwhile; its worker, which holds an item, then waits for room. So
        those that have long had nothing to do are let go.
        """
        while True:
            done, _ = self.ray.wait(pending, num_returns=1, timeout=_LONG if self.idle else None)
            if done:
                return done
            for actor in self.idle:
                self.ray.kill(actor)
            self.idle.clear()


class _Worker:
    """A process that keeps the work and does it on one item after the other.

    The work comes with every call, as a number that stands for it: one in a list is not looked up
    before it is asked for, which happens once for each work.
    """

    def __init__(self, threads: int):
        torch.set_num_threads(threads)
        self.work: Any = None
        self.kept: Any = None

    def greeting(self, kept: list[Any]) -> "tuple[dict[str, str], _Raised | None]":
        """Where this is, and what computes here; fetches the work."""
        raised = None
        try:
            self._work(kept)
        except Exception as error:
            raised = _Raised.of(error)
        return {**versions(), "machine": platform.node()}, raised

    def do(self, kept: list[Any], item: Any) -> "tuple[Any, _Raised | None]":
        """The answer, or what was raised."""
        try:
            return self._work(kept)(item), None
        except Exception as error:
            return None, _Raised.of(error)

    def _work(self, kept: list[Any]) -> Callable[[Any], Any]:
        if self.kept != kept[0]:
            ray = _ray()
            self.work, self.kept = None, None  # two at a time may be too many
            here, path, sent = ray.get(kept[0])
            # Modules are looked for where the user's are, and that before the work is unpacked.
            sys.path[:] = [*path, *(one for one in sys.path if one not in path)]
            if os.path.isdir(here):
                os.chdir(here)
            try:
                self.work = ray.cloudpickle.loads(sent)
            except (ImportError, AttributeError) as error:  # a module is absent, or another one
                raise ValueError(_absent(f"{type(error).__name__}: {error}")) from error
            self.kept = kept[0]
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
        there, raised = ray.get(greeting)
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if "Error: " in line]
        raise ValueError(_absent(lines[-1] if lines else type(error).__name__)) from error
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
    if raised is not None:
        raise raised.again()


def _absent(reason: str) -> str:
    return (
        f"A worker of the cluster could not begin: {reason}. Install the same packages on all of "
        "its machines, in the same environment as here, and put the module of the model where they "
        "find it too."
    )


def _ray() -> ModuleType:
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError(
            "A run on a cluster needs the package ray, which is not installed. Install it with: "
            "pip install 'unmask[ray]'."
        ) from None
    return ray
