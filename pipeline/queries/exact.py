"""Exact search: every photo is compared with every query, block by block, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.encoders.text_towers import TextEncoder
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.miniatures import warning_of
from pipeline.features.views import View
from pipeline.queries.hits import Hit, Hits
from pipeline.retrieval.similarity import Float32, image_scores, texts_per_tile, unit, vector_blocks
from pipeline.retrieval.text import TextEncoderChoice, embed_texts, load_chosen, load_text_encoder


def search(
    features: FeatureSet,
    texts: Sequence[str],
    top: int = 10,
    *,
    min_score: float | None = None,
    weights: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    load: Callable[[TextEncoderChoice], TextEncoder] = load_chosen,
) -> list[Hits]:
    """The best photos of each text, exactly: best first, equal scores by image_id.

    Args:
        features: an indexed feature set; read once, block by block.
        texts: the queries.
        top: photos per query; fewer are returned where fewer exist or reach `min_score`.
        min_score: photos below this cosine are left out.
        weights: see `load_text_encoder`.
        device: torch device of the text encoder.
        dtype: number format of the text encoder.
        load: loads the text encoder, or has it already.

    Raises:
        QpertError: the encoder of the features cannot be loaded, or `top` is below 1.
    """
    encoder = load_text_encoder(features, weights=weights, device=device, dtype=dtype, load=load)
    answers = top_k(features, embed_texts(encoder, texts), top, min_score=min_score)
    warning = warning_of(features.manifest) or ""
    return [Hits(text, tuple(hits), warning=warning) for text, hits in zip(texts, answers, strict=True)]


def top_k(
    features: FeatureSet,
    vectors: npt.ArrayLike,
    k: int = 10,
    *,
    min_score: float | None = None,
) -> list[list[Hit]]:
    """The k best photos of each query vector, exactly: best first, equal scores by image_id.

    Args:
        features: an indexed feature set; read once, block by block.
        vectors: [T, D], one vector per query, of any length but zero.
        k: photos per query; fewer are returned where fewer exist or reach `min_score`.
        min_score: photos below this cosine are left out.

    Raises:
        QpertError: NaN or zero vectors, a wrong dimension, k below 1.
    """
    if k < 1:
        raise QpertError(f"k must be at least 1, not {k}")
    queries = unit(vectors, "the query embeddings")
    if queries.ndim != 2 or queries.shape[1] != features.dim:
        raise QpertError(
            f"the queries have shape {list(queries.shape)}, but the features have dimension {features.dim}: "
            "they come from different encoders"
        )
    best: list[list[_Ranked]] = [[] for _ in queries]
    floor = -np.inf if min_score is None else min_score
    several = bool(features.manifest.multi)
    for batch, photos in vector_blocks(features, ["uri", "views"] if several else ["uri"]):
        step = texts_per_tile(photos)
        for start in range(0, len(queries), step):
            scores = image_scores(photos, queries[start : start + step])
            for column in range(scores.shape[1]):
                number = start + column
                candidates = _candidates(scores[:, column], photos, queries[number], best[number], k, floor)
                if candidates:
                    ids, uris = batch["image_id"], batch["uri"]
                    ranked = [
                        _Ranked(
                            -score,
                            ids[row].as_py(),
                            uris[row].as_py(),
                            View.of(batch["views"][row][vector // features.vectors].as_py()) if several else None,
                        )
                        for row, score, vector in candidates
                    ]
                    best[number] = sorted(best[number] + ranked, key=lambda hit: hit[:3])[:k]
    return [[Hit(hit.image_id, hit.uri, -hit.negative, hit.view) for hit in ranked] for ranked in best]


class _Ranked(NamedTuple):
    """A hit; its first three fields sort best first, ties by image_id."""

    negative: float
    image_id: str
    uri: str
    view: View | None


def _candidates(
    fast: Float32, photos: Float32, query: Float32, best: list[_Ranked], k: int, floor: float
) -> list[tuple[int, float, int]]:
    """Rows of a block that can be among the k best of a query, with their exact scores and the best of their vectors.

    The last bits of a float32 matrix product depend on the block's shape, and equal photos would swap places from one
    index to another. So all photos within the rounding error are scored again in float64.
    """
    slack = 2 * query.size * float(np.finfo(np.float32).eps)
    limit = floor
    if len(best) == k:
        limit = max(limit, -best[-1].negative)
    if len(fast) > k:
        limit = max(limit, float(np.partition(fast, len(fast) - k)[len(fast) - k]))
    rows = np.flatnonzero(fast >= limit - slack)
    cosines = np.einsum("nvd,d->nv", photos[rows].astype(np.float64), query.astype(np.float64))
    exact = cosines.max(axis=1).astype(np.float32) if len(rows) else cosines[:, 0]
    which = cosines.argmax(axis=1)
    found = zip(rows, exact, which, strict=True)
    return [(int(row), float(score), int(vector)) for row, score, vector in found if score >= floor]
