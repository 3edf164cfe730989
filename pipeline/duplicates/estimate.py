"""What comparing all pairs of photos takes: time by a trial on this machine, and memory."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from pipeline.duplicates.grouping import COLUMNS, ROWS
from pipeline.duplicates.sketches import BYTES, WIDTH, Sketches
from pipeline.printing import duration

_PER_PHOTO = 200
"""Bytes of what else is known of each photo: ids, paths, sizes."""
_WORKING = 600 * 2**20
"""Bytes beside what grows with the photos: libraries, blocks of vectors and of distances."""


@dataclass(frozen=True)
class Estimate:
    """What comparing all pairs takes.

    Attributes:
        photos: how many are compared.
        seconds: for the distances of their sketches. Reading vectors, and confirming the pairs that are near, is added.
        bytes: of memory.
    """

    photos: int
    seconds: float
    bytes: int

    def text(self) -> str:
        """In words."""
        pairs = self.photos * (self.photos - 1) // 2
        return (
            f"{self.photos:,} photos, {pairs:,} pairs: about {duration(self.seconds)} to compare their sketches here,"
            f" and the time to read all vectors; about {self.bytes / 1e9:.1f} GB of memory"
        )


def estimate(photos: int) -> Estimate:
    """Estimate by comparing some random sketches, which takes a fraction of a second."""
    rows, columns = min(ROWS, photos), min(COLUMNS, photos)
    table = np.random.default_rng(0).standard_normal((max(rows, columns), WIDTH + 3)).astype(np.float32)
    table[:, -2] = -np.square(table[:, :-2]).sum(axis=1) / 2
    sketches = Sketches(table)
    seconds = []
    for _ in range(2):  # the first is slower
        started = perf_counter()
        sketches.near(np.arange(rows), np.arange(columns), 1.0)
        seconds.append(perf_counter() - started)
    pairs = photos * (photos - 1) / 2
    return Estimate(photos, pairs * min(seconds) / max(1, rows * columns), _WORKING + photos * (BYTES + _PER_PHOTO))
