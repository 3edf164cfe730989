"""A file from which an interrupted comparison goes on."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pipeline.duplicates.grouping import NONE, Groups
from pipeline.errors import QpertError

_EVERY = 30.0
"""Seconds between two writes."""


class StateFile:
    """Keeps `Groups` in a file, without pickles.

    Args:
        path: the file; it is replaced in one step.
        facts: what the comparison depends on: versions of the sets, threshold, order. A file of others is refused.
    """

    def __init__(self, path: str, facts: Sequence[object]) -> None:
        self.path = Path(path)
        self.key = hashlib.sha256(repr([str(fact) for fact in facts]).encode()).hexdigest()
        self._written = time.monotonic()

    def load(self, count: int) -> Groups | None:
        """The groups of an interrupted comparison of `count` photos; None if there is no file.

        Raises:
            QpertError: the file is not such a file, or is that of another comparison.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                key, leaders, similarities, done = (stored[name] for name in ("key", "leaders", "similarities", "done"))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise QpertError(f"{self.path} does not hold a comparison to go on with: {error}") from error
        if str(key) != self.key or leaders.shape != (count,) or similarities.shape != (count,):
            raise QpertError(
                f"{self.path} is of another comparison, or the photos have changed: delete it to begin again"
            )
        return Groups(leaders.astype(np.int64), similarities.astype(np.float32), int(done))

    def keep(self, groups: Groups, *, now: bool = False) -> None:
        """Write the groups, unless that was done within half a minute.

        Raises:
            QpertError: the file cannot be written.
        """
        if not now and time.monotonic() - self._written < _EVERY:
            return
        # Groups of later photos are found again.
        late = groups.leaders >= groups.done
        leaders = np.where(late, NONE, groups.leaders)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                np.savez(
                    file,
                    key=np.array(self.key),
                    leaders=leaders,
                    similarities=np.where(late, 1, groups.similarities).astype(np.float32),
                    done=np.array(groups.done),
                )
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise QpertError(f"cannot write {self.path}: {error.strerror or error}") from error
        self._written = time.monotonic()

    def remove(self) -> None:
        """Delete the file, once the comparison is complete."""
        self.path.unlink(missing_ok=True)
