"""Finding the photos that are worth comparing exactly, by inverted lists."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.retrieval.similarity import Float32
from pipeline.vectors.inverted_lists import InvertedLists
from pipeline.vectors.quantiser import Quantiser
from pipeline.vectors.query_vectors import Bools, Int64, QueryVectors

EXACT_VECTORS = 1 << 16
"""Allowed vectors below which all are compared: that takes no longer than the lists."""
PER_PHOTO = 5
"""Photos compared exactly for each that is asked for, at least."""
FURTHER = 1.5
"""Vectors that are looked for again, for each that will do if further photos are as frequent as those found."""
_PROBES = 32
"""Lists looked into for each vector of a query of many, at least."""
_THREADS = 4
Result = TypeVar("Result")


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

    @cached_property
    def per_photo(self) -> int | None:
        """Vectors of every photo; None where their numbers differ."""
        counts = np.diff(self.starts)
        return int(counts[0]) if len(counts) and (counts == counts[0]).all() else None

    def photos_of(self, vectors: Int64) -> Int64:
        """The numbers in the snapshot of the photos that vectors of the shard are of."""
        if self.per_photo is not None:
            return self.first + vectors // self.per_photo
        return self.first + np.searchsorted(self.starts, vectors, side="right") - 1


class Selection:
    """The photos of all shards that are allowed, as FAISS wants them."""

    def __init__(self, shards: Sequence[ListedShard], mask: Bools) -> None:
        self.bits = [_bits(shard, mask[shard.photos]) for shard in shards]
        self.vectors = sum(shard.lists.vectors for shard in shards)
        photos = sum(len(shard.starts) - 1 for shard in shards)
        count = sum(int(mask[shard.photos].sum()) for shard in shards)
        self.allowed = count * self.vectors // max(1, photos)
        """About how many of the vectors are allowed."""


class ApproximateIndex(ABC):
    """What narrows the photos down to those that are worth comparing exactly."""

    shards: tuple[ListedShard, ...]

    @abstractmethod
    def selection(self, allowed: Bools | None) -> Selection:
        """The photos that count, or those of a mask [N] of them."""

    @abstractmethod
    def worthwhile(self, selection: Selection) -> bool:
        """Whether it is faster to narrow the photos down than to compare all of them."""

    @abstractmethod
    def candidates(self, query: QueryVectors, k: int, selection: Selection) -> Int64:
        """Photos that may be among the k best of a query: their numbers, ascending."""

    @property
    @abstractmethod
    def mapped(self) -> list[InvertedLists]:
        """The mapped files that a search looks into."""

    @property
    @abstractmethod
    def looks_at(self) -> str:
        """What a search looks at, for display."""

    def narrowed(self, query: QueryVectors, k: int, mask: Bools, selection: Selection) -> Bools:
        """A mask [N] without the photos in shards of this index that are no candidates; see `candidates`."""
        narrow = mask.copy()
        for shard in self.shards:
            narrow[shard.photos] = False
        found = self.candidates(query, k, selection)
        narrow[found] = mask[found]
        return narrow


@dataclass(frozen=True, eq=False)
class ListIndex(ApproximateIndex):
    """The inverted lists of all shards, searched with one look at the centroids.

    Attributes:
        quantiser: of all shards.
        shards: in the order of their photos.
        live: bool [N], the photos that count.
    """

    quantiser: Quantiser
    shards: tuple[ListedShard, ...]
    live: Bools

    @cached_property
    def all_live(self) -> Selection:
        """All photos that count."""
        return Selection(self.shards, self.live)

    @property
    def mapped(self) -> list[InvertedLists]:
        """See `ApproximateIndex`."""
        return [shard.lists for shard in self.shards]

    @property
    def looks_at(self) -> str:
        """See `ApproximateIndex`."""
        settings = self.quantiser.settings
        return f"{settings.probes} of {settings.lists} lists"

    def selection(self, allowed: Bools | None) -> Selection:
        """See `ApproximateIndex`."""
        return self.all_live if allowed is None else Selection(self.shards, self.live & allowed)

    def worthwhile(self, selection: Selection) -> bool:
        """See `ApproximateIndex`; not where all lists would be looked into anyway."""
        return self._probes(selection) < self.quantiser.settings.lists and selection.allowed > EXACT_VECTORS

    def candidates(self, query: QueryVectors, k: int, selection: Selection) -> Int64:
        """Photos that may be among the k best of a query: their numbers, ascending.

        A text has one vector, and the score of a photo is that of its nearest vector. So the first R different photos
        in the list of all vectors by their approximate score are the R best by that score, whatever the number of
        vectors per photo. The search is repeated for more vectors until R photos are among those found, R at least five
        times k, or no others are in the lists that are looked into. Of a query of several vectors, the candidates are
        those of each vector of positive weight, of which there must be one; what is sure for one vector is not for
        their sum.

        Args:
            query: what is looked for.
            k: photos wanted.
            selection: the photos to choose among.
        """
        vectors = np.ascontiguousarray(self.quantiser.rotated(query.vectors[query.weights > 0]))
        with one_thread():
            near, lists = self.quantiser.nearest_lists(vectors, self._probes(selection, len(vectors)))
            found = self._nearest(vectors, lists, near, -(-PER_PHOTO * k // len(vectors)), selection)
        return np.unique(np.concatenate(found))

    def _nearest(self, vectors: Float32, lists: Int64, near: Float32, wanted: int, selection: Selection) -> list[Int64]:
        """The photos of the highest approximate scores with each vector [n, D]; at least `wanted`, if there are."""
        photos: list[Int64] = [np.zeros(0, np.int64)] * len(vectors)
        count = max(-(-self.quantiser.settings.rescored // len(vectors)), wanted)
        pending = np.arange(len(vectors))
        shards = [pair for pair in zip(self.shards, selection.bits, strict=True) if pair[1] is not None]
        while len(pending) and shards:
            call = partial(
                search_shard, vectors=vectors[pending], lists=lists[pending], near=near[pending], count=count
            )
            results = self.map(call, *zip(*shards, strict=True))
            left = []
            for row, number in enumerate(pending.tolist()):
                scores = np.concatenate([result[0][row] for result in results])
                best = np.argsort(-scores, kind="stable")
                # Beyond the first `count` of all, a shard may have more than it was asked for.
                complete = all(len(result[0][row]) < count for result in results)
                ranked = np.concatenate([result[1][row] for result in results])[best if complete else best[:count]]
                photos[number] = np.unique(ranked)
                if not complete and len(photos[number]) < wanted:
                    left.append(number)
            fewest = min((len(photos[number]) for number in left), default=wanted)
            pending = np.array(left, np.int64)
            count = int(FURTHER * count * wanted / fewest) + 1
        return photos

    def _probes(self, selection: Selection, vectors: int = 1) -> int:
        """Lists to look into: the more, the fewer of their vectors are allowed."""
        settings = self.quantiser.settings
        probes = max(settings.probes // vectors, min(settings.probes, _PROBES))
        return min(settings.lists, -(-probes * selection.vectors // max(1, selection.allowed)))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), initializer=_stay_alone)

    def map(self, call: Callable[..., Result], *items: Sequence[Any]) -> list[Result]:
        """The results of calls for several shards, side by side."""
        return list((map if len(items[0]) == 1 else self._pool.map)(call, *items))


def search_shard(
    shard: ListedShard, bits: npt.NDArray[np.uint8], vectors: Float32, lists: Int64, near: Float32, count: int
) -> tuple[list[Float32], list[Int64]]:
    """The nearest vectors in a shard.

    Args:
        shard: where to look.
        bits: a bit for each of its vectors, whether it is allowed; empty if all are.
        vectors: float32 [n, D], as the index has them.
        lists: int64 [n, probes], the lists to look into.
        near: float32 [n, probes], the products with their centroids.
        count: vectors wanted for each.

    Returns:
        Approximate scores, best first, and numbers in the snapshot of the photos, of each vector of the query; fewer
        than `count` where the lists have no more.
    """
    import faiss

    selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)) if len(bits) else None
    parameters = faiss.SearchParametersIVF(nprobe=lists.shape[1], sel=selector)
    scores = np.empty((len(vectors), count), np.float32)
    numbers = np.empty((len(vectors), count), np.int64)
    shard.lists.index.search_preassigned_c(
        len(vectors),
        *(faiss.swig_ptr(vectors), count, faiss.swig_ptr(lists), faiss.swig_ptr(near)),
        *(faiss.swig_ptr(scores), faiss.swig_ptr(numbers), False, parameters, None),
    )
    there = (numbers >= 0) & (numbers < shard.lists.vectors)  # files of others may hold any number
    kept = [np.flatnonzero(row) for row in there]
    photos = [shard.photos_of(row[places]) for row, places in zip(numbers, kept, strict=True)]
    return [row[places] for row, places in zip(scores, kept, strict=True)], photos


def _bits(shard: ListedShard, allowed: Bools) -> npt.NDArray[np.uint8] | None:
    """A bit for each vector of a shard, whether its photo is allowed; none if all are, and None if no photo is."""
    if allowed.all():
        return np.zeros(0, np.uint8)
    if not allowed.any():
        return None
    if shard.per_photo is not None and shard.per_photo % 8 == 0:
        return np.repeat(allowed.view(np.uint8) * np.uint8(255), shard.per_photo // 8)
    return np.packbits(np.repeat(allowed, np.diff(shard.starts)), bitorder="little")


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep FAISS from opening threads in this one, which queries that come at the same time would wait for."""
    import faiss

    before = faiss.omp_get_max_threads()
    _stay_alone()
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _stay_alone() -> None:
    import faiss

    faiss.omp_set_num_threads(1)
