"""Counting and joining ids of any number in little memory: which come twice, which two sets share, what differs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_PARTS = 64
_IN_MEMORY = 2**18
"""Bytes of each part that are kept in memory; beyond, it goes to a temporary file."""
_WIDTH = 8

Records = npt.NDArray[Any]
"""A structured array: ``id``, the digest of an id, and the columns of the census."""


class Census:
    """Ids, as 64-bit digests in so many parts that one of them fits in memory: 16 MB each for a hundred million ids.

    Two ids in a million million share a digest by chance, so what looks like a repetition must be looked at again
    (`digest_of`).

    Args:
        columns: names of whole numbers (int64) that are kept beside each id.
    """

    def __init__(self, *columns: str) -> None:
        self.count = 0
        self._type = np.dtype([("id", np.uint64), *((name, np.int64) for name in columns)])
        self._parts: list[IO[bytes]] = [SpooledTemporaryFile(_IN_MEMORY) for _ in range(_PARTS)]  # noqa: SIM115

    def add(self, ids: Iterable[str], **columns: npt.ArrayLike) -> None:
        """Take note of these, with one number of each column for every id."""
        digests = np.frombuffer(b"".join(map(_digest, ids)), np.uint64)
        records = np.empty(len(digests), self._type)
        records["id"] = digests
        for name, values in columns.items():
            records[name] = values
        self.count += len(digests)
        places = digests % _PARTS
        for place in np.unique(places):
            self._parts[place].write(records[places == place].tobytes())

    def repeated(self) -> set[int]:
        """Digests that came more than once."""
        found: set[int] = set()
        for part in self.parts():
            values, times = np.unique(part["id"], return_counts=True)
            found.update(values[times > 1].tolist())
        return found

    def shared(self, other: Census) -> int:
        """How many of these ids `other` has too."""
        return sum(int(np.isin(mine["id"], others["id"]).sum()) for mine, others in self.beside(other))

    def beside(self, other: Census) -> Iterator[tuple[Records, Records]]:
        """The records of both, part by part: an id is in the same part of both."""
        yield from zip(self.parts(), other.parts(), strict=True)

    def parts(self) -> Iterator[Records]:
        """The records, part by part."""
        for part in self._parts:
            part.seek(0)
            yield np.frombuffer(part.read(), self._type)


def digest_of(name: str) -> int:
    """The digest under which an id is counted."""
    return int(np.frombuffer(_digest(name), np.uint64)[0])


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_WIDTH).digest()
