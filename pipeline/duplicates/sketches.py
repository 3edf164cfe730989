"""Short vectors of photos that rule pairs out: a photo's sketch is at most as far from another's as the two are apart.

The sketch of a photo is the mean m of its unit vectors, turned so that the first coordinates vary most, cut to 64, with
the length of the rest as one more coordinate. Turning and cutting bring no two photos further apart, so

    |sketch(a) - sketch(b)| <= |m(a) - m(b)|.

With one vector per photo, 2 - 2 cos(a, b) = |m(a) - m(b)|^2: a pair whose sketches are further apart than the threshold
allows is no near-duplicate, and nothing is missed. With several vectors the same holds for pairs whose vectors are near
one another one to one: if each vector of a has its nearest in b at the mean cosine t and these are all different, then
|m(a) - m(b)|^2 <= 2 - 2 t by Jensen's inequality. Missed are pairs of which several vectors of one photo share their
nearest vector of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.duplicates.catalogue import Int64, PhotoVectors
from pipeline.retrieval.similarity import Float32

WIDTH = 64
"""Coordinates that are kept."""
BYTES = 4 * (WIDTH + 3)
"""Of one sketch."""
_SAMPLE = 16_384
"""Photos that tell which coordinates vary most."""
_CELLS = 1 << 23
"""Numbers in the vectors that are read at once."""
_SLACK = 1e-5
"""More than the sketches err by in float32."""


@dataclass(frozen=True, eq=False)
class Sketches:
    """The sketches of all photos.

    Attributes:
        table: float32 [N, W + 2]: the sketch f, -|f|^2 / 2, and 1.
    """

    table: Float32

    @classmethod
    def of(
        cls, vectors: PhotoVectors, shape: tuple[int, int], counted: Callable[[int], object] = lambda photos: None
    ) -> Sketches:
        """Read all vectors once, and some twice.

        Args:
            vectors: of N photos.
            shape: (V, D), about how many vectors a photo has, and their length.
            counted: called with the number of photos read.
        """
        count, dim = len(vectors), shape[1]
        at_once = max(64, _CELLS // (shape[0] * dim))
        basis = _basis(vectors, dim, at_once) if dim > WIDTH + 1 else None
        table = np.empty((count, (dim if basis is None else WIDTH + 1) + 2), np.float32)
        stored = np.lexsort((vectors.numbers, vectors.sets))  # as they lie on disk
        for start in range(0, count, at_once):
            photos = stored[start : start + at_once]
            means = _means(vectors, photos)
            kept = means if basis is None else means @ basis
            if basis is not None:
                rest = np.maximum(np.square(means).sum(axis=1) - np.square(kept).sum(axis=1), 0)
                kept = np.concatenate([kept, np.sqrt(rest)[:, None]], axis=1)
            table[photos, :-2] = kept
            table[photos, -2] = -np.square(kept).sum(axis=1) / 2
            counted(start + len(photos))
        table[:, -1] = 1
        return cls(table)

    def near(self, first: Int64, second: Int64, threshold: float) -> tuple[Int64, Int64]:
        """Pairs that may be as similar as `threshold`, as places in `first` and in `second`, by the latter.

        Args:
            first: n photos.
            second: m photos; n * m distances are computed at once.
            threshold: a similarity.
        """
        left = self.table[first]
        left[:, [-2, -1]] = left[:, [-1, -2]]
        minus_half_squares = self.table[second] @ left.T
        # 2 - 2 t is the squared distance at the threshold.
        places = np.flatnonzero(minus_half_squares >= threshold - 1 - _SLACK)
        others, ones = np.divmod(places, max(1, len(first)))
        return ones, others


def _basis(vectors: PhotoVectors, dim: int, at_once: int) -> Float32:
    """Orthonormal columns [D, W]: the directions in which the means of a sample are longest."""
    random = np.random.default_rng(0)
    chosen = np.sort(random.choice(len(vectors), min(_SAMPLE, len(vectors)), replace=False))
    moments: npt.NDArray[np.float64] = np.zeros((dim, dim))
    for start in range(0, len(chosen), at_once):
        means = _means(vectors, chosen[start : start + at_once]).astype(np.float64)
        moments += means.T @ means
    longest: Float32 = np.linalg.eigh(moments)[1][:, ::-1][:, :WIDTH].astype(np.float32)
    return np.ascontiguousarray(longest)


def _means(vectors: PhotoVectors, photos: Int64) -> Float32:
    rows = vectors.take(photos)
    counts = np.array([len(of_photo) for of_photo in rows])
    sums = np.add.reduceat(np.concatenate(rows), np.cumsum(counts) - counts, axis=0)
    return np.asarray(sums / counts[:, None], np.float32)
