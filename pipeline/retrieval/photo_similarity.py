"""How similar two photos are by their vectors.

Of photos with one vector each, their cosine. Of photos with several vectors a_1..a_V and b_1..b_W,

    similarity(a, b) = min(towards(a, b), towards(b, a)),    towards(a, b) = mean over i of max over j of cos(a_i, b_j),

so that each must show what the other shows. It is symmetric, at most 1, and 1 only if every vector of either photo is
among those of the other. It is computed to six decimals, which is more than stored half floats have: the last bits of
a matrix product depend on its shape, and must not decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.errors import QpertError
from pipeline.retrieval.similarity import Float32

Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
DECIMALS = 6
_SLACK = 1e-4
"""More than a float32 product of unit vectors errs by."""


def photo_similarity(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    """The similarity of two photos, from their unit vectors [V, D] and [W, D]."""
    cosines = first.astype(np.float64) @ second.astype(np.float64).T
    both = min(float(cosines.max(axis=1).mean()), float(cosines.max(axis=0).mean()))
    return min(1.0, round(both, DECIMALS))


def similar(first: Sequence[Float32], second: Sequence[Float32], threshold: float) -> Bools:
    """Whether photos are at least as similar as `threshold`: bool [n, m].

    Args:
        first: unit vectors [V, D] of n photos.
        second: unit vectors [W, D] of m photos.
        threshold: from it on photos count as similar.
    """
    if not first or not second:
        return np.zeros((len(first), len(second)), np.bool_)
    fast = _similarities(first, second)
    result = np.asarray(fast >= threshold)
    for row, column in zip(*np.nonzero(np.abs(fast - threshold) <= _SLACK), strict=True):
        result[row, column] = photo_similarity(first[row], second[column]) >= threshold
    return result


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that is no similarity.

    Raises:
        QpertError: it is not above 0 and at most 1.
    """
    if not 0 < threshold <= 1:
        raise QpertError(f"photos count as near-duplicates from a similarity above 0 up to 1, not {threshold:g}")


def _similarities(first: Sequence[Float32], second: Sequence[Float32]) -> Float32:
    """[n, m], up to the rounding of float32."""
    (rows, row_starts, row_counts), (columns, column_starts, column_counts) = _joined(first), _joined(second)
    cosines = rows @ columns.T
    if len(rows) == len(first) and len(columns) == len(second):
        return cosines
    # From each vector of the first to the nearest of each photo of the second, and the other way round.
    there = np.add.reduceat(np.maximum.reduceat(cosines, column_starts, axis=1), row_starts, axis=0)
    back = np.add.reduceat(np.maximum.reduceat(cosines, row_starts, axis=0), column_starts, axis=1)
    result: Float32 = np.minimum(there / row_counts[:, None], back / column_counts[None])
    return result


def _joined(photos: Sequence[Float32]) -> tuple[Float32, npt.NDArray[np.int64], Float32]:
    """All vectors, the place of each photo's first, and how many each has."""
    counts = np.array([len(vectors) for vectors in photos], np.int64)
    return np.concatenate(photos), np.cumsum(counts) - counts, counts.astype(np.float32)
