"""A lock in an S3 bucket: one small object that is only ever written on a condition, so that one writer has it.

Made by ``If-None-Match: *``, it is renewed by ``If-Match`` every few seconds and freed the same way. One that was not
renewed for a minute, by the store's own clock, belongs to a writer that died: it is taken over, again by ``If-Match``,
so that of several takers one succeeds, and a writer that comes back finds out.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import psutil

from pipeline.errors import QpertError, first_line
from pipeline.io.retrying import retry
from pipeline.io.s3 import S3Bucket, code_of
from pipeline.io.uris import masked, take_apart

LOCK = ".lock"
HEARTBEAT, STALE = 10.0, 60.0
"""Seconds between renewals, and without one until a lock counts as that of a dead writer."""
_REFUSED = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_UNKNOWN = {"NotImplemented", "501"}


class NoConditionsError(Exception):
    """The store does not write on a condition, so it cannot hold locks."""


class _Holder(NamedTuple):
    """What the lock says, its ETag, and its age in seconds."""

    says: dict[str, Any]
    etag: str
    age: float


class BucketLock:
    """The lock of one folder of a bucket.

    Args:
        root: URI of the folder.
    """

    def __init__(self, root: str) -> None:
        self.root, self.lost = root, ""
        self._bucket = S3Bucket.of(root, tries=3)
        self._key = "/".join(filter(None, [take_apart(root)[1].strip("/"), LOCK]))
        self._says: dict[str, Any] = {"token": uuid.uuid4().hex, "beat": 0}
        self._says |= {"host": socket.gethostname(), "pid": os.getpid()}
        self._says |= {"machine": _machine(), "begun": psutil.Process().create_time()}
        self._etag, self._renewed = "", 0.0
        self._mutex, self._done = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="qpert-lock")

    def acquire(self) -> None:
        """Take the lock, and renew it from now on.

        Raises:
            QpertError: another writer has it.
            NoConditionsError: the store has no conditional writes.
            OSError: the bucket cannot be read or written.
        """
        started = _clock()
        etag = self._put(IfNoneMatch="*")
        if etag is None:
            holder = self._look()
            if holder is not None and not self._is_own(holder) and not _is_over(holder):
                raise QpertError(self._busy(holder))
            etag = self._put(IfNoneMatch="*") if holder is None else self._put(IfMatch=holder.etag)
        if etag is None:
            holder = self._look()
            if holder is None or not self._is_own(holder):
                raise QpertError(self._busy(holder))
            etag = holder.etag
        if (
            self._put(IfMatch='"00000000000000000000000000000000"') is not None
            or self._put(IfNoneMatch="*") is not None
        ):
            raise NoConditionsError
        self._etag, self._renewed = etag, started
        self._thread.start()

    def release(self) -> None:
        """Let others have it; a failure to do so passes after a minute."""
        self._done.set()
        self._thread.join()
        if not self.lost:
            with suppress(OSError):
                self._says["free"] = True
                self._put(IfMatch=self._etag)

    def check(self) -> None:
        """Make sure that this process still has the lock, before it changes what counts.

        Raises:
            QpertError: another writer has taken it over.
            OSError: the bucket does not answer.
        """
        if not self.lost and _clock() - self._renewed > STALE / 2:
            retry(self._renew)
        if self.lost:
            raise QpertError(
                f"{self.lost} has taken over {masked(self.root)}, because this run could not be seen there for"
                f" {STALE:.0f} seconds; it stops, and what it had committed stays. Run the same command again when the"
                " other one has ended"
            )

    def _keep(self) -> None:
        while not self._done.wait(HEARTBEAT) and not self.lost:
            with suppress(OSError):  # the next one may succeed; until then nobody else can take it either
                self._renew()

    def _renew(self) -> None:
        with self._mutex:
            started = _clock()
            self._says["beat"] += 1  # else the ETag would stay the same
            etag = self._put(IfMatch=self._etag)
            if etag is None:
                holder = self._look()
                if holder is None or not self._is_own(holder):
                    self.lost = "another run" if holder is None else _name(holder)
                    return
                etag = holder.etag
            self._etag, self._renewed = etag, started

    def _put(self, **condition: str) -> str | None:
        """Write the lock on a condition; its new ETag, or None where the condition does not hold."""
        try:
            body = json.dumps(self._says).encode()
            answer = self._bucket.client.put_object(Bucket=self._bucket.name, Key=self._key, Body=body, **condition)
            return str(answer["ETag"])
        except Exception as error:
            code = code_of(error)
            if code in _REFUSED or (code == "NoSuchKey" and "IfMatch" in condition):
                return None
            if code in _UNKNOWN:
                raise NoConditionsError from error
            raise self._storage_error(error) from error

    def _look(self) -> _Holder | None:
        try:
            answer = self._bucket.client.get_object(Bucket=self._bucket.name, Key=self._key)
            body = answer["Body"].read()
        except Exception as error:
            if code_of(error) == "NoSuchKey":
                return None
            raise self._storage_error(error) from error
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        try:
            says = json.loads(body)
        except ValueError:
            says = {}
        age = (now - answer["LastModified"]).total_seconds()
        return _Holder(says if isinstance(says, dict) else {}, answer["ETag"], age)

    def _is_own(self, holder: _Holder) -> bool:
        """Whether an earlier write of this lock arrived, though its answer did not."""
        return bool(holder.says.get("token") == self._says["token"])

    def _storage_error(self, error: Exception) -> OSError:
        kind = PermissionError if code_of(error) in ("AccessDenied", "403") else OSError
        return kind(f"{masked(self.root)}: the lock {LOCK} cannot be written: {first_line(error)}")

    def _busy(self, holder: _Holder | None) -> str:
        who = "" if holder is None else f" ({_name(holder)}, seen {max(0, holder.age):.0f} seconds ago)"
        return (
            f"another run is writing to {masked(self.root)}{who}; wait until it ends, or choose another --out. If it"
            f" was killed, its lock ends {STALE:.0f} seconds after it was last seen"
        )


def _is_over(holder: _Holder) -> bool:
    """Whether its writer has freed the lock, was not seen for long, or was a process of this machine and is gone."""
    says = holder.says
    if says.get("free") or holder.age > STALE:
        return True
    if says.get("machine") != _machine() or not isinstance(says.get("pid"), int):
        return False
    try:
        return bool(abs(psutil.Process(says["pid"]).create_time() - says["begun"]) > 1)
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, TypeError, KeyError):
        return False


def _name(holder: _Holder) -> str:
    host, pid = holder.says.get("host"), holder.says.get("pid")
    return f"process {pid} on {host}" if isinstance(host, str) and isinstance(pid, int) else "another run"


def _machine() -> str:
    """Names the space in which process ids are unique: this start of this kernel, and the container."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return uuid.uuid4().hex  # of no other process


def _clock() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
