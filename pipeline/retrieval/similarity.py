"""The score of a text for a photo, and the exact best photos of a text.

score(text, image) = max over the photo's V vectors of the cosine with the text's vector. Features are read from
disk in blocks, so that memory does not grow with the number of photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import QpertError

if TYPE_CHECKING:
    from pipeline.features.feature_set import FeatureSet

Float32 = npt.NDArray[np.float32]

_BLOCK_CELLS = 1 << 23
"""float32 numbers in a block of vectors or in a block of scores: 32 MiB."""
_TILE_CELLS = 1 << 21
"""Cosines of a tile: 8 MiB."""
_TILE_TEXTS = 1024
_MAX_ROWS = 8192


@dataclass(frozen=True)
class Hit:
    """A photo found for a text."""

    image_id: str
    uri: str
    score: float
    """Cosine, -1..1."""


def unit(vectors: npt.ArrayLike, what: str) -> Float32:
    """`vectors` [..., D] as float32 of length 1; NaN, infinity and zero vectors are a QpertError that names `what`."""
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

    The cosines of a tile stay in the processor's cache until their maximum is taken, and a fresh matrix for every tile,
    which the operating system would have to fill with zeros first, is never asked for.
    """

    def __init__(self) -> None:
        self._cosines = np.empty(0, np.float32)
        self._best = np.empty(0, np.float32)

    def tiles(self, vectors: Float32, texts: Float32) -> Iterator[tuple[int, Float32]]:
        """Yields the number of the first text and the scores [n, t]; they are overwritten by the next tile.

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
    """How many photos of [n, V, D] and texts to multiply at once: few, for the cache, but enough for a good product."""
    n, count, _ = vectors.shape
    step = max(1, min(len(texts), _TILE_TEXTS, _BLOCK_CELLS // max(1, n)))
    return max(1, _TILE_CELLS // (count * step)), step


def rows_per_block(features: FeatureSet) -> int:
    """Photos whose float32 vectors fill one block, at most 8192."""
    return max(1, min(_MAX_ROWS, _BLOCK_CELLS // (features.vectors * features.dim)))


def texts_per_tile(vectors: Float32) -> int:
    """How many texts to score at once with a block of vectors, so that the cosines stay as small as a block."""
    photos, count, _ = vectors.shape
    return max(1, int(_BLOCK_CELLS // (photos * count)))


def vector_blocks(features: FeatureSet, columns: Sequence[str] = ()) -> Iterator[tuple[pa.RecordBatch, Float32]]:
    """Yields the photos that have an embedding, block by block, in the order of the files.

    Each item is a record batch of n photos with `image_id`, `embedding` and `columns`, and their unit vectors
    float32 [n, V, D]. Photos that failed (null embedding) are left out.

    Raises:
        QpertError: a stored vector is NaN, infinite or zero.
    """
    for batch in features.iter_blocks(["image_id", "embedding", *columns], rows_per_block(features)):
        first, last = batch["image_id"][0], batch["image_id"][-1]
        yield batch, unit(features.embeddings(batch), f"{features.root}, photos {first} to {last}")


def top_k(
    features: FeatureSet,
    texts: npt.ArrayLike,
    k: int = 10,
    *,
    min_score: float | None = None,
) -> list[list[Hit]]:
    """The k best photos of each text, exactly: best first, equal scores by image_id.

    Args:
        features: an indexed feature set; read once, block by block.
        texts: [T, D], one vector per text, of any length but zero.
        k: photos per text; fewer are returned where fewer exist or pass `min_score`.
        min_score: photos below it are left out.

    Raises:
        QpertError: NaN or zero vectors, a wrong dimension, k below 1.
    """
    if k < 1:
        raise QpertError(f"k must be at least 1, not {k}")
    queries = unit(texts, "the query embeddings")
    if queries.ndim != 2 or queries.shape[1] != features.dim:
        raise QpertError(
            f"the queries have shape {list(queries.shape)}, but the features have dimension {features.dim}: "
            "they come from different encoders"
        )
    best: list[list[_Ranked]] = [[] for _ in queries]
    floor = -np.inf if min_score is None else min_score
    for batch, vectors in vector_blocks(features, ["uri"]):
        step = texts_per_tile(vectors)
        for start in range(0, len(queries), step):
            scores = image_scores(vectors, queries[start : start + step])
            for column in range(scores.shape[1]):
                number = start + column
                found = _candidates(scores[:, column], vectors, queries[number], best[number], k, floor)
                if found:
                    ids, uris = batch["image_id"], batch["uri"]
                    ranked = [(-score, ids[row].as_py(), uris[row].as_py()) for row, score in found]
                    best[number] = sorted(best[number] + ranked)[:k]
    return [[Hit(image_id, uri, -negative) for negative, image_id, uri in ranked] for ranked in best]


_Ranked = tuple[float, str, str]
"""(-score, image_id, uri): sorts best first, ties by image_id."""


def _candidates(
    fast: Float32, vectors: Float32, query: Float32, best: list[_Ranked], k: int, floor: float
) -> list[tuple[int, float]]:
    """Rows of a block that can be among the k best of a query, with their exact scores.

    The last bits of a float32 matrix product depend on the block's shape, which would let equal photos swap places
    from one index to another. So what comes within the rounding error is scored again in float64.
    """
    slack = 2 * query.size * float(np.finfo(np.float32).eps)
    limit = floor
    if len(best) == k:
        limit = max(limit, -best[-1][0])
    if len(fast) > k:
        limit = max(limit, float(np.partition(fast, len(fast) - k)[len(fast) - k]))
    rows = np.flatnonzero(fast >= limit - slack)
    cosines = np.einsum("nvd,d->nv", vectors[rows].astype(np.float64), query.astype(np.float64))
    exact = cosines.max(axis=1).astype(np.float32) if len(rows) else cosines[:, 0]
    return [(int(row), float(score)) for row, score in zip(rows, exact, strict=True) if score >= floor]


def rows_of(features: FeatureSet, image_ids: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The stored `columns` of some photos, by image_id; ids that are not there are left out."""
    wanted = pa.array(sorted(set(image_ids)), pa.string())
    rows: dict[str, dict[str, Any]] = {}
    for block in features.iter_blocks(list(dict.fromkeys(["image_id", *columns]))):
        for row in block.filter(pc.is_in(block["image_id"], value_set=wanted)).to_pylist():
            rows[row["image_id"]] = row
    return rows
