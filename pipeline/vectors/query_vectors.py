"""What is searched for, and what is found, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import QpertError
from pipeline.retrieval.similarity import Float32

Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class QueryVectors:
    """A query of n weighted vectors.

    The score of a photo is ``sum_j weights[j] * max over the photo's vectors u of cos(vectors[j], u)``: of a text, with
    one vector of weight 1, the usual score of text-to-image retrieval.

    Attributes:
        vectors: float32 unit vectors [n, D], n >= 1.
        weights: float32 [n], finite; negative ones push photos down.

    Raises:
        QpertError: other shapes, or numbers that are not finite.
    """

    vectors: Float32
    weights: Float32

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not len(self.vectors) or self.weights.shape != self.vectors.shape[:1]:
            raise QpertError(
                f"a query has vectors of shape {list(self.vectors.shape)} and weights of shape"
                f" {list(self.weights.shape)}, expected [n, D] and [n]"
            )
        if not (np.isfinite(self.vectors).all() and np.isfinite(self.weights).all()):
            raise QpertError("a query has NaN or infinity in its vectors or weights")

    @classmethod
    def single(cls, vector: Float32) -> QueryVectors:
        """A query of one unit vector [D], such as that of a text."""
        return cls(vector[None], np.ones(1, np.float32))


@dataclass(frozen=True, eq=False)
class Found:
    """The photos found for a query, best first, equal scores by image_id.

    Attributes:
        photos: int64 [m], their numbers in the snapshot.
        scores: float32 [m].
        vectors: int64 [m], which of the photo's vectors is nearest to the first vector of the query.
    """

    photos: Int64
    scores: Float32
    vectors: Int64

    def __len__(self) -> int:
        return len(self.photos)
