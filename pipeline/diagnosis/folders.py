"""Whether the folders that commands write to can be written to, and how much room they have."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipeline.detectors.config import DOWNLOADS
from pipeline.diagnosis.finding import Finding

TOPIC = "folders"
_LITTLE = 10**9
"""Bytes of free space below which a warning is given."""


def usual_folders() -> dict[str, tuple[Path, str]]:
    """What is written where: name -> folder, and how to choose another."""
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        temporary = tempfile.gettempdir()
    except OSError:  # none of the usual folders is writable
        temporary = os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - only looked at
    return {
        "temporary files": (Path(temporary), "name another folder in TMPDIR"),
        "weights of encoders": (Path(HF_HUB_CACHE), "name another folder in HF_HOME"),
        "detectors and LAVIS": (DOWNLOADS.expanduser(), "make the folder writable"),
    }


def check_folders(folders: Mapping[str, tuple[Path, str]]) -> list[Finding]:
    """Looks at folders, or at the nearest folder above one that does not exist yet.

    Args:
        folders: name -> folder, and how to choose another.
    """
    return [_finding(name, folder, remedy) for name, (folder, remedy) in folders.items()]


def _finding(name: str, folder: Path, remedy: str) -> Finding:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return Finding(TOPIC, name, "problem", f"{folder}: {place} is not a folder", remedy)
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding(TOPIC, name, "problem", f"{folder} cannot be written to", remedy)
    free = shutil.disk_usage(place).free
    said = f"{folder}, {free / 1e9:,.1f} GB free"
    return Finding(TOPIC, name, "ok" if free >= _LITTLE else "warning", said, "" if free >= _LITTLE else remedy)
