"""Starting Ray on this machine, or joining a cluster, quietly."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import QpertError

OBJECT_STORE = 2 * 1024**3
"""Object store of a Ray session on this machine, at most: blocks are small, and more would only be set aside."""


@contextmanager
def ray_session(address: str | None = None, *, cpus: int | None = None, verbose: bool = False) -> Iterator[bool]:
    """Ray for the length of a block; whether it is a session of our own, which ends with the block.

    A session that is there already is used and left running. Otherwise a cluster is joined when `address` or the
    variable RAY_ADDRESS names one (`ray job submit` sets it), else Ray is started here and stopped afterwards.

    Args:
        address: of a cluster, "auto" for the one on this machine.
        cpus: of a session started here; None for all cores. Two at least.
        verbose: keep Ray's own messages and those that workers print.

    Raises:
        QpertError: Ray cannot be started, or the cluster not be joined.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # On a busy machine workers are slow to report; Ray would start more of them after a minute, and make it slower.
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")
    # Workers compute; Ray would run them at the lowest priority but four, behind everything else on the machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if not verbose:
        os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
    import ray

    if ray.is_initialized():
        yield False
        return
    quiet: dict[str, Any] = {} if verbose else {"logging_level": logging.ERROR, "log_to_driver": False}
    cluster = address or os.environ.get("RAY_ADDRESS")
    if cluster:
        _check_reachable(cluster)
        options: dict[str, Any] = {"address": address, "runtime_env": _packages()}
    else:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        memory = min(OBJECT_STORE, psutil.virtual_memory().available // 5)
        # Ray Data needs two CPUs to start; they are a matter of book-keeping, so a single core has them too.
        logical = max(2, cpus or os.cpu_count() or 2)
        # "local": else Ray would join any cluster that happens to run on this machine.
        options = {"address": "local", "num_cpus": logical, "include_dashboard": False, "object_store_memory": memory}
    try:
        ray.init(**options, **quiet)
    except Exception as error:  # Ray raises bare Exceptions here, too
        ray.shutdown()
        if cluster:
            raise QpertError(f"cannot join the Ray cluster {cluster}: {error}") from error
        raise QpertError(f"Ray did not start, which happens on a very busy machine; try again ({error})") from error
    with _stopped_by_sigterm():
        try:
            yield True
        finally:
            ray.shutdown()


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, which batch schedulers send, end the run as Ctrl-C does. Ray's own handler would dump a stack."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_reachable(address: str) -> None:
    """Say at once what Ray says after minutes: that nothing answers at `address` (HOST:PORT, with or without ray://)."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and the like: Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise QpertError(f"cannot join the Ray cluster {address}: {error.strerror or error}") from error


def _packages() -> dict[str, Any] | None:
    """The runtime environment of a driver that joins a cluster: these two packages, whatever the nodes have.

    A submitted job has its working directory already.
    """
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return None
    root = Path(__file__).parents[2]
    return {"py_modules": [str(root / "pipeline"), str(root / "jobs")]}
