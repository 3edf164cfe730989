"""Bytes, memory and time that an index takes, estimated before it is built."""

from __future__ import annotations

from pipeline.vectors.quantiser import GRAPH_FROM
from pipeline.vectors.settings import IndexSettings, code_bytes
from pipeline.vectors.training import TWO_LEVELS

_PHOTO = 250
"""Bytes of a photo in the table of a shard: id, URI, sizes and a few objects."""
_PROCESS = 2**29
"""Bytes of a process with FAISS, Arrow and NumPy, and of the blocks that it reads."""
_READ = 400e6
"""Numbers that a core reads from Parquet and writes to a shard, a second."""
_PRODUCTS = 8e9
"""Products of numbers that a core makes a second when vectors are compared with centroids."""
_ITERATIONS = 12
"""Passes of k-means over the sample, its start included."""
_CODED = 25e6
"""Numbers of vectors that a core codes a second for `photo-pq`."""
_LOOKS = 1500
"""Centroids that the graph compares with a vector to find the nearest."""


def bytes_of(settings: IndexSettings, photos: int, vectors: int, dim: int) -> int:
    """Bytes of an index on disk."""
    stored = 2 * dim * vectors if settings.keep_vectors else 0
    centroids = 0 if settings.kind == "exact" else 4 * dim * settings.lists
    photo = _PHOTO + (dim // 2 + 8 if settings.kind == "photo-pq" else 0)
    return photos * photo + stored + code_bytes(settings, dim) * vectors + centroids


def memory_of_shard(settings: IndexSettings, photos: int, vectors: int, dim: int) -> int:
    """Bytes of memory of the process that makes a shard: its codes, twice while they grow, and the quantiser."""
    if settings.kind == "photo-pq":  # keeps the codes of the photos alone
        return _PROCESS + 2 * (dim // 2 + 8) * photos
    return _PROCESS + 2 * code_bytes(settings, dim) * vectors + 3 * 4 * dim * settings.lists


def memory_of_training(settings: IndexSettings, sample: int, dim: int) -> int:
    """Bytes of memory of the process that trains: the sample as it is read, in one piece, and as FAISS has it."""
    return _PROCESS + 3 * 4 * dim * sample + 2 * 4 * dim * settings.lists


def seconds_of(settings: IndexSettings, vectors: int, dim: int, sample: int, cores: int) -> float:
    """Seconds to train on `sample` vectors (0: not trained) and to make shards of `vectors`, on so many cores."""
    reading = (vectors + sample) * dim / _READ
    if settings.kind == "exact":
        return reading / cores
    if settings.kind == "photo-pq":
        return (reading + (vectors + sample) * dim / _CODED) / cores
    assigned = vectors * (_LOOKS if settings.lists >= GRAPH_FROM else settings.lists)
    of_level = 2 * settings.lists**0.5 if settings.lists >= TWO_LEVELS else settings.lists
    trained = _ITERATIONS * sample * of_level
    return (reading + (assigned + trained) * dim / _PRODUCTS) / cores
