"""A feature set opened for searching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.io.locations import Folder
from pipeline.retrieval.similarity import Float32, image_scores, texts_per_tile, unit, vector_blocks
from pipeline.vectors.photo_table import PhotoTable, read_photos
from pipeline.vectors.query_vectors import Bools, Found, Int64, QueryVectors
from pipeline.vectors.ranking import Ranking, Rows
from pipeline.vectors.versions import current_version


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A feature set as it was when it was opened; safe to use from several threads.

    Attributes:
        features: the set.
        photos: its photos, by number.
        version: `current_version` when it was opened.
        about: how it is searched, for display.
        notes: what the user should know, such as that an index is stale.
    """

    features: FeatureSet
    photos: PhotoTable
    version: str
    about: str
    notes: tuple[str, ...] = ()

    @property
    def live(self) -> Bools:
        """The photos that count: bool [N]."""
        return self.photos.live

    def search(
        self,
        queries: Sequence[QueryVectors],
        k: int,
        *,
        allowed: Bools | None = None,
        floor: float = -np.inf,
        exact: bool = False,
    ) -> list[Found]:
        """The k best photos of each query, in one pass; fewer where fewer exist or reach `floor`.

        Args:
            queries: what is looked for.
            k: photos per query.
            allowed: bool [N], the photos to choose among; None for all.
            floor: photos that score below are left out.
            exact: compare every photo, even if there is an approximate index.

        Raises:
            QpertError: k below 1, queries of another dimension, or a stored vector that is NaN, infinite or zero.
        """
        if k < 1:
            raise QpertError(f"k must be at least 1, not {k}")
        for query in queries:
            if query.vectors.shape[1] != self.features.dim:
                raise QpertError(
                    f"the queries have dimension {query.vectors.shape[1]}, but the features {self.features.dim}: they"
                    " come from different encoders"
                )
        if not queries:
            return []
        mask = self.live if allowed is None else self.live & allowed
        ranking = Ranking(queries, k, floor, self.photos.ids)
        first = 0
        for block, vectors in vector_blocks(self.features, ["views"] if self.features.manifest.multi else []):
            chosen = np.flatnonzero(mask[first : first + block.num_rows])
            if len(chosen):
                self._rank(ranking, first + chosen, vectors if len(chosen) == len(vectors) else vectors[chosen])
            first += block.num_rows
        return ranking.found()

    def _rank(self, ranking: Ranking, photos: Int64, vectors: Float32) -> None:
        """Rank some photos by their unit vectors [n, W, D]."""
        step = texts_per_tile(vectors)
        matrix = ranking.matrix
        maxima = [image_scores(vectors, matrix[start : start + step]) for start in range(0, len(matrix), step)]
        scores = ranking.scores(np.concatenate(maxima, axis=1))
        for number in range(len(ranking.queries)):
            rows = ranking.candidates(scores[:, number], number)
            counts = np.full(len(rows), vectors.shape[1], np.int64)
            flat = vectors[rows].reshape(-1, vectors.shape[2])
            ranking.add(number, photos[rows], Rows(flat, counts, self.features.root, unit=True))

    def vectors_of(self, numbers: Sequence[int] | Int64) -> list[Float32]:
        """The unit vectors [v, D] of some photos, in the order of `numbers`."""
        found = dict(self._read(sorted({int(number) for number in numbers})))
        return [found[int(number)] for number in numbers]

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, Float32]]:
        counts = np.asarray(self.photos.column("vectors"))
        first, at = 0, 0
        for block in self.features.iter_blocks(["image_id", "embedding"], 1024):
            while at < len(numbers) and numbers[at] < first + block.num_rows:
                vectors = self.features.embeddings(block.slice(numbers[at] - first, 1))[0]
                yield numbers[at], unit(vectors[: counts[numbers[at]]], self.features.root)
                at += 1
            first += block.num_rows


def open_snapshot(root: str | Folder | FeatureSet, *, variant: str | None = None, cache: bool = True) -> Snapshot:
    """Open a feature set for searching.

    Args:
        root: path or URI of the set, or the set itself.
        variant: name of the embedding, if the photos have several.
        cache: make what speeds up the next searches, where the set is local and can be written to.

    Raises:
        QpertError: see `FeatureSet.open`.
    """
    version = current_version(root)
    features = root if isinstance(root, FeatureSet) else FeatureSet.open(root, variant)
    table = read_photos(features)
    photos = PhotoTable(table, np.ones(table.num_rows, np.bool_))
    return Snapshot(features, photos, version, f"exact scan of {len(photos):,} photos")
