"""The files of DCI (Densely Captioned Images): one JSON file per photo, in the folder `annotations`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.datasets.json_file import read_json
from pipeline.errors import QpertError


def dci_files(folder: Path) -> list[Path]:
    """The annotations of DCI in its folder, or in the folder `annotations` itself, by name; none if it is not DCI."""
    inner = folder / "annotations" if (folder / "annotations").is_dir() else folder
    try:
        files = sorted(inner / name for name in os.listdir(inner) if name.endswith(".json") and name != "splits.json")
    except OSError as error:
        raise QpertError(f"cannot read {folder}: {error.strerror}") from error
    return files if any(map(_is_dci, files[:3])) else []


def _is_dci(path: Path) -> bool:
    try:
        data = read_json(path, without_masks, strict=False)
    except QpertError:
        return False
    return isinstance(data, dict) and "image" in data and "extra_caption" in data


def without_masks(data: dict[str, Any]) -> dict[str, Any]:
    """Drop the masks of a photo: most of a file, and not needed for its captions."""
    data.pop("mask_data", None)
    data.pop("outer_mask", None)
    return data
