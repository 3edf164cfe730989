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

from pipeline.cluster.local_ray import session_parent, started_here
from pipeline.cluster.ray_compat import QUIET_VARIABLES, SESSION_VARIABLES, SUBMITTED_JOB
from pipeline.errors import QpertError, first_line


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
    for name, value in (SESSION_VARIABLES if verbose else SESSION_VARIABLES | QUIET_VARIABLES).items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield False
        return
    quiet: dict[str, Any] = {} if verbose else {"logging_level": logging.ERROR, "log_to_driver": False}
    cluster = named_cluster(address)
    session = _joined(cluster, quiet) if cluster else started_here(cpus, quiet, keep_files=verbose)
    with session, _stopped_by_sigterm():
        yield True


def check_session(address: str | None) -> None:
    """Say at the start what would keep `ray_session` from a session, as far as that shows without Ray.

    Raises:
        QpertError: the address is wrong, or there is no folder for a session's files.
    """
    if named_cluster(address) is None:
        session_parent()


def named_cluster(address: str | None) -> str | None:
    """The cluster to join: `address`, or RAY_ADDRESS; None where a session is to be started here.

    Raises:
        QpertError: it is no address of a cluster, or nothing answers there.
    """
    cluster = (address or os.environ.get("RAY_ADDRESS") or "").strip()
    if not cluster or cluster == "local":
        return None
    where = "--address" if address else "RAY_ADDRESS"
    if cluster.startswith(("http://", "https://")):
        raise QpertError(
            f"{where}={cluster} is the address of a dashboard, which takes jobs: ray job submit --address {cluster} --"
            " qpert ...; a cluster is joined by HOST:6379, ray://HOST:10001 or auto. Without one, Ray is started here"
            + ("" if address else ": unset RAY_ADDRESS")
        )
    _check_reachable(cluster, where)
    return cluster


@contextmanager
def _joined(cluster: str, quiet: dict[str, Any]) -> Iterator[None]:
    import ray

    try:
        ray.init(address=cluster, runtime_env=_packages(), **quiet)
    except Exception as error:  # Ray raises bare Exceptions here, too
        ray.shutdown()
        if cluster == "auto" and isinstance(error, ConnectionError):
            raise QpertError(
                "no Ray cluster runs on this machine, which auto asks for (--address, RAY_ADDRESS); leave it out, and"
                " Ray is started"
            ) from error
        raise QpertError(f"cannot join the Ray cluster {cluster}: {first_line(error)}") from error
    try:
        yield
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


def _check_reachable(address: str, where: str) -> None:
    """Say at once what Ray says after minutes: that nothing answers at `address` (HOST:PORT, with or without ray://)."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto" or "://" in host:
        return  # Ray knows, and so do its extensions of their schemes
    if not host or not port.isdecimal():
        raise QpertError(f"{where}={address} is no address of a Ray cluster: HOST:PORT, ray://HOST:PORT or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        hint = "" if where == "--address" else "; unset RAY_ADDRESS if that cluster is gone"
        raise QpertError(f"cannot join the Ray cluster {address}: {reason}{hint}") from error


def _packages() -> dict[str, Any] | None:
    """The runtime environment of a driver that joins a cluster: these two packages, whatever the nodes have.

    A submitted job has its working directory already.
    """
    if SUBMITTED_JOB in os.environ:
        return None
    root = Path(__file__).parents[2]
    return {"py_modules": [str(root / "pipeline"), str(root / "jobs")]}
