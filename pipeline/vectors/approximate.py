"""Finding the photos that are worth comparing exactly, by inverted lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from pipeline.retrieval.similarity import Float32
from pipeline.vectors.inverted_lists import InvertedLists
from pipeline.vectors.quantiser import Quantiser
from pipeline.vectors.query_vectors import Bools, Int64, QueryVectors

_EXACT_VECTORS = 1 << 16
"""Allowed vectors below which all are compared: that takes no longer than the lists."""
_PER_PHOTO = 3
"""Photos compared exactly for each that is asked for, at least."""
_BEYOND = 1.5
"""Vectors that are looked for first, for each photo: some are of the same photo."""


@dataclass(frozen=True, eq=False)
class ListedShard:
    """The lists of a shard, and whose vectors are in them.

    Attributes:
        first: number of its first photo in the snapshot.
        starts: int64 [n + 1], the first vector of each of its photos, and their number.
        lists: the lists.
    """

    first: int
    starts: Int64
    lists: InvertedLists

    @property
    def photos(self) -> slice:
        """The numbers of its photos in the snapshot."""
        return slice(self.first, self.first + len(self.starts) - 1)


@dataclass(frozen=True, eq=False)
class ApproximateIndex:
    """The inverted lists of all shards, searched with one look at the centroids.

    Attributes:
        quantiser: of all shards.
        shards: in the order of their photos.
    """

    quantiser: Quantiser
    shards: tuple[ListedShard, ...]

    def worthwhile(self, mask: Bools) -> bool:
        """Whether lists are faster than comparing all photos of a mask [N], and do not look at all vectors anyway."""
        settings = self.quantiser.settings
        return self._probes(mask) < settings.lists and self._count(mask)[1] > _EXACT_VECTORS

    def narrowed(self, query: QueryVectors, k: int, mask: Bools) -> Bools:
        """A mask [N] without the photos in the lists that are not worth comparing with a query; see `candidates`."""
        narrow = mask.copy()
        for shard in self.shards:
            narrow[shard.photos] = False
        narrow[self.candidates(query, k, mask)] = True
        return narrow

    def candidates(self, query: QueryVectors, k: int, mask: Bools) -> Int64:
        """Photos that may be among the k best of a query: their numbers, ascending.

        A text has one vector, and the score of a photo is that of its nearest vector. So the first R different photos
        in the list of all vectors by their approximate score are the R best by that score, whatever the number of
        vectors per photo: the search is repeated for twice as many vectors until R photos are among those found, or no
        others are in the lists that are looked into. Of a query of several vectors, the candidates are those of each
        vector of positive weight; what is sure for one vector is not for their sum.

        Args:
            query: what is looked for.
            k: photos wanted.
            mask: bool [N], the photos to choose among.
        """
        wanted = max(self.quantiser.settings.rescored, _PER_PHOTO * k)
        vectors = self.quantiser.rotated(query.vectors[query.weights > 0])
        selectors = [_Selector(shard, mask) for shard in self.shards]
        each = -(-wanted // len(vectors))
        with _one_thread():
            near, lists = self.quantiser.coarse.search(np.ascontiguousarray(vectors), self._probes(mask))
            found = [
                self._nearest(vectors[row : row + 1], lists[row : row + 1], near[row : row + 1], each, selectors)
                for row in range(len(vectors))
            ]
        return np.unique(np.concatenate(found))

    def _nearest(
        self, vector: Float32, lists: Int64, near: Float32, wanted: int, selectors: Sequence[_Selector]
    ) -> Int64:
        """The photos of the highest approximate scores with a vector [1, D], best first; `wanted` if there are."""
        count = wanted if self._single else int(_BEYOND * wanted)
        while True:
            scores, photos, complete = [], [], True
            for shard, selector in zip(self.shards, selectors, strict=True):
                if selector.empty:
                    continue
                of_shard, vectors = _search(shard, vector, lists, near, count, selector)
                complete &= len(vectors) < count
                scores.append(of_shard)
                photos.append(shard.first + np.searchsorted(shard.starts, vectors, side="right") - 1)
            if not scores:
                return np.zeros(0, np.int64)
            ranked = np.concatenate(photos)[np.argsort(-np.concatenate(scores), kind="stable")]
            # Beyond the first `count` of all, a shard may have more than it was asked for.
            ranked = ranked if complete else ranked[:count]
            _, places = np.unique(ranked, return_index=True)
            if complete or len(places) >= wanted:
                return ranked[np.sort(places)[:wanted]]
            count *= 2

    @property
    def _single(self) -> bool:
        return all(int(shard.starts[-1]) == len(shard.starts) - 1 for shard in self.shards)

    def _count(self, mask: Bools) -> tuple[int, int]:
        """Vectors in the lists, and about how many of these a mask allows."""
        vectors = sum(shard.lists.vectors for shard in self.shards)
        photos = sum(len(shard.starts) - 1 for shard in self.shards)
        allowed = sum(int(mask[shard.photos].sum()) for shard in self.shards)
        return vectors, allowed * vectors // max(1, photos)

    def _probes(self, mask: Bools) -> int:
        """Lists to look into: the more, the fewer of their vectors are allowed."""
        settings = self.quantiser.settings
        vectors, allowed = self._count(mask)
        return min(settings.lists, -(-settings.probes * vectors // max(1, allowed)))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep FAISS from opening threads in this one, which queries that come at the same time would wait for."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class _Selector:
    """The vectors of a shard whose photos are allowed, as FAISS wants them."""

    def __init__(self, shard: ListedShard, mask: Bools) -> None:
        import faiss

        allowed = mask[shard.photos]
        self.empty = not allowed.any()
        self.faiss = None
        if not self.empty and not allowed.all():
            flags = np.repeat(allowed, np.diff(shard.starts))
            self.bits = np.packbits(flags, bitorder="little")
            self.faiss = faiss.IDSelectorBitmap(len(self.bits), faiss.swig_ptr(self.bits))


def _search(
    shard: ListedShard, vector: Float32, lists: Int64, near: Float32, count: int, selector: _Selector
) -> tuple[Float32, Int64]:
    """Scores and numbers in the shard of its nearest vectors, best first, at most `count`."""
    import faiss

    probes = lists.shape[1]
    parameters = faiss.SearchParametersIVF(nprobe=probes, sel=selector.faiss)
    scores = np.empty((1, count), np.float32)
    numbers = np.empty((1, count), np.int64)
    shard.lists.index.search_preassigned_c(
        1,
        *(faiss.swig_ptr(vector), count, faiss.swig_ptr(lists), faiss.swig_ptr(near)),
        *(faiss.swig_ptr(scores), faiss.swig_ptr(numbers), False, parameters, None),
    )
    there = (numbers[0] >= 0) & (numbers[0] < shard.lists.vectors)  # files of others may hold any number
    return scores[0][there], numbers[0][there]
