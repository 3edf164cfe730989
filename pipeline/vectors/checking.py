"""Reading the whole index of a feature set to find damage that sizes do not show."""

from __future__ import annotations

import hashlib

from pyarrow import fs

from pipeline.errors import QpertError, first_line
from pipeline.io.locations import Folder
from pipeline.vectors.index_manifest import IndexEntry, IndexManifest
from pipeline.vectors.layout import SHARDS
from pipeline.vectors.versions import SEARCH

_PIECE = 1 << 22


def check_index(folder: Folder) -> list[str]:
    """What is wrong with the index beside some features, a line each; nothing if there is none.

    Args:
        folder: the feature set.
    """
    try:
        manifest = IndexManifest.find(folder)
    except QpertError as error:
        return [str(error)]
    problems = []
    for name, entry in ({} if manifest is None else manifest.indexes).items():
        problems += _check_entry(folder.subfolder(SEARCH, name), entry)
    return problems


def _check_entry(folder: Folder, entry: IndexEntry) -> list[str]:
    files = [
        (folder.subfolder(SHARDS, key), name, digest)
        for key, note in entry.shards.items()
        for name, digest in note.digests.items()
    ]
    if entry.quantiser is not None:
        files.append((folder, entry.quantiser, entry.quantiser_digest))
    problems = []
    for place, name, expected in files:
        try:
            if _digest(place.filesystem, place.at(name)) != expected:
                problems.append(f"{place.join(name)} is damaged: it has another digest")
        except OSError as error:
            problems.append(f"{place.join(name)} cannot be read ({first_line(error)[:200]})")
    return problems


def _digest(filesystem: fs.FileSystem, path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with filesystem.open_input_stream(path, compression=None) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
