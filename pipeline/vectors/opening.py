"""Opening a feature set for searching: its shards, and what no shard has."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.io.locations import Folder
from pipeline.vectors.caching import SHARDS, make_cache
from pipeline.vectors.coverage import entry_of, usable_manifest
from pipeline.vectors.index_manifest import IndexEntry, index_name
from pipeline.vectors.parquet_rows import ParquetRows, files_of, read_photos
from pipeline.vectors.photo_table import PhotoTable
from pipeline.vectors.query_vectors import Bools
from pipeline.vectors.remote_shards import local_shard
from pipeline.vectors.shard import Shard, open_shard
from pipeline.vectors.snapshot import Part, Snapshot
from pipeline.vectors.versions import SEARCH, current_version

_ATTEMPTS = 3


def open_snapshot(root: str | Folder | FeatureSet, *, variant: str | None = None, cache: bool = True) -> Snapshot:
    """Open a feature set for searching.

    Args:
        root: path or URI of the set, or the set itself.
        variant: name of the embedding, if the photos have several.
        cache: make what speeds up the next searches, where the set is local and can be written to.

    Raises:
        QpertError: see `FeatureSet.open`; or a features file that no shard has is damaged.
    """
    features = root if isinstance(root, FeatureSet) else FeatureSet.open(root, variant)
    remark = make_cache(features) if cache else None
    for attempt in range(_ATTEMPTS):
        version = current_version(features)
        if not isinstance(root, FeatureSet) and (attempt or cache):
            features = FeatureSet.open(root, variant)
        snapshot = _open(features, version, remark)
        # Shards may have been replaced between reading the manifest and opening them.
        if not snapshot.notes or current_version(features) == version:
            break
    return snapshot


def _open(features: FeatureSet, version: str, remark: str | None) -> Snapshot:
    files = files_of(features)
    manifest, problem = usable_manifest(features)
    entry = entry_of(manifest, features)
    notes = [note for note in (problem, remark) if note]
    shards, problems = _open_shards(features, entry)
    notes += problems
    covered: set[str] = set()
    tables: list[pa.Table] = []
    live: list[Bools] = []
    parts: list[Part] = []
    first = 0
    for shard in shards:
        of_shard = shard.live(files, covered)
        if not of_shard.any():
            continue
        parts.append(Part(first, len(of_shard), shard.vectors(features)))
        tables.append(shard.photos)
        live.append(of_shard)
        first += len(of_shard)
    rest = [name for name in files.names if name not in covered]
    if rest:
        counts, table, of_rest = read_photos(features, rest)
        parts.append(Part(first, len(of_rest), ParquetRows(features, counts)))
        tables.append(table)
        live.append(of_rest)
    photos = PhotoTable(pa.concat_tables(tables), np.concatenate(live))
    about = f"exact scan of {int(photos.live.sum()):,} photos"
    return Snapshot(features, photos, tuple(parts), version, about, tuple(notes))


def _open_shards(features: FeatureSet, entry: IndexEntry) -> tuple[list[Shard], list[str]]:
    """The shards of an index that are intact, those with lists first, and what is wrong with the others."""
    folder = features.folder.subfolder(SEARCH, index_name(entry.variant), SHARDS)
    shards, problems = [], []
    for key, note in sorted(entry.shards.items(), key=lambda item: item[1].kind == "exact"):
        try:
            shards.append(open_shard(features, key, note, local_shard(folder, key, note)))
        except QpertError as error:
            problems.append(f"{error}; its {note.photos:,} photos are compared from the features instead")
    return shards, problems
