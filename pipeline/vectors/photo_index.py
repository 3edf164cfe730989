"""The index `photo-pq`: a look at every photo, then at all vectors of those on a shortlist.

The vectors of a photo lie close together. So the unit vector in the direction of their mean tells which photos are
worth a closer look: with 32 vectors a photo, the ten best are among the 2 % that it favours almost always, while
inverted lists of all vectors have to look at a tenth of them to find as many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.retrieval.similarity import Float32
from pipeline.vectors.approximate import (
    EXACT_VECTORS,
    FURTHER,
    PER_PHOTO,
    ApproximateIndex,
    ListedShard,
    ListIndex,
    Selection,
    one_thread,
    search_shard,
)
from pipeline.vectors.inverted_lists import InvertedLists
from pipeline.vectors.photo_codes import PhotoCodes
from pipeline.vectors.query_vectors import Bools, Int64, QueryVectors

_FEWEST = 1000
"""Photos on a shortlist, at least."""
_PER_CANDIDATE = 4
"""Photos on a shortlist for each that is to be compared exactly, at least."""


@dataclass(frozen=True, eq=False)
class PhotoIndex(ApproximateIndex):
    """The codes of all shards.

    Attributes:
        directions: lists of the photos' directions, each in the only list of its shard.
        codes: of the photos' vectors, in the order of the shards of `directions`.
    """

    directions: ListIndex
    codes: tuple[PhotoCodes, ...]

    @property
    def shards(self) -> tuple[ListedShard, ...]:  # type: ignore[override]  # read only
        """See `ApproximateIndex`."""
        return self.directions.shards

    @property
    def mapped(self) -> list[InvertedLists]:
        """See `ApproximateIndex`."""
        return [*self.directions.mapped, *(shard.codes for shard in self.codes)]

    @property
    def looks_at(self) -> str:
        """See `ApproximateIndex`."""
        return f"{self.directions.quantiser.settings.shortlist:.2%} of them by all their vectors"

    def selection(self, allowed: Bools | None) -> Selection:
        """See `ApproximateIndex`."""
        return self.directions.selection(allowed)

    def worthwhile(self, selection: Selection) -> bool:
        """See `ApproximateIndex`."""
        photos = sum(shard.photos for shard in self.codes)
        each = sum(shard.codes.vectors for shard in self.codes) / max(1, photos)
        return selection.allowed * each > EXACT_VECTORS

    def candidates(self, query: QueryVectors, k: int, selection: Selection) -> Int64:
        """See `ApproximateIndex`.

        Of a query of several vectors, the candidates are those of each vector of positive weight, of which there must
        be one; the shortlist is divided among them.

        Args:
            query: what is looked for.
            k: photos wanted.
            selection: the photos to choose among.
        """
        vectors = np.ascontiguousarray(query.vectors[query.weights > 0])
        wanted = -(-PER_PHOTO * k // len(vectors))
        share = self.directions.quantiser.settings.shortlist / len(vectors)
        most = max(_FEWEST // len(vectors), _PER_CANDIDATE * wanted, math.ceil(share * selection.allowed))
        rescored = max(-(-self.directions.quantiser.settings.rescored // len(vectors)), wanted)
        with one_thread():
            found = [
                self._nearest(vector, *self._shortlist(vector, most, selection), rescored, wanted) for vector in vectors
            ]
        return np.unique(np.concatenate(found))

    def _shortlist(self, vector: Float32, most: int, selection: Selection) -> tuple[Int64, Float32]:
        """The photos whose directions are nearest to a query [D], ascending, and their approximate products with it."""
        lists = np.zeros((1, 1), np.int64)
        near = vector[None] @ self.directions.quantiser.centroids.T
        shards = [pair for pair in zip(self.shards, selection.bits, strict=True) if pair[1] is not None]
        if not shards:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        counts = [min(most, len(shard.starts) - 1) for shard, _ in shards]
        call = partial(search_shard, vectors=vector[None], lists=lists, near=near)
        results = self.directions.map(
            lambda shard, bits, count: call(shard, bits, count=count), *zip(*shards, strict=True), counts
        )
        scores = np.concatenate([result[0][0] for result in results])
        photos = np.concatenate([result[1][0] for result in results])
        if len(scores) > most:
            best = np.argpartition(-scores, most - 1)[:most]
            scores, photos = scores[best], photos[best]
        photos, places = np.unique(photos, return_index=True)
        return photos, scores[places]

    def _nearest(self, vector: Float32, photos: Int64, scores: Float32, count: int, wanted: int) -> Int64:
        """The photos on a shortlist whose vectors are nearest to a query [D]; at least `wanted`, if there are."""
        starts = [shard.first for shard in self.codes]
        cuts = np.searchsorted(photos, starts[1:])
        parts = zip(self.codes, np.split(photos, cuts), np.split(scores, cuts), strict=True)
        some = [part for part in parts if len(part[1])]
        while some:
            call = partial(PhotoCodes.search, vector=vector, count=count)
            results = self.directions.map(
                lambda shard, photos, scores: call(shard, photos=photos, scores=scores),  # noqa: B023 - used at once
                *zip(*some, strict=True),
            )
            complete = all(len(result[0]) < count for result in results)
            order = np.argsort(-np.concatenate([result[0] for result in results]), kind="stable")
            ranked = np.concatenate([result[1] for result in results])[order if complete else order[:count]]
            found = np.unique(ranked)
            if complete or len(found) >= wanted:
                return found
            count = int(FURTHER * count * wanted / max(1, len(found))) + 1
        return np.zeros(0, np.int64)
