"""What of annotations changes the features that are made with them."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.datasets.boxes.feature_boxes import boxes_digest, read_feature_boxes
from pipeline.datasets.photos.own_output import is_feature_set
from pipeline.features.fingerprint import weights_identity


def annotations_identity(path: str) -> dict[str, str]:
    """The name of annotations, and a digest of their content; of a feature set, of its objects alone."""
    folder = os.path.expanduser(path)
    if os.path.isdir(folder) and is_feature_set(folder):
        name = os.path.basename(os.path.abspath(folder))
        return {"name": name, "digest": boxes_digest(read_feature_boxes(Path(folder)))}
    return weights_identity(path, whole=True)
