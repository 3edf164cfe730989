"""Opening a feature set for searching: its shards, and what no shard has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.errors import QpertError, first_line
from pipeline.features.feature_set import FeatureSet
from pipeline.io.locations import Folder
from pipeline.vectors.approximate import ApproximateIndex, ListedShard, ListIndex
from pipeline.vectors.caching import make_cache
from pipeline.vectors.coverage import entry_of, usable_manifest
from pipeline.vectors.index_manifest import IndexEntry, ShardNote, index_name
from pipeline.vectors.layout import SHARDS
from pipeline.vectors.parquet_rows import ParquetRows, files_of, read_photos
from pipeline.vectors.photo_codes import PhotoCodes
from pipeline.vectors.photo_index import PhotoIndex
from pipeline.vectors.photo_table import PhotoTable
from pipeline.vectors.quantiser import Quantiser, most_bytes, quantiser_digest
from pipeline.vectors.query_vectors import Bools
from pipeline.vectors.remote_shards import drop_copy, local_shard
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
    quantiser, problem = _load_quantiser(features, entry, shards)
    listed: list[ListedShard] = []
    codes: list[PhotoCodes] = []
    covered: set[str] = set()
    tables: list[pa.Table] = []
    live: list[Bools] = []
    parts: list[Part] = []
    first = 0
    for shard in shards:
        try:
            of_shard = shard.live(files, covered)
        except QpertError as error:
            notes.append(_instead(features, shard.note, error))
            continue
        if not of_shard.any():
            continue
        if quantiser is not None and shard.note.kind != "exact":
            try:
                if quantiser.inner is None:
                    listed.append(ListedShard(first, shard.starts, shard.lists(quantiser)))
                else:
                    of_photos = shard.directions(quantiser)
                    codes.append(shard.codes(quantiser, first))
                    listed.append(ListedShard(first, np.arange(len(of_shard) + 1), of_photos))
            except QpertError as error:
                problem = str(error)
        parts.append(Part(first, len(of_shard), shard.vectors(features)))
        tables.append(shard.photos)
        live.append(of_shard)
        first += len(of_shard)
    rest = [name for name in files.names if name not in covered]
    if rest or not parts:
        counts, table, of_rest = read_photos(features, rest)
        parts.append(Part(first, len(of_rest), ParquetRows(features, counts)))
        tables.append(table)
        live.append(of_rest)
    photos = PhotoTable(pa.concat_tables(tables), np.concatenate(live))
    if problem:
        notes.append(
            f"{problem}; photos are compared one by one instead. Make it anew: qpert build-index {features.root}"
            " --rebuild"
        )
    index: ApproximateIndex | None = None
    if quantiser is not None and listed:
        lists = ListIndex(quantiser, tuple(listed), photos.live)
        index = PhotoIndex(lists, tuple(codes)) if codes else lists
    about = _described(photos, entry, index)
    return Snapshot(features, photos, tuple(parts), version, about, tuple(notes), index)


def _described(photos: PhotoTable, entry: IndexEntry, index: ApproximateIndex | None) -> str:
    """How photos are searched."""
    count = int(photos.live.sum())
    if index is None:
        return f"exact scan of {count:,} photos"
    beside = int(photos.live.sum()) - sum(int(photos.live[shard.photos].sum()) for shard in index.shards)
    more = f", {beside:,} photos beside it compared one by one" if beside else ""
    return f"index {entry.settings.kind} of {count - beside:,} photos, {index.looks_at}{more}"


def _load_quantiser(
    features: FeatureSet, entry: IndexEntry, shards: Sequence[Shard]
) -> tuple[Quantiser | None, str | None]:
    """The quantiser of an index that has lists, and what is wrong with it."""
    if entry.settings.kind == "exact" or all(shard.note.kind == "exact" for shard in shards):
        return None, None
    folder = features.folder.subfolder(SEARCH, index_name(entry.variant))
    path = folder.join(entry.quantiser or "")
    try:
        info = features.folder.filesystem.get_file_info(folder.at(entry.quantiser or ""))
        if entry.quantiser is None or not info.is_file or (info.size or 0) > most_bytes(entry.settings, features.dim):
            return None, f"{path} is missing or damaged"
        data = folder.read(entry.quantiser) or b""
    except OSError as error:
        return None, f"{path} cannot be read ({first_line(error)[:200]})"
    if quantiser_digest(data) != entry.quantiser_digest:
        return None, f"{path} is damaged: it has another digest"
    try:
        return Quantiser.load(data, entry.settings, features.dim), None
    except QpertError as error:
        return None, f"{path}: {error}"


def _open_shards(features: FeatureSet, entry: IndexEntry) -> tuple[list[Shard], list[str]]:
    """The shards of an index that are intact, those with lists first, and what is wrong with the others."""
    folder = features.folder.subfolder(SEARCH, index_name(entry.variant), SHARDS)
    shards, problems = [], []
    for key, note in sorted(entry.shards.items(), key=lambda item: item[1].kind == "exact"):
        try:
            shards.append(_open_shard(features, folder, key, note))
        except QpertError as error:
            problems.append(_instead(features, note, error))
    return shards, problems


def _instead(features: FeatureSet, note: ShardNote, error: QpertError) -> str:
    return (
        f"{error}; its {note.photos:,} photos are compared from the features instead, until it is made anew:"
        f" qpert build-index {features.root} --rebuild"
    )


def _open_shard(features: FeatureSet, folder: Folder, key: str, note: ShardNote) -> Shard:
    """A shard; a copy of it on this machine that is damaged, or of what was damaged, is copied anew."""
    try:
        return open_shard(features, key, note, local_shard(folder, key, note))
    except QpertError:
        if not drop_copy(folder, key):
            raise
        return open_shard(features, key, note, local_shard(folder, key, note))
