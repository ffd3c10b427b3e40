"""Joining a Ray cluster, or beginning one; the package itself is handed over."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

_PATIENCE = 10.0
"""Seconds to wait for the head of a cluster to answer."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use the interpreter that runs here
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def joined(ray: ModuleType, address: str | None, workers: int | None) -> Iterator[None]:
    """Join a cluster, or begin one; one that the process is part of already is left as it is.

    Args:
        ray: the package.
        address: of the head of a cluster, or "auto"; None to begin one here.
        workers: cores of one that is begun.
    """
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
            raise (_absent if address == "auto" else _closed)(address, reason) from error
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


def _closed(address: str, reason: str) -> ValueError:
    return ValueError(
        f"The Ray cluster at {address!r} cannot be joined ({reason}). It may ask for a token: set "
        "RAY_AUTH_MODE=token here, with the token that it was started with where Ray looks for it "
        "(for one of this machine give --address auto, which does so). Or it is of another "
        "version: install the same here."
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


def places(ray: ModuleType) -> tuple[int, int]:
    """The GPUs of a cluster, and its cores.

    Args:
        ray: the package, joined.
    """
    there = ray.cluster_resources()
    gpus, cores = int(there.get("GPU", 0)), int(there.get("CPU", 0))
    if not gpus and not cores:
        raise ValueError(
            f"The cluster has no room for a worker: it offers {there}. Start it with processors, "
            "or with GPUs."
        )
    return gpus, cores
