"""Work for other processes, that leaves a trace of what was done where."""

import errno
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Errand:
    """Squares numbers, and writes down which and in which process."""

    log: Path
    pauses: tuple[float, ...] = ()

    def __setstate__(self, state):
        self.__dict__.update(state)
        with (self.log.parent / "shipped").open("a") as file:
            file.write(f"{os.getpid()}\n")

    def __call__(self, number):
        with self.log.open("a") as file:
            file.write(f"{number}\n")
        if self.pauses:
            time.sleep(self.pauses[number])
        return number * number


@dataclass
class Deadly(Errand):
    """Takes its process along at one number, so often."""

    at: int = 3
    times: int = 1

    def __call__(self, number):
        if number == self.at:
            with self.log.open("a") as file:
                file.write(f"{number}\n")
            deaths = self.log.read_text().split().count(str(number))
            if deaths <= self.times:
                os.kill(os.getpid(), signal.SIGKILL)
            return number * number
        return super().__call__(number)


@dataclass
class InsuredDeadly(Deadly):
    """Knows what to say when it is lost."""

    def lost(self, item, reason):
        return f"{item}: {reason}"


class OddError(Exception):
    """An error that cannot be made again from what it says."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def fails(number):
    """Errors of several kinds."""
    if number == 1:
        raise ValueError("one is too many. Give another.")
    if number == 2:
        error = OSError("out could not be written: No space left on device. Free some space.")
        error.errno = errno.ENOSPC
        raise error
    if number == 3:
        raise OddError("this", "that")
    return number


@dataclass
class Clutching:
    """Holds what cannot be sent."""

    parts: dict = field(default_factory=lambda: {"a": 1, "b": [2, threading.Lock()]})

    def __call__(self, number):
        return number
