"""Making the raw cache of a feature set: shards of kind `exact`, for the features files that no shard has."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from contextlib import ExitStack

from pyarrow import fs

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.files import FeatureFiles
from pipeline.features.live_rows import LiveRows
from pipeline.io.locations import is_uri
from pipeline.printing import size_text
from pipeline.vectors.coverage import (
    covered,
    entry_of,
    shard_groups,
    small_shards,
    total_bytes,
    uncovered,
    usable_manifest,
)
from pipeline.vectors.index_manifest import IndexEntry, ShardNote, file_identity, index_name, shard_key
from pipeline.vectors.layout import SHARDS, UNFINISHED
from pipeline.vectors.links import check_no_links
from pipeline.vectors.settings import IndexSettings
from pipeline.vectors.shard import check_sizes
from pipeline.vectors.shard_writing import write_shard
from pipeline.vectors.versions import SEARCH

logger = logging.getLogger(__name__)

_EXACT = IndexSettings()
_SPARE = 1 << 28
"""Bytes of the disk that are left alone."""
_SLOW = 1 << 28
"""Bytes of features from which on a line says what is being done."""
_ALL = "so every search reads all features"


def make_cache(features: FeatureSet) -> str | None:
    """Make the raw cache where it is lacking. Each shard counts as soon as it is written, so nothing is done twice.

    Returns:
        Why it cannot be made, for the user; None if it is made, is not wanted, or another process is at it.

    Raises:
        QpertError: a features file is damaged, or a stored vector is NaN, infinite or zero.
    """
    folder = features.folder
    local = not is_uri(folder.root) and isinstance(folder.filesystem, fs.LocalFileSystem)
    if not local or not isinstance(features.dataset, LiveRows):
        return None
    files = features.dataset.files
    entry = entry_of(usable_manifest(features)[0], features)
    missing = uncovered(files, _usable(features, entry))
    if not missing or not entry.settings.keep_vectors:
        return None
    size = total_bytes(files, missing)
    if not os.access(folder.path, os.W_OK | os.X_OK):
        return f"{folder.root} is read-only and gets no cache, {_ALL}"
    if shutil.disk_usage(folder.path).free < 2 * size + _SPARE:
        return f"the disk of {folder.root} has no room for a cache of {size_text(size)}, {_ALL}"
    try:
        check_no_links(folder)
    except QpertError as error:
        return f"{error}; until then every search reads all features"
    try:
        with ExitStack() as stack:
            try:
                stack.enter_context(folder.subfolder(SEARCH).exclusive())
            except QpertError:  # another process is making it
                return None
            _write_missing(features, files)
    except OSError as error:
        return f"the cache of {folder.root} cannot be written ({error.strerror or error}), {_ALL}"
    return None


def _write_missing(features: FeatureSet, files: FeatureFiles) -> None:
    """Write the shards that are lacking, and delete those that no longer count. The caller holds the lock."""
    manifest, _ = usable_manifest(features)
    entry = entry_of(manifest, features)
    name = index_name(entry.variant)
    folder = features.folder.subfolder(SEARCH, name, SHARDS).path
    os.makedirs(folder, exist_ok=True)
    shards = {key: note for key, note in _usable(features, entry).items() if covered(files, note)}
    exact = {key: note for key, note in shards.items() if note.kind == "exact"}
    missing = {*uncovered(files, shards)}
    small = small_shards(files, exact, total_bytes(files, [*missing]))
    missing.update(*(covered(files, shards[key]) for key in small))
    ordered = [file for file in files.names if file in missing]
    size, done = total_bytes(files, ordered), 0
    for group in shard_groups(files, ordered):
        if size > _SLOW:
            said = f"{size_text(done)} of {size_text(size)}"
            logger.info("%s: keeping vectors where searches find them fast, %s", features.root, said)
        identities = {file: file_identity(files, file) for file in group}
        key = shard_key(manifest.fingerprint, entry.variant, identities, _EXACT, "")
        shards[key] = _write_shard(features, group, os.path.join(folder, key))
        small = [old for old in small if old != key]
        manifest = manifest.replacing(name, entry.model_copy(update={"shards": shards}))
        manifest.write(features.folder)
        done += total_bytes(files, group)
    left = {key: note for key, note in shards.items() if key not in small}
    manifest.replacing(name, entry.model_copy(update={"shards": left})).write(features.folder)
    for other in os.listdir(folder):
        if other not in left:
            shutil.rmtree(os.path.join(folder, other), ignore_errors=True)


def _usable(features: FeatureSet, entry: IndexEntry) -> dict[str, ShardNote]:
    """The shards that need not be made anew: those with lists, which are built elsewhere, and intact ones."""
    usable = {}
    for key, note in entry.shards.items():
        try:
            if note.kind == "exact":
                check_sizes(note, features.folder.at(SEARCH, index_name(entry.variant), SHARDS, key))
            usable[key] = note
        except QpertError as error:
            logger.info("%s; it is made anew", error)
    return usable


def _write_shard(features: FeatureSet, files: list[str], folder: str) -> ShardNote:
    unfinished = os.path.join(os.path.dirname(folder), f"{UNFINISHED}{uuid.uuid4().hex}")
    os.mkdir(unfinished)
    try:
        note = write_shard(features, files, unfinished, _EXACT)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return note
