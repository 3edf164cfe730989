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
import numpy.typing as npt

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
from pipeline.vectors.quantiser import directions
from pipeline.vectors.query_vectors import Bools, Int64, QueryVectors

Bits = npt.NDArray[np.uint8]

_FEWEST = 1000
"""Photos on a shortlist, at least."""
_PER_CANDIDATE = 4
"""Photos on a shortlist for each that is to be compared exactly, at least."""
_FEW_VECTORS = 4
"""Vectors of a query that are looked for one by one, each of which takes a look at all photos."""
_SPARE, _SPARE_PHOTOS = 1.5, 100
"""A shard is asked for so many times its share of a shortlist first, and so many photos more."""


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

        Of a query of a few vectors, the candidates are those of each vector of positive weight, of which there must be
        one; the shortlist is divided among them. A query of many, such as a photo, is taken as a whole, as the photos
        are: the candidates are those whose directions are nearest to the sum of its vectors.

        Args:
            query: what is looked for.
            k: photos wanted.
            selection: the photos to choose among.
        """
        settings = self.directions.quantiser.settings
        vectors = np.ascontiguousarray(query.vectors[query.weights > 0])
        if len(vectors) > _FEW_VECTORS:
            weighted = vectors * query.weights[query.weights > 0, None]
            whole = directions(weighted, np.array([len(weighted)]))[0]
            with one_thread():
                found = [
                    listed.photos for listed in self._shortlist(whole, max(PER_PHOTO * k, settings.rescored), selection)
                ]
            return np.sort(np.concatenate(found))
        wanted = -(-PER_PHOTO * k // len(vectors))
        share = math.ceil(settings.shortlist * selection.allowed / len(vectors))
        most = max(_FEWEST // len(vectors), _PER_CANDIDATE * wanted, share)
        rescored = max(-(-settings.rescored // len(vectors)), wanted)
        with one_thread():
            found = [
                self._nearest(vector, self._shortlist(vector, most, selection), rescored, wanted) for vector in vectors
            ]
        return np.unique(np.concatenate(found))

    def _shortlist(self, vector: Float32, most: int, selection: Selection) -> list[_Listed]:
        """The photos whose directions are nearest to a query [D], shard by shard: `most`, and ties of the last."""
        call = partial(self._directions_in, vector=vector)
        numbers = [number for number, bits in enumerate(selection.bits) if bits is not None]
        sizes = {number: len(self.shards[number].starts) - 1 for number in numbers}
        # About as many of each shard; if they are the best of all, there may be more.
        counts = {number: min(size, _share(most, size, sum(sizes.values()))) for number, size in sizes.items()}
        found: dict[int, _Listed] = {}
        pending = numbers
        while pending:
            bits = [selection.bits[number] for number in pending]
            found |= zip(pending, self.directions.map(call, pending, bits, [counts[n] for n in pending]), strict=True)
            scores = np.concatenate([found[number].scores for number in numbers])
            limit = np.partition(scores, len(scores) - most)[len(scores) - most] if len(scores) > most else -np.inf
            pending = [
                number
                for number in numbers
                if counts[number] < sizes[number]
                and len(found[number].scores) == counts[number]
                and found[number].scores[-1] >= limit
            ]
            counts |= {number: min(sizes[number], max(most, 2 * counts[number])) for number in pending}
        return [found[number].above(limit) for number in numbers]

    def _directions_in(self, number: int, bits: Bits, count: int, vector: Float32) -> _Listed:
        """The photos of a shard whose directions are nearest to a query [D], best first."""
        near = vector[None] @ self.directions.quantiser.centroids.T
        (scores,), (photos,) = search_shard(
            self.shards[number], bits, vector[None], np.zeros((1, 1), np.int64), near, count
        )
        return _Listed(self.codes[number], photos, scores)

    def _nearest(self, vector: Float32, shortlist: list[_Listed], count: int, wanted: int) -> Int64:
        """The photos on a shortlist whose vectors are nearest to a query [D]; at least `wanted`, if there are."""
        shortlist = [listed for listed in shortlist if len(listed.photos)]
        while shortlist:
            results = self.directions.map(partial(_vectors_of, vector=vector, count=count), shortlist)
            complete = all(len(scores) < count for scores, _ in results)
            order = np.argsort(-np.concatenate([scores for scores, _ in results]), kind="stable")
            ranked = np.concatenate([photos for _, photos in results])[order if complete else order[:count]]
            found = np.unique(ranked)
            if complete or len(found) >= wanted:
                return found
            count = int(FURTHER * count * wanted / max(1, len(found))) + 1
        return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class _Listed:
    """Photos of a shard: numbers in the snapshot, and approximate products of their directions with a query."""

    codes: PhotoCodes
    photos: Int64
    scores: Float32

    def above(self, limit: float) -> _Listed:
        """Those of at least this score, in the order in which their codes are stored."""
        kept = self.scores >= limit
        photos, scores = self.photos[kept], self.scores[kept]
        order = np.argsort(photos)
        return _Listed(self.codes, photos[order], scores[order])


def _share(most: int, size: int, total: int) -> int:
    """Photos that a shard of this size is asked for at first."""
    return math.ceil(_SPARE * most * size / total) + _SPARE_PHOTOS


def _vectors_of(listed: _Listed, vector: Float32, count: int) -> tuple[Float32, Int64]:
    return listed.codes.search(vector, listed.photos, listed.scores, count)
