"""One writer at a time: by a lock of the operating system on a disk, and by one in the bucket on S3."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from pipeline.errors import QpertError
from pipeline.io.bucket_lock import LOCK, BucketLock, NoConditionsError
from pipeline.io.uris import masked, without_options

_log = logging.getLogger(__name__)
_held: dict[str, BucketLock] = {}
"""The locks in buckets that this process has, by the URI of the folder without options."""
_warned: set[str] = set()


@contextmanager
def local_lock(folder: str, root: str) -> Iterator[None]:
    """Keep other processes that use this from writing to a local folder, which is created if it is missing.

    The operating system drops the lock when the process ends, even if it is killed.

    Args:
        folder: its path.
        root: its name in messages.

    Raises:
        QpertError: another process holds the lock.
    """
    os.makedirs(folder, exist_ok=True)
    try:
        lock = FileLock(os.path.join(folder, LOCK), timeout=0)
        lock.acquire()
    except Timeout:
        raise QpertError(f"another run is writing to {root}; wait until it ends, or choose another --out") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def remote_lock(root: str) -> Iterator[None]:
    """Keep other processes that use this from writing to a folder of a bucket, see `bucket_lock`.

    Where the store has no conditional writes, or another protocol than S3 leads to it, a warning says so once.

    Raises:
        QpertError: another process holds the lock.
        OSError: the bucket cannot be read or written.
    """
    lock = BucketLock(root) if root[:5].lower() == "s3://" else None
    try:
        if lock is not None:
            lock.acquire()
    except NoConditionsError:
        lock = None
    if lock is None:
        if root not in _warned:
            _log.warning(
                f"{masked(root)} cannot be locked: its store is not S3, or has no conditional writes. Nothing keeps a"
                " second run from writing there: start one at a time"
            )
            _warned.add(root)
        yield
        return
    _held[without_options(root).rstrip("/")] = lock
    try:
        yield
    finally:
        del _held[without_options(root).rstrip("/")]
        lock.release()


def check_held(root: str) -> None:
    """Before a change below `root`: the lock in a bucket that this process took for it must still be its own.

    Raises:
        QpertError: another process has taken it over.
        OSError: the bucket does not answer.
    """
    if _held:
        place = without_options(root).rstrip("/") + "/"
        for folder, lock in list(_held.items()):
            if place.startswith(f"{folder}/"):
                lock.check()
