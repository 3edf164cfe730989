"""What is measured: the search of a feature set, with and without its index, and other libraries on the same vectors.

Every engine answers a text with the photos that it holds for the best. The other libraries keep one vector per row:
the `fetched` nearest rows are reduced to distinct photos, and these are compared again exactly, all V vectors of each,
read as qpert reads them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pipeline.benchmarks.search_data import Int64
from pipeline.errors import QpertError
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.query_vectors import QueryVectors
from pipeline.vectors.snapshot import Snapshot

BEST = 10
"""Photos that a query asks for."""
_BLOCK = 2048
"""Photos whose vectors are handed on at once."""
_GRAPH: dict[str, Any] = {"metric": "cos", "dtype": "i8", "connectivity": 16}
_TUNED_MS = 10.0
_IDS = "ids.txt"


class Engine(Protocol):
    """Something that searches a set, opened."""

    snapshot: Snapshot

    def search(self, text: Float32) -> Int64:
        """The numbers [m] of the `BEST` best photos in the snapshot, best first, for a unit vector [D]."""


class Qpert:
    """The search of this package.

    Args:
        root: the feature set.
        exact: compare all photos, whatever index there is.
    """

    def __init__(self, root: Path, *, exact: bool = False) -> None:
        self.snapshot = open_snapshot(str(root))
        self.exact = exact

    def search(self, text: Float32) -> Int64:
        """See `Engine`."""
        return self.snapshot.search([QueryVectors.single(text)], BEST, exact=self.exact)[0].photos


class _Rows(ABC):
    """An index of another library with one row for each vector.

    Args:
        root: the feature set, all of whose photos have V vectors.
        folder: where `build` has written the index.
        fetched: rows that are fetched for a query.
    """

    def __init__(self, root: Path, folder: Path, fetched: int) -> None:
        self.snapshot = open_snapshot(str(root))
        self.fetched = fetched
        if (folder / _IDS).read_text(encoding="utf-8") != ids_digest(self.snapshot):
            raise QpertError(f"{folder} was built when the photos had other numbers; delete it")

    @abstractmethod
    def nearest(self, text: Float32) -> Int64:
        """The numbers of the nearest rows, best first."""

    def search(self, text: Float32) -> Int64:
        """See `Engine`."""
        _, first = np.unique(photos := self.nearest(text) // self.snapshot.features.vectors, return_index=True)
        return compared_again(self.snapshot, photos[np.sort(first)], text)


class Usearch(_Rows):
    """A graph (HNSW) of usearch over vectors of a byte per number, in memory.

    Args:
        root: see `_Rows`.
        folder: see `_Rows`.
        fetched: see `_Rows`.
        effort: candidates that the walk through the graph keeps.
    """

    def __init__(self, root: Path, folder: Path, fetched: int, effort: int) -> None:
        from usearch.index import Index

        super().__init__(root, folder, fetched)
        self.index = Index(**_GRAPH, ndim=self.snapshot.features.dim, expansion_search=max(effort, fetched))
        self.index.load(str(folder / "graph.usearch"))

    def nearest(self, text: Float32) -> Int64:
        """See `_Rows`."""
        found: Any = self.index.search(text, self.fetched, threads=1)
        keys: Int64 = found.keys.astype(np.int64)
        return keys

    @staticmethod
    def build(root: Path, folder: Path) -> None:
        """Builds the graph in memory, with all cores, and saves it."""
        from usearch.index import Index

        snapshot = open_snapshot(str(root))
        index = Index(**_GRAPH, ndim=snapshot.features.dim)
        for first, vectors in _blocks(snapshot):
            index.add(np.arange(first, first + len(vectors)), vectors)
        index.save(str(folder / "graph.usearch"))
        (folder / _IDS).write_text(ids_digest(snapshot), encoding="utf-8")


class Lance(_Rows):
    """A Lance table with an IVF_PQ index, read by LanceDB from disk.

    Args:
        root: see `_Rows`.
        folder: see `_Rows`.
        fetched: see `_Rows`.
        effort: partitions that are looked into.
    """

    def __init__(self, root: Path, folder: Path, fetched: int, effort: int) -> None:
        import lancedb

        super().__init__(root, folder, fetched)
        self.table: Any = lancedb.connect(str(folder)).open_table("vectors")
        self.effort = effort

    def nearest(self, text: Float32) -> Int64:
        """See `_Rows`."""
        found = self.table.search(text).distance_type("cosine").nprobes(self.effort)
        rows: pa.Table = found.limit(self.fetched).select(["row", "_distance"]).to_arrow()
        numbers: Int64 = rows["row"].to_numpy()
        return numbers

    @staticmethod
    def build(root: Path, folder: Path) -> None:
        """Writes the table and its index."""
        import lancedb
        from lancedb.index import IvfPq

        snapshot = open_snapshot(str(root))
        dim = snapshot.features.dim
        schema = pa.schema([("row", pa.int64()), ("vector", pa.list_(pa.float16(), dim))])

        def batches() -> Iterator[pa.RecordBatch]:
            for first, vectors in _blocks(snapshot):
                values = pa.array(vectors.astype(np.float16).reshape(-1))
                columns = [
                    pa.array(np.arange(first, first + len(vectors))),
                    pa.FixedSizeListArray.from_arrays(values, dim),
                ]
                yield pa.record_batch(columns, schema=schema)

        table = lancedb.connect(str(folder)).create_table("vectors", data=batches(), schema=schema)
        table.create_index("vector", config=IvfPq(distance_type="cosine"))
        (folder / _IDS).write_text(ids_digest(snapshot), encoding="utf-8")


class Autofaiss(_Rows):
    """The FAISS index that autofaiss chooses and tunes for the vectors, as clip-retrieval has it do, in memory.

    Args:
        root: see `_Rows`.
        folder: see `_Rows`.
        fetched: see `_Rows`.
        effort: has no meaning: autofaiss has tuned it, for `_TUNED_MS` per query.
    """

    def __init__(self, root: Path, folder: Path, fetched: int, effort: int) -> None:
        import faiss

        super().__init__(root, folder, fetched)
        self.index: Any = faiss.read_index(str(folder / "knn.index"))
        tuned = (folder / "tuned.txt").read_text(encoding="utf-8")
        faiss.ParameterSpace().set_index_parameters(self.index, tuned)

    def nearest(self, text: Float32) -> Int64:
        """See `_Rows`."""
        numbers: Int64 = self.index.search(text[None], self.fetched)[1][0]
        return numbers[numbers >= 0]

    @staticmethod
    def build(root: Path, folder: Path) -> None:
        """Builds the index from all vectors in memory."""
        import faiss
        from autofaiss import build_index

        snapshot = open_snapshot(str(root))
        vectors = np.concatenate([block for _, block in _blocks(snapshot)])
        memory = {"max_index_memory_usage": "4G", "current_memory_available": "8G"}
        speed = {"max_index_query_time_ms": _TUNED_MS, "metric_type": "ip"}
        index, infos = build_index(vectors, save_on_disk=False, **memory, **speed, verbose=40)
        faiss.write_index(index, str(folder / "knn.index"))
        (folder / "tuned.txt").write_text(infos["index_param"], encoding="utf-8")
        (folder / _IDS).write_text(ids_digest(snapshot), encoding="utf-8")


BUILDERS: dict[str, Callable[[Path, Path], None]] = {
    "usearch": Usearch.build,
    "lancedb": Lance.build,
    "autofaiss": Autofaiss.build,
}
"""Name of a library -> builds its index of a set, in an empty folder."""
OPENERS: dict[str, type[Usearch | Lance | Autofaiss]] = {"usearch": Usearch, "lancedb": Lance, "autofaiss": Autofaiss}


def installed(library: str) -> bool:
    """Whether one of `BUILDERS` can be measured here."""
    return importlib.util.find_spec(library) is not None


def build(library: str, root: Path, folder: Path) -> None:
    """Builds the index of another library in `folder`, where nothing is kept that is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    BUILDERS[library](root, folder)


def compared_again(snapshot: Snapshot, photos: Int64, text: Float32) -> Int64:
    """The `BEST` best of some photos, by the highest exact cosine of their vectors."""
    vectors = snapshot.vectors_of(photos)
    starts = np.cumsum([0, *map(len, vectors)])[:-1]
    scores = np.maximum.reduceat(np.concatenate(vectors) @ text, starts)
    return photos[np.argsort(-scores, kind="stable")[:BEST]]


def ids_digest(snapshot: Snapshot) -> str:
    """Tells whether the photos of a snapshot have the same numbers as those of another."""
    digest = hashlib.blake2b(digest_size=16)
    for chunk in snapshot.photos.column("image_id").chunks:
        for name in chunk.to_pylist():
            digest.update(name.encode() + b"\n")
    return digest.hexdigest()


def _blocks(snapshot: Snapshot) -> Iterator[tuple[int, Float32]]:
    """The number of the first row, and the unit vectors [r, D] of consecutive photos."""
    count = snapshot.features.vectors
    for first in range(0, len(snapshot.photos), _BLOCK):
        numbers = np.arange(first, min(len(snapshot.photos), first + _BLOCK))
        yield first * count, np.concatenate(snapshot.vectors_of(numbers))
