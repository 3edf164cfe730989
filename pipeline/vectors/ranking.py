"""The best photos of some queries so far, exactly, whatever blocks the photos come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.retrieval.similarity import Float32, unit
from pipeline.vectors.query_vectors import Found, Int64, QueryVectors

_EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Rows:
    """The vectors of some photos, as they are stored.

    Attributes:
        vectors: [m, D] float16 or float32, those of a photo one after another.
        counts: int64 [n], vectors of each photo, at least 1; they add up to m.
        what: where they are, for messages.
        unit: the vectors are of length 1 already, so that they are used as they are.
    """

    vectors: npt.NDArray[Any]
    counts: Int64
    what: str
    unit: bool = False

    def as_unit(self) -> Float32:
        """The vectors as float32 of length 1.

        Raises:
            QpertError: one is NaN, infinite or zero.
        """
        return self.vectors if self.unit else unit(self.vectors, self.what)


class _Ranked(NamedTuple):
    """A photo; its first two fields sort best first, ties by image_id."""

    negative: float
    image_id: str
    photo: int
    vector: int


@dataclass
class Ranking:
    """The k best photos of each query.

    The last bits of a float32 matrix product depend on the shape of its block, and equal photos would swap places from
    one index to another. So the products only choose candidates, all photos within the rounding error of the k-th best,
    and `add` scores these again in float64, always in the same order.

    Attributes:
        queries: what is looked for.
        k: photos per query.
        floor: photos that score below are left out.
        ids: image_ids of photos by their numbers.
    """

    queries: Sequence[QueryVectors]
    k: int
    floor: float
    ids: Callable[[Int64], Sequence[str]]
    matrix: Float32 = field(init=False)
    """The vectors of all queries [T, D]."""
    _ends: Int64 = field(init=False)
    _weights: Float32 | None = field(init=False, default=None)
    _slack: Float32 = field(init=False)
    _best: list[list[_Ranked]] = field(init=False)

    def __post_init__(self) -> None:
        self.matrix = np.concatenate([query.vectors for query in self.queries])
        self._ends = np.cumsum([len(query.weights) for query in self.queries])
        self._best = [[] for _ in self.queries]
        dim = self.matrix.shape[1]
        self._slack = np.array(
            [
                (2 * dim + 8 + 2 * len(query.weights)) * _EPS * float(np.abs(query.weights).sum())
                for query in self.queries
            ],
            np.float32,
        )
        if any(len(query.weights) > 1 or query.weights[0] != 1 for query in self.queries):
            self._weights = np.zeros((len(self.matrix), len(self.queries)), np.float32)
            for number, (query, end) in enumerate(zip(self.queries, self._ends, strict=True)):
                self._weights[end - len(query.weights) : end, number] = query.weights

    def scores(self, maxima: Float32) -> Float32:
        """Scores [n, queries] of photos from the highest cosine of their vectors with each vector [n, T]."""
        return maxima if self._weights is None else maxima @ self._weights

    def candidates(self, scores: Float32, number: int) -> Int64:
        """Places of the photos of a block that can be among the k best of a query by their fast scores [n]."""
        limit = self.limit(number)
        if len(scores) > self.k:
            limit = max(limit, float(np.partition(scores, len(scores) - self.k)[len(scores) - self.k]))
        return np.flatnonzero(scores >= np.float32(limit - self._slack[number]))

    def limit(self, number: int) -> float:
        """What a photo must score to be among the k best of a query, as far as is known."""
        best = self._best[number]
        return max(self.floor, -best[-1].negative) if len(best) == self.k else self.floor

    def limits(self) -> Float32:
        """For each query, the fast score below which no photo can be among the k best."""
        return np.array([self.limit(number) for number in range(len(self.queries))], np.float32) - self._slack

    def add(self, number: int, photos: Int64, rows: Rows) -> None:
        """Score some photos exactly for a query and keep the k best.

        Args:
            number: of the query.
            photos: their numbers in the snapshot; none that was added before.
            rows: their vectors.

        Raises:
            QpertError: a vector is NaN, infinite or zero.
        """
        if not len(photos):
            return
        query = self.queries[number]
        vectors = rows.as_unit().astype(np.float64)[:, None]
        starts = np.cumsum(rows.counts) - rows.counts
        total = np.zeros(len(photos), np.float64)
        nearest = np.zeros(len(photos), np.int64)
        for place, (vector, weight) in enumerate(zip(query.vectors, query.weights, strict=True)):
            cosines = np.einsum("nvd,d->nv", vectors, vector.astype(np.float64))[:, 0]
            total += float(weight) * np.maximum.reduceat(cosines, starts)
            if place == 0:
                parts = np.split(cosines, starts[1:])
                nearest = np.array([int(part.argmax()) for part in parts], np.int64)
        exact = total.astype(np.float32)
        kept = np.flatnonzero(exact.astype(np.float64) >= self.floor)
        names = self.ids(photos[kept])
        ranked = [
            _Ranked(-float(exact[at]), name, int(photos[at]), int(nearest[at]))
            for at, name in zip(kept, names, strict=True)
        ]
        self._best[number] = sorted(self._best[number] + ranked)[: self.k]

    def found(self) -> list[Found]:
        """The best photos of each query."""
        return [
            Found(
                np.array([hit.photo for hit in best], np.int64),
                np.array([-hit.negative for hit in best], np.float32),
                np.array([hit.vector for hit in best], np.int64),
            )
            for best in self._best
        ]
