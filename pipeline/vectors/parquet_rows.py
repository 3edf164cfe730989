"""Photos that are compared straight from the features: of files that no shard has, or whose vectors were not kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.files import FeatureFiles
from pipeline.features.live_rows import LiveRows
from pipeline.retrieval.similarity import image_scores, rows_per_block, texts_per_tile, unit
from pipeline.vectors.photo_table import columns_to_read, photo_rows, photo_schema
from pipeline.vectors.query_vectors import Bools, Int64
from pipeline.vectors.ranking import Ranking, Rows

_VIEWS = 8
"""Views of a photo, about, in a set with further views."""
_VECTOR_COLUMNS = ("error", "embedding", "views")


@dataclass(frozen=True, eq=False)
class ParquetRows:
    """The photos with an embedding of some features files, those included whose rows no longer count.

    Attributes:
        features: the set.
        files: name of a features file -> how many such photos it has.
    """

    features: FeatureSet
    files: dict[str, int]

    def rank(self, ranking: Ranking, first: int, allowed: Bools) -> None:
        """Like `StoredVectors.rank`."""
        for name, count in self.files.items():
            mask, allowed = allowed[:count], allowed[count:]
            start = 0
            for rows in read_vectors(self.features, name) if mask.any() else ():
                chosen = np.flatnonzero(mask[start : start + len(rows.counts)])
                if len(chosen):
                    _rank(ranking, first + start + chosen, _some(rows, chosen))
                start += len(rows.counts)
            first += count

    def rows(self, photos: Int64) -> Rows:
        """The stored vectors of some photos, of which only the row groups are read that hold them."""
        ends = np.cumsum(list(self.files.values()))
        of_file = np.searchsorted(ends, photos, side="right")
        names = list(self.files)
        found: dict[int, Rows] = {}
        for file in np.unique(of_file).tolist():
            wanted = np.unique(photos[of_file == file])
            first = int(ends[file]) - self.files[names[file]]
            found |= dict(zip(wanted.tolist(), _read_some(self.features, names[file], wanted - first), strict=True))
        parts = [found[photo] for photo in photos.tolist()]
        dtype = np.dtype(self.features.manifest.precision)
        vectors = [part.vectors for part in parts] or [np.empty((0, self.features.dim), dtype)]
        counts = np.array([len(part.vectors) for part in parts], np.int64)
        return Rows(np.concatenate(vectors), counts, self.features.root)


def files_of(features: FeatureSet) -> FeatureFiles:
    """The features files of a set.

    Raises:
        QpertError: it is in memory.
    """
    if not isinstance(features.dataset, LiveRows):
        raise QpertError(f"{features.root} has no features files, so it cannot be searched by an index")
    return features.dataset.files


def read_photos(features: FeatureSet, names: Sequence[str]) -> tuple[dict[str, int], pa.Table, Bools]:
    """The photos with an embedding of some features files: how many each has, what is known of them, which count."""
    files, wanted = files_of(features), columns_to_read(features)
    tables, live = [photo_schema(features).empty_table()], [np.zeros(0, np.bool_)]
    for name, rows in zip(names, files.map(lambda name: files.read(name, wanted), names), strict=True):
        tables.append(photo_rows(features, name, rows))
        removed = files.removed.ids(name)
        kept = np.ones(tables[-1].num_rows, np.bool_)
        live.append(kept if removed is None else ~np.asarray(pc.is_in(tables[-1]["image_id"], value_set=removed)))
    counts = {name: len(kept) for name, kept in zip(names, live[1:], strict=True)}
    return counts, pa.concat_tables(tables), np.concatenate(live)


def read_rows(features: FeatureSet, name: str) -> Iterator[tuple[pa.Table, Rows]]:
    """The photos with an embedding in a features file, and their stored vectors, block by block.

    Raises:
        QpertError: the file is damaged.
    """
    for table in _tables(features, name, ("embedding", *columns_to_read(features))):
        yield photo_rows(features, name, table), _stored(features, table)


def read_vectors(features: FeatureSet, name: str) -> Iterator[Rows]:
    """The same without what is known of the photos."""
    for table in _tables(features, name, ("image_id", *_VECTOR_COLUMNS)):
        yield _stored(features, table)


def _tables(features: FeatureSet, name: str, wanted: Sequence[str]) -> Iterator[pa.Table]:
    rows = max(1, rows_per_block(features) // (_VIEWS if features.manifest.multi else 1))
    with files_of(features).opened(name) as file:
        columns = [column for column in dict.fromkeys(wanted) if column in file.schema_arrow.names]
        for batch in file.iter_batches(rows, columns=columns):
            table = pa.Table.from_batches([batch])
            table = table.filter(pc.is_null(table["error"]))
            if table.num_rows:
                yield table


def _read_some(features: FeatureSet, name: str, places: Int64) -> list[Rows]:
    """The vectors of some photos of a file, by their places among those with an embedding, ascending."""
    found: list[Rows] = []
    with files_of(features).opened(name) as file:
        columns = [column for column in _VECTOR_COLUMNS if column in file.schema_arrow.names]
        fine = np.flatnonzero(np.asarray(pc.is_null(file.read(columns=["error"])["error"])))
        if len(places) and places[-1] >= len(fine):  # as the index of somebody else may have it
            raise QpertError(
                f"{features.root} has fewer photos in {name} than its index says; build that again: qpert build-index"
                f" {features.root} --rebuild"
            )
        rows = fine[places]
        ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)])
        groups = np.searchsorted(ends, rows, side="right")
        for group in np.unique(groups).tolist():
            first = 0 if group == 0 else int(ends[group - 1])
            at = pa.array(rows[groups == group] - first)
            stored = _stored(features, file.read_row_group(group, columns=columns).take(at))
            parts = np.split(stored.vectors, np.cumsum(stored.counts)[:-1])
            found += [Rows(part, np.array([len(part)]), stored.what) for part in parts]
    return found


def _stored(features: FeatureSet, table: pa.Table) -> Rows:
    """The vectors of photos as they are stored, from the columns `embedding` and `views`, none of them failed."""
    schema = pa.schema([features.dataset.schema.field("embedding")])
    block = table.select(["embedding"]).cast(schema).combine_chunks().to_batches()[0]
    vectors = features.embeddings(block)
    counts = np.full(table.num_rows, features.vectors, np.int64)
    if features.manifest.multi:
        counts *= np.asarray(pc.list_value_length(table["views"])).astype(np.int64)
    if (counts > vectors.shape[1]).any() or (counts < 1).any():
        raise QpertError(f"{features.root} holds embeddings of other lengths than their views")
    kept = np.arange(vectors.shape[1]) < counts[:, None]
    flat = vectors.reshape(-1, features.dim) if kept.all() else vectors[kept]
    what = (
        f"{features.root}, photos {table['image_id'][0]} to {table['image_id'][-1]}"
        if "image_id" in table.column_names
        else features.root
    )
    return Rows(flat, counts, what)


def _some(rows: Rows, chosen: Int64) -> Rows:
    """The unit vectors of some photos."""
    vectors = unit(rows.vectors, rows.what)
    if len(chosen) == len(rows.counts):
        return Rows(vectors, rows.counts, rows.what, unit=True)
    kept = np.zeros(len(rows.counts), np.bool_)
    kept[chosen] = True
    return Rows(vectors[np.repeat(kept, rows.counts)], rows.counts[chosen], rows.what, unit=True)


def _rank(ranking: Ranking, photos: Int64, rows: Rows) -> None:
    """Rank photos by their unit vectors."""
    ends = np.cumsum(rows.counts)
    starts = ends - rows.counts
    step = texts_per_tile(rows.vectors[:, None])
    maxima = np.empty((len(photos), len(ranking.matrix)), np.float32)
    for at in range(0, len(ranking.matrix), step):
        cosines = image_scores(rows.vectors[:, None], ranking.matrix[at : at + step])
        maxima[:, at : at + step] = np.maximum.reduceat(cosines, starts, axis=0)
    scores = ranking.scores(maxima)
    for number in range(len(ranking.queries)):
        chosen = ranking.candidates(scores[:, number], number)
        taken = [rows.vectors[starts[at] : ends[at]] for at in chosen.tolist()]
        if taken:
            ranking.add(number, photos[chosen], Rows(np.concatenate(taken), rows.counts[chosen], rows.what, unit=True))
