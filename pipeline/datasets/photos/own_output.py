"""What qpert itself has written into the folders of a source: never its input."""

from __future__ import annotations

import json
from typing import Any

from pipeline.io.locations import join, locate

OWN_FOLDERS = ("features", "checkpoint", "listing", "removed", "rerank", "seen", "tokens")
"""Folders of a feature set."""
_MOST = 16 * 1024**2
"""Bytes of a manifest that are looked at: the names of very many files may stand in it."""


def is_feature_set(folder: str) -> bool:
    """Whether `folder`, which holds a manifest.json, is a feature set: other programs write manifests too."""
    try:
        filesystem, path = locate(join(folder, "manifest.json"))
        with filesystem.open_input_file(path) as file:
            manifest: Any = json.loads(file.read(_MOST))
    except Exception:  # whatever it is, ours it is not
        return False
    return isinstance(manifest, dict) and {"fingerprint", "identity", "encoder", "counts"} <= manifest.keys()
