"""An export as a FAISS index of exact inner products: index.faiss, and ids.parquet.

FAISS writes such a file from an index in memory, which for a million photos of 32 vectors would take 32 GB. Here it is
written as it comes: the header of an empty index with other counts, the vectors, and the ids.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.errors import QpertError
from pipeline.exports.job import Job
from pipeline.exports.matrix import write_matrix
from pipeline.exports.rows import ExportRows

NAME = "index.faiss"
_COUNT = struct.Struct("<q")
_COUNT_AT = 8
"""Where the header of an index holds its number of vectors: after its kind and their length, four bytes each."""
_CHUNK = 1 << 20


def check(rows: ExportRows) -> None:
    """Refuses rows with several vectors.

    Raises:
        QpertError: says what to choose instead.
    """
    if rows.vectors_per_row != 1:
        raise QpertError(
            "a FAISS index has a vector per row, and these photos have several; choose --rows vector or --pool mean"
        )


def write(job: Job) -> None:
    """Writes an `IndexIDMap` of an `IndexFlatIP`, whose ids are the column `id` of ids.parquet."""
    before, after = file_around(job.rows.features.dim, job.count)
    write_matrix(job, NAME, before, after)


def file_around(dim: int, count: int) -> tuple[bytes, Iterator[bytes]]:
    """What comes before and after the `count` vectors of length `dim` in the file of an index.

    Raises:
        QpertError: this version of FAISS writes another format, as an index of one vector shows.
    """
    import faiss

    sample: Any = faiss.IndexIDMap(faiss.IndexFlatIP(dim))
    empty = faiss.serialize_index(sample).tobytes()
    one = np.arange(dim, dtype=np.float32)[None]
    sample.add_with_ids(one, np.zeros(1, np.int64))
    before, after = _around(empty, dim, 1)
    if before + one.tobytes() + b"".join(after) != faiss.serialize_index(sample).tobytes():
        raise QpertError(f"FAISS {faiss.__version__} writes indexes in a form that is not known; export to npy instead")
    return _around(empty, dim, count)


def _around(empty: bytes, dim: int, count: int) -> tuple[bytes, Iterator[bytes]]:
    """The same, from the file of an empty index: two headers, the number of numbers, and the number of ids."""
    before = bytearray(empty[: -_COUNT.size])
    inner = (len(before) - _COUNT.size) // 2
    for place in (_COUNT_AT, inner + _COUNT_AT):
        _COUNT.pack_into(before, place, count)
    _COUNT.pack_into(before, len(before) - _COUNT.size, count * dim)
    return bytes(before), _ids(count)


def _ids(count: int) -> Iterator[bytes]:
    yield _COUNT.pack(count)
    for start in range(0, count, _CHUNK):
        yield np.arange(start, min(start + _CHUNK, count), dtype="<i8").tobytes()
