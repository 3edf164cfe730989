"""The raw cache of a shard: its vectors as the features store them, compared with queries as fast as memory allows.

Measured with 32 half-precision vectors of 256 numbers per photo and one query: 6,000 photos/s from Parquet; 44,000
where NumPy converts the half floats, 110,000 with FAISS' scalar quantiser and no product, 280,000 here, on one core.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.errors import QpertError
from pipeline.io.map_ahead import map_ahead
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.array_file import ArrayFile
from pipeline.vectors.half_floats import scale_of, scaled
from pipeline.vectors.query_vectors import Bools, Int64
from pipeline.vectors.ranking import Ranking, Rows

_TILE = 512
"""Vectors that are converted and multiplied at once: they stay in the processor's cache."""
_COLUMNS = 16
_PRODUCT = 1 << 18
"""Multiplications of a matrix product that OpenBLAS does in one thread. Its own threads are made for larger products,
and wait for each other in busy loops: with other work on the machine they are a hundred times as slow."""
_BLOCK_VECTORS = 1 << 18
_BLOCK_CELLS = 1 << 21
"""Vectors, and scores (8 MiB), of a block of photos, among which candidates are chosen."""
_THREADS = 4
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
        most: vectors of a photo, at most.
    """

    vectors: ArrayFile
    lengths: ArrayFile
    starts: Int64
    count: int | None
    most: int

    def rows(self, photos: Int64) -> Rows:
        """The stored vectors of some photos."""
        counts = self.starts[photos + 1] - self.starts[photos]
        out = np.empty((int(counts.sum()), *self.vectors.shape[1:]), self.vectors.dtype)
        self.vectors.gather(self.starts[photos].tolist(), counts.tolist(), out)
        return Rows(out, counts, self.vectors.path)

    def rank(self, ranking: Ranking, first: int, allowed: Bools) -> None:
        """Rank photos.

        Args:
            ranking: where the best ones are kept.
            first: number of the first photo in the snapshot.
            allowed: bool [n], the photos to rank.

        Raises:
            QpertError: the files are damaged.
        """
        for places, scores in _Scan(self, ranking).scores(allowed):
            if not np.isfinite(scores).all():
                raise QpertError(f"{self.vectors.path} is damaged: NaN, infinity or a zero vector")
            promising = (scores >= ranking.limits()).any(axis=0)
            for number in np.flatnonzero(promising).tolist():
                chosen = places[ranking.candidates(scores[:, number], number)]
                ranking.add(number, first + chosen, self.rows(chosen))


class _Scan:
    """One pass over stored vectors, block by block."""

    def __init__(self, stored: StoredVectors, ranking: Ranking) -> None:
        self.stored, self.ranking = stored, ranking
        self.dim, self.terms = stored.vectors.shape[1], len(ranking.matrix)
        self.tile = max(_TILE, stored.most)
        matrix = ranking.matrix.T * np.float32(scale_of(stored.vectors.dtype))
        columns = [slice(start, start + _COLUMNS) for start in range(0, self.terms, _COLUMNS)]
        self.matrices = [(part, np.ascontiguousarray(matrix[:, part])) for part in columns]

    def scores(self, allowed: Bools) -> Iterator[tuple[Int64, Float32]]:
        """Yields places of allowed photos, ascending, and their scores [p, queries], block by block."""
        count, each = int(allowed.sum()), self.stored.starts[-1] / max(1, len(allowed))
        sparse = count * (_READING + each) < len(allowed) * each
        places = np.flatnonzero(allowed) if sparse else np.arange(len(allowed))
        size = max(1, min(int(_BLOCK_VECTORS / each), _BLOCK_CELLS // self.terms))
        blocks = [places[start : start + size] for start in range(0, len(places), size)]
        call = self._one_by_one if sparse else self._tile_by_tile
        threads = min(_THREADS, os.cpu_count() or 1)
        together = map_ahead(call, blocks, threads) if threads > 1 and len(blocks) > 1 else map(call, blocks)
        for block, maxima in zip(blocks, together, strict=True):
            kept = allowed[block]
            if kept.any():
                yield block[kept], self.ranking.scores(maxima[kept])

    def _one_by_one(self, places: Int64) -> Float32:
        """The highest cosines [p, T] of photos anywhere."""
        tile, starts = _Tile(self), self.stored.starts
        maxima = np.empty((len(places), self.terms), np.float32)
        ends = np.cumsum(starts[places + 1] - starts[places])
        at = 0
        while at < len(places):
            before = int(ends[at - 1]) if at else 0
            to = int(np.searchsorted(ends, before + self.tile, side="right"))
            some = places[at:to]
            counts = starts[some + 1] - starts[some]
            tile.gather(starts[some], counts)
            tile.maxima(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), maxima[at:to])
            at = to
        return maxima

    def _tile_by_tile(self, places: Int64) -> Float32:
        """The highest cosines [p, T] of consecutive photos."""
        tile, starts = _Tile(self), self.stored.starts
        at, end = int(places[0]), int(places[-1]) + 1
        self.stored.vectors.want(int(starts[at]), int(starts[end] - starts[at]))
        maxima = np.empty((len(places), self.terms), np.float32)
        first = at
        while at < end:
            to = min(end, int(np.searchsorted(starts, starts[at] + self.tile, side="right")) - 1)
            tile.read(int(starts[at]), int(starts[to] - starts[at]))
            tile.maxima(starts[at : to + 1] - starts[at], maxima[at - first : to - first])
            at = to
        return maxima


class _Tile:
    """Memory for the vectors of a few photos and their products."""

    def __init__(self, scan: _Scan) -> None:
        self.stored, self.matrices = scan.stored, scan.matrices
        self.raw = np.empty((scan.tile, scan.dim), scan.stored.vectors.dtype)
        self.floats = np.empty((scan.tile, scan.dim), np.float32)
        self.lengths = np.empty(scan.tile, np.float32)
        self.cosines = np.empty(scan.tile * min(_COLUMNS, scan.terms), np.float32)

    def read(self, first: int, count: int) -> None:
        """Read consecutive vectors."""
        self.stored.vectors.read(first, self.raw[:count])
        self.stored.lengths.read(first, self.lengths[:count])

    def gather(self, firsts: Int64, counts: Int64) -> None:
        """Read the vectors of some photos, by their first ones and numbers."""
        count = int(counts.sum())
        self.stored.vectors.gather(firsts.tolist(), counts.tolist(), self.raw[:count])
        self.stored.lengths.gather(firsts.tolist(), counts.tolist(), self.lengths[:count])

    def maxima(self, starts: Int64, out: Float32) -> None:
        """The highest cosine of the vectors of each photo with each vector of the queries.

        Args:
            starts: int64 [p + 1], first vectors of the photos among those that were read, and the end of the last.
            out: float32 [p, T], is filled.
        """
        count = int(starts[-1])
        lengths = self.lengths[:count]
        vectors = scaled(self.raw[:count], self.floats)
        for part, matrix in self.matrices:
            cosines = self.cosines[: count * matrix.shape[1]].reshape(count, matrix.shape[1])
            _multiply(vectors, matrix, cosines)
            with np.errstate(all="ignore"):  # of damaged files; the caller looks at the scores
                np.divide(cosines, lengths[:, None], out=cosines)
            if self.stored.count is not None:
                np.max(cosines.reshape(len(out), self.stored.count, -1), axis=1, out=out[:, part])
            else:
                np.maximum.reduceat(cosines, starts[:-1], axis=0, out=out[:, part])


def _multiply(vectors: Float32, matrix: Float32, out: Float32) -> None:
    """``out = vectors @ matrix``, in products that are small enough for one thread each."""
    (count, dim), width = vectors.shape, matrix.shape[1]
    rows = min(count, max(1, _PRODUCT // (dim * width)))
    whole = count - count % rows
    np.matmul(vectors[:whole].reshape(-1, rows, dim), matrix, out=out[:whole].reshape(-1, rows, width))
    if whole < count:
        np.matmul(vectors[whole:], matrix, out=out[whole:])
