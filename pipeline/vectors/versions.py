"""Telling cheaply whether a feature set, or the index beside it, has changed."""

from __future__ import annotations

import hashlib

from pyarrow import fs

from pipeline.features.feature_set import FeatureSet
from pipeline.features.files import FEATURES
from pipeline.features.ledger import LEDGER
from pipeline.features.part_names import PARTS
from pipeline.io.locations import Folder

SEARCH = "search"
"""The folder of the index in a feature set."""
_WATCHED = ("manifest.json", LEDGER, f"{SEARCH}/manifest.json", FEATURES, "checkpoint")


def current_version(root: str | Folder | FeatureSet) -> str:
    """A text that changes whenever the set, the rows that count, or its index change; no file is read.

    Folders count by their own modification time, where the storage has one.
    """
    folder = root.folder if isinstance(root, FeatureSet) else Folder.open(root)
    parts = folder.filesystem.get_file_info(fs.FileSelector(folder.at(PARTS), allow_not_found=True))
    folders = [folder, *(folder.subfolder(PARTS, str(info.base_name)) for info in parts)]
    watched = [one.at(*name.split("/")) for one in folders for name in _WATCHED]
    try:
        infos = folder.filesystem.get_file_info(watched)
    except OSError:  # the index is another user's, and not open to this one
        infos = folder.filesystem.get_file_info([path for path in watched if SEARCH not in path.split("/")[-2:]])
    marks = [info for one in folders for info in one.subfolder("removed").files(".parquet")]
    state = [f"{info.path} {info.type} {info.size} {info.mtime_ns}" for info in (*infos, *marks)]
    return hashlib.blake2b("\n".join(state).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
