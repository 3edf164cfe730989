"""The manifest of a feature set."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.manifest import Manifest, differences
from pipeline.features.store import FeatureStore

SEEDS = [
    json.dumps(Manifest(fingerprint="f0").model_dump(mode="json")).encode(),
    json.dumps(
        Manifest(
            state="complete",
            fingerprint="f0",
            identity={"encoder": {"name": "coca", "weights": "miniature"}},
            encoder={"name": "coca", "weights": "x"},
            vectors=1,
            dim=8,
            variants=["a", "b"],
            devices={"cpu": 0.0},
            counts={"photos": 3},
        ).model_dump(mode="json")
    ).encode(),
    b'{"format": 2, "fingerprint": "../../x"}',
]


def run_one(data: bytes) -> None:
    """Open a folder with `data` as its manifest."""
    with TemporaryDirectory() as folder:
        Path(folder, "manifest.json").write_bytes(data)
        with suppress(QpertError):
            manifest = FeatureStore(folder).manifest()
            differences(manifest.identity, {"encoder": {"name": "coca"}})
            FeatureSet.open(folder)
