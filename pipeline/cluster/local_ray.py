"""A Ray session on this machine: on the loopback interface, with files and a token that only this user can read."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from pipeline.cluster.ray_compat import is_slow_start, local_environment, local_folders, on_loopback, start_ray
from pipeline.errors import QpertError, first_line

OBJECT_STORE = 2 * 1024**3
"""Upper limit on the object store, in bytes: blocks are small, and more would sit idle."""
SMALLEST_STORE = 80 * 1024**2
"""Lower limit on the object store, in bytes; Ray refuses less than 75 MiB."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - what Ray itself uses; its files there have no names
TRIES = 3
"""Attempts at starting Ray: it waits half a minute for its own processes, too short on a very busy machine."""
_SOCKET_PATH = 107
"""Longest path of a Unix socket, in bytes."""
_SOCKET_NAME = len("/qp12345678/r/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
_ROOM = 64 * 1024**2
"""Free space needed for logs and sockets, in bytes."""


@contextmanager
def started_here(cpus: int | None, options: Mapping[str, Any], *, keep_files: bool = False) -> Iterator[None]:
    """Starts a Ray session that ends with the block, and deletes its files.

    Args:
        cpus: CPU cores, None for all; at least two are declared to Ray.
        options: further arguments of `ray.init`.
        keep_files: keep the session's folder, with its logs.

    Raises:
        QpertError: there is no room for the session's files or objects, or Ray does not start.
    """
    with _session_folder(keep_files) as folder:
        place, memory = object_store(folder)
        settings = {
            # Without "local", Ray would join any cluster that happens to run on this machine.
            "address": "local",
            # Ray Data needs two CPUs to start; this is only a count, so a single core can pass for two.
            "num_cpus": max(2, cpus or os.cpu_count() or 2),
            "include_dashboard": False,
            "object_store_memory": memory,
            **local_folders(folder, place),
            **options,
        }
        with local_environment():
            _start(settings)
            import ray

            try:
                yield
            finally:
                ray.shutdown()


def object_store(folder: str) -> tuple[str, int]:
    """The folder of the object store and its size in bytes: shared memory, or `folder` if that is too small.

    Containers have 64 MB of shared memory by default. A process that writes to a mapped file on a full disk is killed,
    so no more is asked for than is free.

    Raises:
        QpertError: neither has room.
    """
    wanted = max(SMALLEST_STORE, min(OBJECT_STORE, psutil.virtual_memory().available // 5))
    shared, other = _free(SHARED_MEMORY) * 9 // 10, _free(folder) // 2
    if shared >= min(wanted, 512 * 1024**2):
        return SHARED_MEMORY, min(wanted, shared)
    if other >= SMALLEST_STORE:
        return folder, min(wanted, other)
    if shared >= SMALLEST_STORE:
        return SHARED_MEMORY, shared
    raise QpertError(
        f"no room for Ray's objects: {SHARED_MEMORY} has {_free(SHARED_MEMORY) / 1e6:,.0f} MB free and"
        f" {folder} {_free(folder) / 1e6:,.0f} MB; make room, give a container more shared memory"
        " (--shm-size), or name a folder with room in RAY_TMPDIR"
    )


def session_parent() -> str:
    """The folder in which a session gets its own: RAY_TMPDIR if set, else the first temporary folder that is usable.

    Raises:
        QpertError: no folder is writable, has room, and leaves enough of a socket's path.
    """
    chosen = os.environ.get("RAY_TMPDIR")
    if chosen:
        problem = _unfit(os.path.abspath(chosen))
        if problem:
            raise QpertError(
                f"RAY_TMPDIR={chosen} cannot hold the files of a Ray session: {problem}; name another folder"
            )
        return os.path.abspath(chosen)
    try:
        usual = [tempfile.gettempdir()]
    except OSError:  # none of the usual folders is writable
        usual = []
    problems = {}
    # The session gets a private folder inside one of these, so it does not matter that they are shared.
    for place in dict.fromkeys([*usual, "/tmp", "/var/tmp", SHARED_MEMORY]):  # noqa: S108
        problem = _unfit(place)
        if not problem:
            return place
        problems[place] = problem
    reasons = "; ".join(f"{place}: {problem}" for place, problem in problems.items())
    raise QpertError(f"no folder for the files of a Ray session ({reasons}); name one in TMPDIR or RAY_TMPDIR")


def _unfit(place: str) -> str | None:
    """Why `place` cannot hold a session's files; None if it can."""
    if not os.path.isdir(place):
        return "no such folder"
    if len(os.fsencode(place)) + _SOCKET_NAME > _SOCKET_PATH:
        return f"too long for the path of a socket, by {len(os.fsencode(place)) + _SOCKET_NAME - _SOCKET_PATH} bytes"
    if _free(place) < _ROOM:
        return f"{_free(place) / 1e6:,.0f} MB free, {_ROOM / 1e6:.0f} needed"
    try:
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _free(place: str) -> int:
    """Free bytes; 0 if there is no such folder."""
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return 0


@contextmanager
def _session_folder(keep: bool) -> Iterator[str]:
    """Makes a folder inside one of mode 0700, since Ray makes the folder that it is given accessible to everybody."""
    folder = tempfile.mkdtemp(prefix="qp", dir=session_parent())
    try:
        inner = os.path.join(folder, "r")
        os.mkdir(inner)
        yield inner
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _start(settings: Mapping[str, Any]) -> None:
    """Calls `ray.init`, again if Ray's own processes were too slow.

    Raises:
        QpertError: Ray did not start.
    """
    import ray

    for attempt in range(1, TRIES + 1):
        ours = set(psutil.Process().children(recursive=True))
        try:
            with on_loopback():
                start_ray(**settings)
            return
        except Exception as error:  # some errors of Ray are bare Exceptions
            ray.shutdown()
            _end_processes(ours)
            if not is_slow_start(error):
                raise QpertError(f"Ray did not start: {first_line(error)}") from error
            if attempt == TRIES:
                load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
                raise QpertError(
                    f"Ray did not start in {TRIES} tries, which happens on a very busy machine (load {load:.0f} on"
                    f" {os.cpu_count()} cores); try again later ({first_line(error)})"
                ) from error
            logging.getLogger(__name__).info("Ray was slow to start, try %d: %s", attempt, first_line(error))


def _end_processes(ours: set[psutil.Process]) -> None:
    """Kills what a failed attempt left behind, all children but `ours`, since it would slow down the next one."""
    for process in set(psutil.Process().children(recursive=True)) - ours:
        with suppress(psutil.Error):
            process.kill()
