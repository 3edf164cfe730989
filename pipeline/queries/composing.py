"""From the terms of a query to the vectors that a search compares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.errors import QpertError
from pipeline.retrieval.similarity import Float32, unit
from pipeline.vectors.query_vectors import QueryVectors

_NOTHING = 1e-6
"""Length, as a share of the terms' weights, below which a sum of unit vectors is rounding error."""


def composed(terms: Sequence[tuple[Float32, float]], count: int) -> QueryVectors:
    """The query of some terms.

    With one vector per photo all terms are added up, as arithmetic of embeddings has it: the query is one vector, and
    the score its cosine. With several, texts are added up likewise, and a photo's share in the score is the mean, over
    its vectors, of the best cosine with those of the other photo: each of its vectors looks for its own counterpart.
    The weights are then scaled so that their sizes add up to 1, and scores stay within -1..1.

    Args:
        terms: unit vectors and weight of each: [1, D] of a text, [count, D] of a photo.
        count: V, vectors per photo as a whole.

    Raises:
        QpertError: the terms cancel each other out.
    """
    summed = [term for term in terms if count == 1 or len(term[0]) == 1]
    vectors: list[Float32] = []
    weights: list[float] = []
    if len(summed) == 1:
        vectors, weights = [summed[0][0]], [summed[0][1]]
    elif summed:
        total = sum(weight * vector[0].astype(np.float64) for vector, weight in summed)
        length = float(np.linalg.norm(total))
        if length > _NOTHING * sum(abs(weight) for _, weight in summed):
            vectors, weights = [(total / length).astype(np.float32)[None]], [length]
    for vector, weight in terms if count > 1 else ():
        if len(vector) > 1:
            vectors.append(vector)
            weights += [weight / len(vector)] * len(vector)
    if not vectors:
        raise QpertError("the terms of this query cancel each other out: nothing is left to look for")
    scaled = np.array(weights, np.float64)
    scaled /= np.abs(scaled).sum()
    # Float32 leaves a vector a little longer or shorter than 1: a query is normalised once more, as it always was.
    return QueryVectors(unit(np.concatenate(vectors), "the query"), scaled.astype(np.float32))
