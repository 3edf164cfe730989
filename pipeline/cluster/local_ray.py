"""A Ray session of our own: on the loopback interface, with files and a token that only this user can read.

Ray has no public switch for several of these, so every private name of Ray's that they need stands in this file.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from pipeline.cluster.ray_compat import is_slow_start, local_environment, local_folders, on_loopback
from pipeline.errors import QpertError, first_line

OBJECT_STORE = 2 * 1024**3
"""Object store of a Ray session on this machine, at most: blocks are small, and more would only be set aside."""
SMALLEST_STORE = 80 * 1024**2
"""Ray refuses less than 75 MiB."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - what Ray itself uses; its files there have no names
TRIES = 3
"""Of starting Ray: it waits half a minute for its own processes, which a busy machine may not start by then."""
_SOCKET_PATH = 107
"""Bytes of a Unix socket's path, at most."""
_SOCKET_NAME = len("/qp12345678/r/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
_ROOM = 64 * 1024**2
"""Bytes free for logs and sockets, at least."""


@contextmanager
def started_here(cpus: int | None, options: Mapping[str, Any], *, keep_files: bool = False) -> Iterator[None]:
    """A Ray session that ends with the block, and its files with it.

    Args:
        cpus: cores; None for all. Two at least.
        options: further ones of `ray.init`.
        keep_files: leave the session's folder, with its logs, where it is.

    Raises:
        QpertError: there is no room for the session's files or objects, or Ray does not start.
    """
    with _session_folder(keep_files) as folder:
        place, memory = object_store(folder)
        settings = {
            # "local": else Ray would join any cluster that happens to run on this machine.
            "address": "local",
            # Ray Data needs two CPUs to start; they are a matter of book-keeping, so a single core has them too.
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
    """Where objects are kept, and how many bytes of them: in shared memory, or in `folder` where that is too small.

    Containers have 64 MB of shared memory by default. A file that outgrows its disk ends the process that writes to
    it, so no more is asked for than is free.

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
    """The folder for a session's own: RAY_TMPDIR, or the system's temporary folder, or another one that will do.

    Raises:
        QpertError: none can be written to, has room, and is short enough for the path of a socket.
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
    except OSError:  # not one of the usual places can be written to
        usual = []
    problems = {}
    # In each a session gets a folder of its own, for this user alone.
    for place in dict.fromkeys([*usual, "/tmp", "/var/tmp", SHARED_MEMORY]):  # noqa: S108
        problem = _unfit(place)
        if not problem:
            return place
        problems[place] = problem
    found = "; ".join(f"{place}: {problem}" for place, problem in problems.items())
    raise QpertError(f"no folder for the files of a Ray session ({found}); name one in TMPDIR or RAY_TMPDIR")


def _unfit(place: str) -> str | None:
    """Why `place` cannot hold a session's files; None where it can."""
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
    """Bytes that are free; none where there is no such folder."""
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return 0


@contextmanager
def _session_folder(keep: bool) -> Iterator[str]:
    """A folder within one of mode 0700: Ray opens the folder that it is given to everybody."""
    folder = tempfile.mkdtemp(prefix="qp", dir=session_parent())
    try:
        inner = os.path.join(folder, "r")
        os.mkdir(inner)
        yield inner
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _start(settings: Mapping[str, Any]) -> None:
    """`ray.init`, tried again when Ray's own processes were too slow.

    Raises:
        QpertError: it did not start.
    """
    import ray

    for attempt in range(1, TRIES + 1):
        ours = set(psutil.Process().children(recursive=True))
        try:
            with on_loopback():
                ray.init(**settings)
            return
        except Exception as error:  # Ray raises bare Exceptions here, too
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
    """End what an attempt left behind, all children but `ours`: it would slow down the next one."""
    for process in set(psutil.Process().children(recursive=True)) - ours:
        with suppress(psutil.Error):
            process.kill()
