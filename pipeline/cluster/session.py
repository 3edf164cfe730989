"""A Ray session for the duration of a block: started on this machine, or joined."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.cluster.local_ray import session_parent, started_here
from pipeline.cluster.ray_compat import QUIET_VARIABLES, SESSION_VARIABLES, SUBMITTED_JOB, start_ray
from pipeline.errors import QpertError, first_line

_OF_BUCKETS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")


@contextmanager
def ray_session(
    address: str | None = None, *, cpus: int | None = None, verbose: bool = False, modules: Sequence[str] = ()
) -> Iterator[bool]:
    """Provides a Ray session, and yields whether it is ours and ends with the block.

    An existing session of this process is used and left running. Otherwise, this joins the cluster that `address` or
    the variable RAY_ADDRESS names (`ray job submit` sets it), or else starts Ray here and stops it afterwards.

    Args:
        address: address of a cluster; "auto" for the one on this machine.
        cpus: CPU cores of a session started here, None for all; at least two are declared to Ray.
        verbose: show Ray's own messages and those that workers print.
        modules: what the block will import; it is imported while Ray's processes start.

    Raises:
        QpertError: Ray does not start, or the cluster cannot be joined.
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
    importing = threading.Thread(target=_import_all, args=(modules,), daemon=True)
    importing.start()
    with session, _stopped_by_sigterm():
        importing.join()
        yield True


def _import_all(modules: Sequence[str]) -> None:
    with suppress(Exception):  # whoever needs the module imports it again, and gets the error
        for module in modules:
            importlib.import_module(module)


def check_session(address: str | None) -> None:
    """Finds, without Ray, problems that would make `ray_session` fail later.

    Raises:
        QpertError: the address is wrong, or no folder can hold a session's files.
    """
    if named_cluster(address) is None:
        session_parent()


def is_local(address: str | None) -> bool:
    """Whether a session is to be started on this machine, and no cluster joined; see `named_cluster`. Asks nobody."""
    return _wanted(address) in ("", "local")


def named_cluster(address: str | None) -> str | None:
    """The cluster to join: `address`, or RAY_ADDRESS; None if a session is to be started here.

    Raises:
        QpertError: this is not the address of a cluster, or nothing answers there.
    """
    if is_local(address):
        return None
    cluster = _wanted(address)
    where = "--address" if address else "RAY_ADDRESS"
    if cluster.startswith(("http://", "https://")):
        raise QpertError(
            f"{where}={cluster} is the address of a dashboard, which takes jobs: ray job submit --address {cluster} --"
            " qpert ...; to join a cluster, give HOST:6379, ray://HOST:10001 or auto; without one, Ray is started here"
            + ("" if address else ": unset RAY_ADDRESS")
        )
    _check_reachable(cluster, where)
    return cluster


def has_session(address: str | None) -> bool:
    """Whether a cluster is named or already joined. Does not import Ray to find out: that takes seconds."""
    if address or os.environ.get("RAY_ADDRESS"):
        return True
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _wanted(address: str | None) -> str:
    return (address or os.environ.get("RAY_ADDRESS") or "").strip()


@contextmanager
def _joined(cluster: str, quiet: dict[str, Any]) -> Iterator[None]:
    import ray

    try:
        start_ray(address=cluster, runtime_env=_packages(), **quiet)
    except Exception as error:  # some errors of Ray are bare Exceptions
        ray.shutdown()
        if cluster == "auto" and isinstance(error, ConnectionError):
            raise QpertError(
                "no Ray cluster runs on this machine, which auto asks for (--address, RAY_ADDRESS); without an address,"
                " Ray is started here"
            ) from error
        raise QpertError(f"cannot join the Ray cluster {cluster}: {first_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM, which batch schedulers send, end the run as Ctrl-C does; Ray's own handler dumps a stack."""
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
    """Fails at once if nothing answers at `address`, HOST:PORT or ray://HOST:PORT; Ray takes minutes to notice."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto" or "://" in host:
        return  # Ray and its extensions resolve these
    if not host or not port.isdecimal():
        raise QpertError(f"{where}={address} is not the address of a Ray cluster: HOST:PORT, ray://HOST:PORT or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        hint = "" if where == "--address" else "; unset RAY_ADDRESS if that cluster is gone"
        raise QpertError(f"cannot join the Ray cluster {address}: {reason}{hint}") from error


def _packages() -> dict[str, Any] | None:
    """The runtime environment of a driver that joins a cluster: our two packages, whatever the nodes have installed.

    And where its buckets are, but no keys: Ray shows these variables on its dashboard, and nodes have their own keys.
    None for a submitted job, which brings its working directory.
    """
    if SUBMITTED_JOB in os.environ:
        return None
    root = Path(__file__).parents[2]
    variables = {name: os.environ[name] for name in _OF_BUCKETS if os.environ.get(name)}
    return {"py_modules": [str(root / "pipeline"), str(root / "jobs")], "env_vars": variables}
