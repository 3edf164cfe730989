"""A local folder to work in for an `--out` in a bucket: fetched at the start, and copied back while the work goes on.

For verbs that write reports, figures and Ray Tune's record, and read features again and again: what index writes goes
straight to a bucket.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from pyarrow import fs

from pipeline.cluster.session import is_local
from pipeline.errors import QpertError
from pipeline.io.bucket_lock import LOCK
from pipeline.io.locations import Folder, local_path, real_place
from pipeline.io.retrying_files import retry_on

_log = logging.getLogger(__name__)
_EVERY = 20.0
"""Seconds between two copies to the bucket."""
_STATE = ".mirror.json"
_LOCAL_ONLY = "tune"
"""Folders of Ray Tune's records, which are never opened where they were not made: they are not fetched."""
_THREADS = 16


@contextmanager
def working_folder(out: str, address: str | None, *, dry_run: bool = False) -> Iterator[str]:
    """A local folder for `out`, a path or a URI; what is written into it is in `out` in the end, however that comes.

    Args:
        out: the output.
        address: of the cluster to work on. Its nodes would not see the local folder, so it must be this machine.
        dry_run: only name the folder.

    Raises:
        QpertError: the work is to be done on a cluster, or another run is writing to `out`.
    """
    if local_path(out) is not None:
        yield out
        return
    if not is_local(address):
        raise QpertError(
            f"--out {out}: with a bucket this works in a folder of one machine, which the nodes of a cluster do not"
            " see. Leave the cluster out (--address, RAY_ADDRESS), or give a folder that all nodes see"
        )
    folder = _place(out)
    if dry_run:
        yield str(folder)
        return
    remote = Folder.open(out)
    with remote.exclusive():
        mirror = Mirror(remote, folder)
        _log.info(f"working in {folder}, a copy of {out}")
        mirror.pull()
        with mirror.pushing():
            yield str(folder)
    _log.info(f"all of it is in {out}")


def _place(out: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache, "qpert", "outputs", hashlib.sha256(real_place(out).encode()).hexdigest()[:16])


class Mirror:
    """A folder in a bucket and its local copy.

    Args:
        remote: the folder; this process has its lock.
        folder: the copy, which need not exist.
    """

    def __init__(self, remote: Folder, folder: Path) -> None:
        self.remote, self.folder = remote, folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._same: dict[str, list[list[int]]] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._same = {}
        """Files that were the same on both sides: size and time of the remote one and of the local one."""

    def pull(self) -> None:
        """Make the local copy like the folder, but for what an interrupted run has not copied back yet."""
        found = {name: state for name, state in self._remote().items() if _LOCAL_ONLY not in name.split("/")}
        for name, (_, local) in list(self._same.items()):
            if name not in found and _LOCAL_ONLY not in name.split("/") and _state(self.folder / name) == local:
                (self.folder / name).unlink()
                del self._same[name]
        changed = [name for name, state in found.items() if not self._is_known(name, state)]
        if changed:
            _log.info(f"fetching {len(changed):,} files")
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self._fetch, changed))
        self._same |= {name: [found[name], _state(self.folder / name) or []] for name in changed}
        self._note()

    @contextmanager
    def pushing(self) -> Iterator[None]:
        """Copy what changes to the folder now and then, and at the end of the block."""
        done = threading.Event()

        def keep() -> None:
            while not done.wait(_EVERY):
                try:
                    self.push()
                except (OSError, QpertError) as error:
                    _log.warning(f"not copied to {self.remote.root} yet: {error}")

        thread = threading.Thread(target=keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.push()

    def push(self) -> None:
        """Make the folder like the local copy, in the order in which the files were written.

        Raises:
            QpertError: another process has taken over the folder's lock.
        """
        self.remote.check_lock()
        local = {name: state for name in self._local() if (state := _state(self.folder / name))}
        known = {name: both[1] for name, both in self._same.items()}
        for name in sorted((name for name in local if local[name] != known.get(name)), key=lambda name: local[name][1]):
            if (state := self._send(name)) is not None:
                self._same[name] = [state, local[name]]
        for name in known.keys() - local.keys():
            self.remote.delete(name)
            del self._same[name]
        self._note()

    def _is_known(self, name: str, state: list[int]) -> bool:
        return name in self._same and self._same[name][0] == state and (self.folder / name).exists()

    def _remote(self) -> dict[str, list[int]]:
        selector = fs.FileSelector(self.remote.path, recursive=True, allow_not_found=True)
        infos = self.remote.filesystem.get_file_info(selector)
        start = len(self.remote.path) + 1
        return {info.path[start:]: _times(info) for info in infos if info.is_file and info.base_name != LOCK}

    def _local(self) -> Iterator[str]:
        for path in self.folder.rglob("*"):
            if path.name not in (LOCK, _STATE) and path.suffix != ".tmp" and path.is_file():
                yield path.relative_to(self.folder).as_posix()

    def _fetch(self, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.tmp")
        here, there = fs.LocalFileSystem(), self.remote.filesystem
        retry_on(there, lambda: fs.copy_files(self.remote.at(name), str(temporary), there, here))
        temporary.replace(path)

    def _send(self, name: str) -> list[int] | None:
        """Copy a file to the folder; None where it has just been deleted."""
        here, there = fs.LocalFileSystem(), self.remote.filesystem
        try:
            retry_on(there, lambda: fs.copy_files(str(self.folder / name), self.remote.at(name), here, there))
        except FileNotFoundError:
            return None
        return _times(there.get_file_info(self.remote.at(name)))

    def _note(self) -> None:
        path = self.folder / _STATE
        path.with_suffix(".tmp").write_text(json.dumps(self._same), encoding="utf-8")
        path.with_suffix(".tmp").replace(path)


def _times(info: fs.FileInfo) -> list[int]:
    return [info.size or 0, info.mtime_ns or 0]


def _state(path: Path) -> list[int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return [info.st_size, info.st_mtime_ns]
