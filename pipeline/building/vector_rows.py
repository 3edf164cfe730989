"""The vectors of a block of photos one by one, with the photo that each belongs to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.features.feature_set import FeatureSet

Int64 = npt.NDArray[np.int64]


class VectorRows(NamedTuple):
    """The m vectors of a block, photo after photo.

    Attributes:
        vectors: [m, D], float16 or float32 as stored.
        rows: [m], row of the photo in the block.
        numbers: [m], which of the photo's vectors it is.
    """

    vectors: npt.NDArray[Any]
    rows: Int64
    numbers: Int64


def vector_rows(features: FeatureSet, block: pa.RecordBatch) -> VectorRows:
    """The vectors of the chosen variant of `features`, or of all views of its photos.

    Args:
        features: the set.
        block: of photos that did not fail, read with the column `embedding`.
    """
    if features.manifest.multi:
        column = block.column("embedding")
        vectors = column.flatten().to_numpy(zero_copy_only=True).reshape(-1, features.dim)
        counts = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64) // features.dim
    else:
        found = features.embeddings(block)
        vectors = found.reshape(-1, features.dim)
        counts = np.full(len(found), found.shape[1], np.int64)
    rows = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    return VectorRows(vectors, rows, np.arange(len(rows)) - starts[rows])
