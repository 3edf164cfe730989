"""The score of a text for a photo, and the vectors of a feature set, block by block.

score(text, image) = max over the photo's V vectors of the cosine with the text's vector. Features are read from
disk in blocks, so that memory does not grow with the number of photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet

Float32 = npt.NDArray[np.float32]

_BLOCK_CELLS = 1 << 23
"""float32 numbers (32 MiB) in a block of vectors or of scores."""
_TILE_CELLS = 1 << 21
"""Cosines (8 MiB) in a tile."""
_TILE_TEXTS = 1024
_MAX_ROWS = 8192
_VIEWS = 8
"""Views of a photo, about, in a set with further views."""


def unit(vectors: npt.ArrayLike, what: str) -> Float32:
    """`vectors` [..., D] as float32 of length 1.

    Raises:
        QpertError: NaN, infinity or a zero vector; the message names `what`.
    """
    result: Float32 = np.array(vectors, np.float32)
    lengths = np.sqrt(np.einsum("...d,...d->...", result, result))[..., None]
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise QpertError(f"NaN, infinity or a zero vector, for which there is no cosine, in {what}")
    result /= lengths
    return result


def image_scores(vectors: Float32, texts: Float32) -> Float32:
    """Scores [n, T] of unit vectors [n, V, D] with unit text vectors [T, D]: the maximum over V."""
    n, count, dim = vectors.shape
    cosines = vectors.reshape(n * count, dim) @ texts.T
    best: Float32 = cosines.reshape(n, count, len(texts)).max(axis=1)
    return best


class TileScorer:
    """Scores of many texts with a block of photos, tile by tile, always in the same memory.

    The cosines of a tile stay in the processor's cache until their maximum is taken, and no tile needs a fresh matrix,
    which the operating system would first fill with zeros.
    """

    def __init__(self) -> None:
        self._cosines = np.empty(0, np.float32)
        self._best = np.empty(0, np.float32)

    def tiles(self, vectors: Float32, texts: Float32) -> Iterator[tuple[int, Float32]]:
        """Yields the number of the first text and the scores [n, t], which the next tile overwrites.

        Args:
            vectors: unit vectors [n, V, D].
            texts: unit vectors [T, D].
        """
        n, count, dim = vectors.shape
        photos, step = tile_shape(vectors, texts)
        if self._cosines.size < photos * count * step:
            self._cosines = np.empty(photos * count * step, np.float32)
        if self._best.size < n * step:
            self._best = np.empty(n * step, np.float32)
        for start in range(0, len(texts), step):
            part = texts[start : start + step].T
            width = part.shape[1]
            best = self._best[: n * width].reshape(n, width)
            for first in range(0, n, photos):
                some = vectors[first : first + photos].reshape(-1, dim)
                cosines = self._cosines[: len(some) * width].reshape(len(some), width)
                np.matmul(some, part, out=cosines)
                np.max(cosines.reshape(-1, count, width), axis=1, out=best[first : first + photos])
            yield start, best


def tile_shape(vectors: Float32, texts: Float32) -> tuple[int, int]:
    """How many photos of [n, V, D] and texts to multiply at once: few enough for the cache, many enough for speed."""
    n, count, _ = vectors.shape
    step = max(1, min(len(texts), _TILE_TEXTS, _BLOCK_CELLS // max(1, n)))
    return max(1, _TILE_CELLS // (count * step)), step


def rows_per_block(features: FeatureSet) -> int:
    """Photos whose float32 vectors fill one block, at most 8192."""
    return max(1, min(_MAX_ROWS, _BLOCK_CELLS // (features.vectors * features.dim)))


def texts_per_tile(vectors: Float32) -> int:
    """How many texts to score at once with a block of vectors, so that the cosines take no more than a block."""
    photos, count, _ = vectors.shape
    return max(1, int(_BLOCK_CELLS // (photos * count)))


def vector_blocks(features: FeatureSet, columns: Sequence[str] = ()) -> Iterator[tuple[pa.RecordBatch, Float32]]:
    """Yields the photos with an embedding, block by block, in the order of the files.

    Each item is a record batch of n photos with `image_id`, `embedding` and `columns`, and their unit vectors float32
    [n, V, D]; of a set with further views, those of all views (`FeatureSet.embeddings`). Photos that failed (null
    embedding) are left out.

    Raises:
        QpertError: a stored vector is NaN, infinite or zero.
    """
    for batch in bounded_blocks(features, columns):
        first, last = batch["image_id"][0], batch["image_id"][-1]
        yield batch, unit(features.embeddings(batch), f"{features.root}, photos {first} to {last}")


def bounded_blocks(features: FeatureSet, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """Yields the photos with an embedding, in blocks whose float32 vectors take no more than 32 MiB.

    Where photos have several views, those of the photo with the most views count for every photo of its block.
    """
    wanted = list(dict.fromkeys(["image_id", "embedding", *columns]))
    rows = rows_per_block(features)
    if not features.manifest.multi:
        yield from features.iter_blocks(wanted, rows)
        return
    for block in features.iter_blocks(wanted, max(1, rows // _VIEWS)):
        lengths = pc.list_value_length(block.column("embedding")).to_numpy(zero_copy_only=False)
        start = 0
        while start < len(lengths):
            longest = np.maximum.accumulate(lengths[start:]).astype(np.int64)
            fitting = int((longest * np.arange(1, len(longest) + 1) <= _BLOCK_CELLS).sum())
            yield block.slice(start, max(1, fitting))
            start += max(1, fitting)


def rows_of(features: FeatureSet, image_ids: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The stored `columns` of some photos, by image_id; unknown ids are left out."""
    wanted = pa.array(sorted(set(image_ids)), pa.string())
    rows: dict[str, dict[str, Any]] = {}
    for block in features.iter_blocks(list(dict.fromkeys(["image_id", *columns]))):
        for row in block.filter(pc.is_in(block["image_id"], value_set=wanted)).to_pylist():
            rows[row["image_id"]] = row
    return rows
