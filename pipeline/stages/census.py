"""Counting ids of any number in little memory: how many there are, which come twice, how many another set has too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO

import numpy as np
import numpy.typing as npt

_PARTS = 64
_IN_MEMORY = 2**18
"""Bytes of each part that are kept in memory; beyond, it goes to a temporary file."""
_WIDTH = 8


class Census:
    """Ids, as 64-bit digests in so many parts that one of them fits in memory: 16 MB each for a hundred million ids.

    Two ids in a million million share a digest by chance, so what looks like a repetition must be looked at again
    (`digest_of`).
    """

    def __init__(self) -> None:
        self.count = 0
        self._parts: list[IO[bytes]] = [SpooledTemporaryFile(_IN_MEMORY) for _ in range(_PARTS)]  # noqa: SIM115

    def add(self, ids: Iterable[str]) -> None:
        """Take note of these."""
        digests = np.frombuffer(b"".join(map(_digest, ids)), np.uint64)
        self.count += len(digests)
        places = digests % _PARTS
        for place in np.unique(places):
            self._parts[place].write(digests[places == place].tobytes())

    def repeated(self) -> set[int]:
        """Digests that came more than once."""
        found: set[int] = set()
        for part in self._read():
            values, times = np.unique(part, return_counts=True)
            found.update(values[times > 1].tolist())
        return found

    def shared(self, other: Census) -> int:
        """How many of these ids `other` has too."""
        return sum(int(np.isin(mine, others).sum()) for mine, others in zip(self._read(), other._read(), strict=True))

    def _read(self) -> Iterator[npt.NDArray[np.uint64]]:
        for part in self._parts:
            part.seek(0)
            yield np.frombuffer(part.read(), np.uint64)


def digest_of(name: str) -> int:
    """The digest under which an id is counted."""
    return int(np.frombuffer(_digest(name), np.uint64)[0])


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_WIDTH).digest()
