"""The best photos of vectors, exactly: for programs that have vectors of their own in place of texts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.queries.hits import Hit
from pipeline.queries.query import Query, Term
from pipeline.queries.searching import Collection
from pipeline.retrieval.similarity import unit
from pipeline.vectors.query_vectors import QueryVectors


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
    queries = unit(vectors, "the query embeddings")
    if queries.ndim != 2 or queries.shape[1] != features.dim:
        raise QpertError(
            f"the queries have shape {list(queries.shape)}, but the features have dimension {features.dim}: "
            "they come from different encoders"
        )
    if k < 1:
        raise QpertError(f"k must be at least 1, not {k}")
    asked = [Query((Term(text=str(number)),), k=k, min_score=min_score, exact=True) for number in range(len(queries))]
    found = Collection.open([features], cache=False).find(
        asked, [QueryVectors.single(np.ascontiguousarray(query)) for query in queries], details=False
    )
    return [list(hits) for hits in found]
