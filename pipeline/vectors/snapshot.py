"""A feature set opened for searching, as it was at that moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.approximate import ApproximateIndex
from pipeline.vectors.parquet_rows import ParquetRows
from pipeline.vectors.photo_table import PhotoTable
from pipeline.vectors.query_vectors import Bools, Found, Int64, QueryVectors
from pipeline.vectors.ranking import Ranking
from pipeline.vectors.stored_vectors import StoredVectors


@dataclass(frozen=True, eq=False)
class Part:
    """Consecutive photos of a snapshot, and where their vectors are.

    Attributes:
        first: number of the first photo.
        count: of the photos.
        vectors: where they are read from.
    """

    first: int
    count: int
    vectors: StoredVectors | ParquetRows


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A feature set as it was when it was opened; safe to use from several threads.

    Attributes:
        features: the set.
        photos: its photos, by number.
        parts: where their vectors are, in the order of the numbers.
        index: narrows down the photos of some parts; None if all photos are compared.
        version: `current_version` when it was opened.
        about: how it is searched, for display.
        notes: what the user should know, such as that an index is stale.
    """

    features: FeatureSet
    photos: PhotoTable
    parts: tuple[Part, ...] = field(repr=False)
    version: str
    about: str
    notes: tuple[str, ...] = ()
    index: ApproximateIndex | None = field(default=None, repr=False)

    @property
    def live(self) -> Bools:
        """The photos that count: bool [N]."""
        return self.photos.live

    @property
    def approximate(self) -> bool:
        """Whether `search` uses an approximate index, unless it is asked to be exact."""
        return self.index is not None

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
        selection = None if exact or self.index is None else self.index.selection(allowed)
        if self.index is None or selection is None or not self.index.worthwhile(selection):
            return self._ranked(queries, k, floor, mask)
        answers = []
        for query in queries:
            # For what is far from all vectors of a query, there are no lists.
            near = bool((query.weights > 0).any())
            narrow = self.index.narrowed(query, k, mask, selection) if near else mask
            answers += self._ranked([query], k, floor, narrow)
        return answers

    def _ranked(self, queries: Sequence[QueryVectors], k: int, floor: float, mask: Bools) -> list[Found]:
        """The k best photos of each query among those of a mask [N], exactly."""
        ranking = Ranking(queries, k, floor, self.photos.ids)
        for part in self.parts:
            of_part = mask[part.first : part.first + part.count]
            if of_part.any():
                part.vectors.rank(ranking, part.first, of_part)
        return ranking.found()

    def warm(self, most_bytes: int) -> bool:
        """Read the codes once, for a server: its first queries are then as fast as later ones.

        Args:
            most_bytes: larger ones are left alone, as they would push each other out of memory.

        Returns:
            Whether they have been read.
        """
        mapped = [] if self.index is None else self.index.mapped
        if not mapped or sum(lists.bytes for lists in mapped) > most_bytes:
            return False
        for lists in mapped:
            lists.warm()
        return True

    def vectors_of(self, numbers: Sequence[int] | Int64) -> list[Float32]:
        """The unit vectors [v, D] of some photos, in the order of `numbers`."""
        wanted = np.unique(np.asarray(numbers, np.int64))
        found: dict[int, Float32] = {}
        for part, places in self._of_parts(wanted):
            rows = part.vectors.rows(places)
            vectors = np.split(rows.as_unit(), np.cumsum(rows.counts)[:-1])
            found |= dict(zip((part.first + places).tolist(), vectors, strict=True))
        return [found[int(number)] for number in numbers]

    def _of_parts(self, numbers: Int64) -> list[tuple[Part, Int64]]:
        """The parts that have some of these photos, ascending, and their places there."""
        places = [(part, numbers[(numbers >= part.first) & (numbers < part.first + part.count)]) for part in self.parts]
        return [(part, chosen - part.first) for part, chosen in places if len(chosen)]
