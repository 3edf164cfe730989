"""Which features files the shards of an index have, and which are still lacking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.files import FeatureFiles
from pipeline.vectors.index_manifest import (
    IndexEntry,
    IndexManifest,
    ShardNote,
    file_identity,
    index_name,
    variant_of,
)

SHARD_BYTES = 1 << 30
"""Bytes of features files in a shard, at most, unless one file is larger."""


def usable_manifest(features: FeatureSet) -> tuple[IndexManifest, str | None]:
    """What is recorded for these features, and why nothing is, if there is a manifest that cannot be used."""
    fingerprint, root = features.manifest.fingerprint, features.root
    try:
        manifest = IndexManifest.find(features.folder)
    except QpertError as error:
        return IndexManifest(fingerprint=fingerprint), str(error)
    if manifest is None:
        return IndexManifest(fingerprint=fingerprint), None
    if manifest.fingerprint != fingerprint:
        problem = f"the index of {root} is of other features, so it is not used; make it anew: qpert build-index {root}"
        return IndexManifest(fingerprint=fingerprint), problem
    return manifest, None


def entry_of(manifest: IndexManifest, features: FeatureSet) -> IndexEntry:
    """The index of an opened set; an empty one of kind `exact` if it has none."""
    variant = variant_of(features)
    return manifest.indexes.get(index_name(variant)) or IndexEntry(variant=variant)


def covered(files: FeatureFiles, note: ShardNote) -> list[str]:
    """The features files of a shard that count and are the same as when it was made."""
    names = set(files.names)
    return [name for name, span in note.files.items() if name in names and file_identity(files, name) == span.identity]


def uncovered(files: FeatureFiles, shards: Mapping[str, ShardNote]) -> list[str]:
    """The features files that count and that no shard has."""
    known = {name for note in shards.values() for name in covered(files, note)}
    return [name for name in files.names if name not in known]


def total_bytes(files: FeatureFiles, names: Sequence[str]) -> int:
    """The size of some features files."""
    return sum(files.present[name].size or 0 for name in names)


def shard_groups(files: FeatureFiles, names: Sequence[str], most: int = SHARD_BYTES) -> Iterator[list[str]]:
    """Consecutive features files for one shard each: of at most so many bytes together, or a single larger one."""
    group: list[str] = []
    held = 0
    for name in names:
        size = files.present[name].size or 0
        if group and held + size > most:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    if group:
        yield group


def small_shards(files: FeatureFiles, shards: Mapping[str, ShardNote], size: int) -> list[str]:
    """Shards to be made anew together with new features files of `size` bytes: each is smaller than what is written.

    So a set that grows bit by bit has a number of shards that grows with the logarithm of its size.
    """
    chosen = []
    for key, note in sorted(shards.items(), key=lambda item: item[1].bytes):
        there = total_bytes(files, covered(files, note))
        if there > size or size + there > SHARD_BYTES:
            break
        chosen.append(key)
        size += there
    return chosen
