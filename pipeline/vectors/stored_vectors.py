"""The raw cache of a shard: its vectors as the features store them, compared with queries as fast as memory allows.

Measured on two cores with 32 half-precision vectors of 256 numbers per photo: 6,000 photos/s from Parquet, 44,000 where
NumPy converts the half floats, 110,000 with FAISS' scalar quantiser and no product, 280,000 here, on one of the cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.errors import QpertError
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.array_file import ArrayFile
from pipeline.vectors.half_floats import scale_of, scaled
from pipeline.vectors.query_vectors import Bools, Int64
from pipeline.vectors.ranking import Ranking, Rows

_TILE = 512
"""Vectors that are converted and multiplied at once: they stay in the processor's cache."""
_BLOCK_CELLS = 1 << 21
"""Scores (8 MiB) of a block of photos, among which candidates are chosen."""
_BLOCK_PHOTOS = 1 << 14
_READING = 128
"""Vectors that can be compared in the time that it takes to read one photo by itself."""


@dataclass(frozen=True, eq=False)
class StoredVectors:
    """The vectors of n photos, m in all.

    Attributes:
        vectors: [m, D] float16 or float32, those of a photo one after another.
        lengths: float32 [m], the lengths of these vectors.
        starts: int64 [n + 1], the first vector of each photo, and m.
        count: vectors of every photo; None where their numbers differ.
    """

    vectors: ArrayFile
    lengths: ArrayFile
    starts: Int64
    count: int | None

    def rows(self, photos: Int64) -> Rows:
        """The stored vectors of some photos."""
        counts = self.starts[photos + 1] - self.starts[photos]
        out = np.empty((int(counts.sum()), *self.vectors.shape[1:]), self.vectors.dtype)
        end = 0
        for first, count in zip(self.starts[photos].tolist(), counts.tolist(), strict=True):
            self.vectors.read(first, out[end : end + count])
            end += count
        return Rows(out, counts, self.vectors.path)

    def rank(self, ranking: Ranking, first: int, allowed: Bools) -> None:
        """Rank the photos.

        Args:
            ranking: where the best ones are kept.
            first: number of the first photo in the snapshot.
            allowed: bool [n], the photos to rank.

        Raises:
            QpertError: the files are damaged.
        """
        scan = _Scan(self, ranking)
        count, each = int(allowed.sum()), self.starts[-1] / max(1, len(allowed))
        sparse = count * (_READING + each) < len(allowed) * each
        for places, scores in scan.sparse(allowed) if sparse else scan.dense(allowed):
            if not np.isfinite(scores).all():
                raise QpertError(f"{self.vectors.path} is damaged: NaN, infinity or a zero vector")
            promising = (scores >= ranking.limits()).any(axis=0) if len(scores) else ()
            for number in np.flatnonzero(promising):
                chosen = places[ranking.candidates(scores[:, number], int(number))]
                ranking.add(int(number), first + chosen, self.rows(chosen))


class _Scan:
    """One pass over stored vectors, in always the same memory."""

    def __init__(self, stored: StoredVectors, ranking: Ranking) -> None:
        self.stored, self.ranking = stored, ranking
        dtype, (_, dim) = stored.vectors.dtype, stored.vectors.shape
        terms = len(ranking.matrix)
        most = int(np.diff(stored.starts).max(initial=1))
        self.rows = max(_TILE, most)
        self.matrix = np.ascontiguousarray(ranking.matrix.T * np.float32(scale_of(dtype)))
        self.raw = np.empty((self.rows, dim), dtype)
        self.floats = np.empty((self.rows, dim), np.float32)
        self.lengths = np.empty(self.rows, np.float32)
        self.cosines = np.empty((self.rows, terms), np.float32)
        self.block = max(1, min(_BLOCK_PHOTOS, _BLOCK_CELLS // terms))

    def dense(self, allowed: Bools) -> Iterator[tuple[Int64, Float32]]:
        """Yields places of allowed photos and their scores [p, queries], block by block."""
        starts = self.stored.starts
        for start in range(0, len(allowed), self.block):
            end = min(start + self.block, len(allowed))
            self.stored.vectors.want(int(starts[end]), int(starts[min(end + self.block, len(allowed))] - starts[end]))
            maxima = np.empty((end - start, len(self.ranking.matrix)), np.float32)
            at = start
            while at < end:
                to = self._tile_end(at, end)
                self._maxima(int(starts[at]), int(starts[to]), starts[at:to], maxima[at - start : to - start])
                at = to
            places = start + np.flatnonzero(allowed[start:end])
            yield places, self.ranking.scores(maxima if len(places) == end - start else maxima[places - start])

    def sparse(self, allowed: Bools) -> Iterator[tuple[Int64, Float32]]:
        """The same, where only the allowed photos are read."""
        chosen, starts = np.flatnonzero(allowed), self.stored.starts
        for start in range(0, len(chosen), self.block):
            places = chosen[start : start + self.block]
            maxima = np.empty((len(places), len(self.ranking.matrix)), np.float32)
            for row, place in enumerate(places.tolist()):
                first, last = int(starts[place]), int(starts[place + 1])
                self._maxima(first, last, starts[place : place + 1], maxima[row : row + 1])
            yield places, self.ranking.scores(maxima)

    def _tile_end(self, at: int, end: int) -> int:
        """The photo after the last one whose vectors fit into a tile that begins with photo `at`."""
        if self.stored.count is not None:
            return min(end, at + max(1, self.rows // self.stored.count))
        starts = self.stored.starts
        return min(end, int(np.searchsorted(starts, starts[at] + self.rows, side="right")) - 1)

    def _maxima(self, first: int, last: int, starts: Int64, out: Float32) -> None:
        """The highest cosine of the vectors of each photo with each vector of the queries, into `out` [p, T]."""
        count = last - first
        raw, lengths, cosines = self.raw[:count], self.lengths[:count], self.cosines[:count]
        self.stored.vectors.read(first, raw)
        self.stored.lengths.read(first, lengths)
        np.matmul(scaled(raw, self.floats), self.matrix, out=cosines)
        with np.errstate(all="ignore"):  # of damaged files; the caller looks at the scores
            np.divide(cosines, lengths[:, None], out=cosines)
        if self.stored.count is not None:
            np.max(cosines.reshape(len(out), self.stored.count, -1), axis=1, out=out)
        else:
            np.maximum.reduceat(cosines, starts - first, axis=0, out=out)
