"""The inverted lists of a shard on disk, in the layout in which FAISS maps them.

``lists.bin`` has the codes of each list and then the numbers of its vectors in the shard (int64), ``lists.npy`` how
many vectors each list has. Everything else about the layout follows from that, so a file can only be longer or shorter
than it should be, and that is checked; numbers that lead nowhere are dropped by whoever searches.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import QpertError
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.array_file import ArrayFile, writing_array
from pipeline.vectors.layout import LISTS, SIZES
from pipeline.vectors.quantiser import PACKED, Quantiser
from pipeline.vectors.query_vectors import Int64

_ALIGNED = 64
_NUMBER = 8
_PAGE = 4096


def layout(sizes: Int64, code_size: int, packed: int) -> tuple[Int64, Int64, int]:
    """Where lists are in the file.

    Args:
        sizes: int64 [lists], vectors in each.
        code_size: bytes of a code.
        packed: codes that are stored together; the last ones of a list are filled up.

    Returns:
        Capacity of each list in vectors, its offset in bytes, and the size of the file.
    """
    capacities = -(-sizes // packed) * packed
    lengths = capacities * code_size + sizes * _NUMBER
    ends = np.cumsum(-(-lengths // _ALIGNED) * _ALIGNED)
    return capacities, ends - -(-lengths // _ALIGNED) * _ALIGNED, int(ends[-1])


class ListWriter:
    """Collects the codes of a shard in memory, and writes them."""

    def __init__(self, quantiser: Quantiser) -> None:
        self.quantiser = quantiser
        self.index = quantiser.empty_index(assigning=True)

    def add(self, vectors: Float32) -> None:
        """Add the next unit vectors [m, D]."""
        self.index.add(self.quantiser.rotated(vectors))

    def write(self, folder: str) -> None:
        """Write the lists of all vectors into `folder`."""
        import faiss

        lists, code_size, packed = self.index.invlists, self.index.code_size, packing(self.quantiser)
        sizes = np.array([lists.list_size(number) for number in range(lists.nlist)], np.int64)
        capacities, offsets, total = layout(sizes, code_size, packed)
        with open(os.path.join(folder, LISTS), "wb") as file:
            for number in np.flatnonzero(sizes).tolist():
                file.seek(int(offsets[number]))
                codes, ids = lists.get_codes(number), lists.get_ids(number)
                file.write(faiss.rev_swig_ptr(codes, int(capacities[number]) * code_size).data)
                file.write(faiss.rev_swig_ptr(ids, int(sizes[number])).data)
                lists.release_codes(number, codes)
                lists.release_ids(number, ids)
            file.truncate(total)
            file.flush()
            os.fsync(file.fileno())
        with writing_array(os.path.join(folder, SIZES), np.int64, ()) as file:
            file.write(sizes.data)


def packing(quantiser: Quantiser) -> int:
    """How many codes are stored together."""
    return PACKED if quantiser.settings.kind in ("ivf-pq", "photo-pq") else 1


@dataclass(frozen=True, eq=False)
class InvertedLists:
    """The lists of a shard, opened.

    Attributes:
        index: a FAISS index that looks into them.
        vectors: how many there are.
        kept_alive: what FAISS has but pointers to.
    """

    index: Any
    vectors: int
    kept_alive: tuple[Any, ...] = field(repr=False)

    @property
    def bytes(self) -> int:
        """Size of the mapped file."""
        return int(self.kept_alive[0].totsize)

    def warm(self) -> None:
        """Look at every page of the mapped file, so that no query has to wait for it."""
        import faiss

        if self.bytes:
            int(faiss.rev_swig_ptr(self.kept_alive[0].ptr, self.bytes)[::_PAGE].sum())


def open_lists(quantiser: Quantiser, folder: str, vectors: int) -> InvertedLists:
    """Map the lists of a shard.

    Raises:
        QpertError: they are missing or damaged.
    """
    path = os.path.join(folder, LISTS)
    count = quantiser.settings.lists
    sizes = ArrayFile(os.path.join(folder, SIZES), np.int64, (count,)).rows(0, count)
    if (sizes < 0).any() or (sizes > vectors).any() or int(sizes.sum()) != vectors:
        raise QpertError(f"{path} is damaged: its lists do not have {vectors:,} vectors")
    return map_lists(path, quantiser.empty_index(), sizes, packing(quantiser))


def map_lists(path: str, index: Any, sizes: Int64, packed: int) -> InvertedLists:
    """Map a file of lists.

    Args:
        path: of the file.
        index: an empty FAISS index that is to look into them.
        sizes: int64 [lists], the vectors in each.
        packed: see `layout`.

    Raises:
        QpertError: the file is missing or damaged.
    """
    import faiss

    capacities, offsets, total = layout(sizes, index.code_size, packed)
    try:
        found = os.stat(path).st_size
    except OSError as error:
        raise QpertError(f"{path} cannot be read ({error.strerror})") from error
    if found != total:
        raise QpertError(f"{path} is damaged: {found:,} bytes of {total:,}")
    lists = faiss.OnDiskInvertedLists()
    lists.nlist, lists.code_size, lists.filename = len(sizes), index.code_size, path
    lists.read_only, lists.totsize, lists.prefetch_nthread = True, total, 0
    lists.lists.resize(len(sizes))
    records = np.ascontiguousarray(np.stack([sizes, capacities, offsets], axis=1))
    faiss.memcpy(lists.lists.data(), faiss.swig_ptr(records), records.nbytes)
    if total:
        lists.do_mmap()
    index.replace_invlists(lists, False)
    index.ntotal = vectors = int(sizes.sum())
    return InvertedLists(index, vectors, (lists, index.quantizer))
