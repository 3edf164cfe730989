"""Sets of any number of ids in little memory: which ids are repeated, and joins of two sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_PARTS = 64
_IN_MEMORY = 2**18
"""Bytes of each part that are kept in memory; a larger part moves to a temporary file."""
_WIDTH = 8

Records = npt.NDArray[Any]
"""A structured array: ``id``, the digest of an id, and the further columns."""


class IdSet:
    """Ids as 64-bit digests, in 64 parts of which one at a time is in memory: 16 MB for a hundred million ids.

    Two ids in a million million share a digest by chance, so what looks repeated must be compared again (`digest_of`).

    Args:
        columns: names of int64 numbers stored with each id.
    """

    def __init__(self, *columns: str) -> None:
        self.count = 0
        self._type = np.dtype([("id", np.uint64), *((name, np.int64) for name in columns)])
        self._parts: list[IO[bytes]] = [SpooledTemporaryFile(_IN_MEMORY) for _ in range(_PARTS)]  # noqa: SIM115

    def add(self, ids: Iterable[str], **columns: npt.ArrayLike) -> None:
        """Add ids, with a number in each column for every id (or one number for all)."""
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
        """Digests of ids that were added more than once."""
        repeated: set[int] = set()
        for part in self.parts():
            values, times = np.unique(part["id"], return_counts=True)
            repeated.update(values[times > 1].tolist())
        return repeated

    def shared(self, other: IdSet) -> int:
        """The number of ids that `other` has too."""
        return sum(int(np.isin(mine["id"], others["id"]).sum()) for mine, others in self.beside(other))

    def beside(self, other: IdSet) -> Iterator[tuple[Records, Records]]:
        """The records of both sets, part by part: an id is in the same part of both."""
        yield from zip(self.parts(), other.parts(), strict=True)

    def parts(self) -> Iterator[Records]:
        """The records, part by part."""
        for part in self._parts:
            part.seek(0)
            yield np.frombuffer(part.read(), self._type)


def digest_of(name: str) -> int:
    """The digest that stands for an id."""
    return int(np.frombuffer(_digest(name), np.uint64)[0])


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_WIDTH).digest()
