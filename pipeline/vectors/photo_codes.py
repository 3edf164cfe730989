"""The codes of the vectors of a shard, photo by photo: what `photo-pq` compares the photos on its shortlist by.

``codes.bin`` has the layout of inverted lists, with a list for each photo. The number beside a code is that of its
photo, and what is coded is how a vector differs from the decoded direction of the photo.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO

import numpy as np

from pipeline.retrieval.similarity import Float32
from pipeline.vectors.inverted_lists import InvertedLists, ListWriter, layout, map_lists
from pipeline.vectors.layout import CODES
from pipeline.vectors.quantiser import PACKED, Quantiser, directions
from pipeline.vectors.query_vectors import Int64

_HEAP = 10
"""FAISS' search of one list after the other that keeps the best in a heap: the fastest for many short lists."""
_AT_ONCE = 1 << 14
"""Vectors that are coded at once, about."""


class PhotoCodeWriter:
    """Writes the codes of a shard: of the directions of its photos, and of all their vectors.

    Args:
        quantiser: of the kind `photo-pq`.
        folder: of the shard.
    """

    def __init__(self, quantiser: Quantiser, folder: str) -> None:
        self._quantiser, self._folder = quantiser, folder
        self._lists = ListWriter(quantiser)
        self._packer = quantiser.inner_packer()
        self._photos = 0

    def __enter__(self) -> PhotoCodeWriter:
        self._file: IO[bytes] = open(os.path.join(self._folder, CODES), "wb")
        return self

    def __exit__(self, *error: object) -> None:
        with self._file:
            if error[0] is None:
                self._lists.write(self._folder)
                self._file.flush()
                os.fsync(self._file.fileno())

    def add(self, vectors: Float32, counts: Int64) -> None:
        """Add the next photos.

        Args:
            vectors: unit vectors [m, D], those of a photo one after another.
            counts: int64 [n], how many each has, at least 1.
        """
        ends = np.cumsum(counts)
        at = 0
        while at < len(counts):
            first = int(ends[at - 1]) if at else 0
            to = max(at + 1, int(np.searchsorted(ends, first + _AT_ONCE, side="right")))
            self._add(vectors[first : int(ends[to - 1])], counts[at:to])
            at = to

    def _add(self, vectors: Float32, counts: Int64) -> None:
        photos = directions(vectors, counts)
        self._lists.add(photos)
        rest = vectors - np.repeat(self._quantiser.decoded(photos), counts, axis=0)
        self._file.write(self._records(rest, counts))
        self._photos += len(counts)

    def _records(self, rest: Float32, counts: Int64) -> bytes:
        """The codes and photo numbers of some photos, as `layout` has them."""
        import faiss

        packer = self._packer
        capacities, offsets, total = layout(counts, packer.code_size, PACKED)
        padded = np.zeros((int(capacities.sum()), rest.shape[1]), np.float32)
        padded[_places(np.cumsum(capacities) - capacities, counts)] = rest
        packer.reset()
        packer.add(padded)
        codes = faiss.vector_to_array(packer.codes)
        out = np.zeros(total, np.uint8)
        sizes = capacities * packer.code_size
        out[_places(offsets, sizes)] = codes
        numbers = np.repeat(np.arange(self._photos, self._photos + len(counts)), counts)
        out[_places(offsets + sizes, counts * numbers.itemsize)] = numbers.view(np.uint8)
        return out.tobytes()


def _places(starts: Int64, lengths: Int64) -> Int64:
    """The places of pieces of these lengths that begin at `starts`, piece after piece."""
    places: Int64 = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(int(lengths.sum()))
    return places


@dataclass(frozen=True, eq=False)
class PhotoCodes:
    """The codes of the vectors of a shard, opened.

    Attributes:
        first: number of its first photo in the snapshot.
        photos: how many it has.
        codes: a list for each of them.
    """

    first: int
    photos: int
    codes: InvertedLists

    @classmethod
    def open(cls, quantiser: Quantiser, folder: str, counts: Int64, first: int) -> PhotoCodes:
        """Map the codes of a shard.

        Args:
            quantiser: of the index.
            folder: of the shard.
            counts: int64 [n], vectors of each photo.
            first: number of its first photo in the snapshot.

        Raises:
            QpertError: they are missing or damaged.
        """
        index = quantiser.inner_index(len(counts))
        index.implem = _HEAP
        return cls(first, len(counts), map_lists(os.path.join(folder, CODES), index, counts, PACKED))

    def search(self, vector: Float32, photos: Int64, scores: Float32, count: int) -> tuple[Float32, Int64]:
        """The vectors of some photos that are nearest to a query.

        Args:
            vector: float32 [D], of the query.
            photos: int64 [n], numbers in the snapshot of photos of this shard.
            scores: float32 [n], products of the query with the decoded directions of these photos.
            count: vectors wanted.

        Returns:
            Approximate scores, best first, and numbers in the snapshot of the photos; fewer than `count` where the
            photos have no more.
        """
        import faiss

        lists, near = np.ascontiguousarray(photos - self.first), np.ascontiguousarray(scores)
        parameters = faiss.SearchParametersIVF(nprobe=len(lists))
        found = np.empty(count, np.float32)
        numbers = np.empty(count, np.int64)
        self.codes.index.search_preassigned_c(
            1,
            *(faiss.swig_ptr(vector), count, faiss.swig_ptr(lists), faiss.swig_ptr(near)),
            *(faiss.swig_ptr(found), faiss.swig_ptr(numbers), False, parameters, None),
        )
        there = (numbers >= 0) & (numbers < self.photos)  # files of others may hold any number
        return found[there], self.first + numbers[there]
