"""Deleting shards and quantisers that no index names any more."""

from __future__ import annotations

from contextlib import suppress

from pyarrow import fs

from pipeline.building.shard_folder import ShardFolder
from pipeline.building.steps import QUANTISER, SHARDS
from pipeline.io.locations import Folder
from pipeline.vectors.index_manifest import IndexManifest


def delete_unused(search: Folder, manifest: IndexManifest, dropped: IndexManifest) -> None:
    """Delete what the manifest does not name, after it has been written.

    Programs that have the files open keep them on a local disk; others find them gone and read the manifest again.

    Args:
        search: the folder of the set's indexes; the caller holds its lock.
        manifest: which is there now.
        dropped: which was there before; empty if it was of other features.
    """
    before, now = dropped.indexes, manifest.indexes
    for name in _subfolders(search):
        entry, old = now.get(name), before.get(name)
        shards = ShardFolder(search.subfolder(name, SHARDS))
        used = set() if entry is None else set(entry.shards)
        known = set() if old is None else set(old.shards)
        for key in shards.names():
            if key not in used and (key in known or shards.abandoned(key)):
                shards.delete(key)
        for info in search.subfolder(name).files():
            file = str(info.base_name)
            if file.startswith(QUANTISER) and (entry is None or file != entry.quantiser):
                search.subfolder(name).delete(file)
        if entry is None:
            for path in (search.at(name, SHARDS), search.at(name)):
                _delete_empty(search, path)


def _subfolders(folder: Folder) -> list[str]:
    infos = folder.filesystem.get_file_info(fs.FileSelector(folder.path, recursive=False, allow_not_found=True))
    return sorted(str(info.base_name) for info in infos if info.type == fs.FileType.Directory)


def _delete_empty(folder: Folder, path: str) -> None:
    filesystem = folder.filesystem
    with suppress(OSError):
        if not filesystem.get_file_info(fs.FileSelector(path, recursive=False)):
            filesystem.delete_dir(path)
