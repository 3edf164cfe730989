"""Recognising feature sets that lie inside a source: qpert never reads its own output as photos."""

from __future__ import annotations

import json
from typing import Any

from pipeline.io.locations import Folder

OWN_FOLDERS = ("features", "checkpoint", "listing", "parts", "removed", "rerank", "search", "seen", "tokens")
"""Folders of a feature set."""
_MAX_BYTES = 16 * 1024**2
"""Bytes of a manifest that are read: it may hold the names of very many files."""


def is_feature_set(folder: str) -> bool:
    """Whether `folder`, which has a manifest.json, is a feature set: other programs write manifests too."""
    try:
        place = Folder.open(folder)
        if (place.filesystem.get_file_info(place.at("manifest.json")).size or 0) > _MAX_BYTES:
            return False
        manifest: Any = json.loads(place.read("manifest.json") or b"")
    except Exception:  # not a manifest that qpert wrote
        return False
    return isinstance(manifest, dict) and {"fingerprint", "identity", "encoder", "counts"} <= manifest.keys()
