"""From a bucket to a bucket, as a user does it; `python -m tests.buckets.verbs` does the same with every verb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.datasets.scenes import write_scenes
from pipeline.features.feature_set import FeatureSet
from tests.buckets.s3_server import ROOT, S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.ray, pytest.mark.slow]


def qpert(server: S3Server, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | server.environment() | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "jobs", *words], env=environment, capture_output=True, text=True, check=False
    )


def test_photos_in_a_bucket_are_indexed_into_it_once_and_found(s3: S3Server, tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", 12, seed=5)
    s3.make_bucket("indexed")
    photos = s3.upload(tmp_path / "scenes" / "images", "indexed", "my photos/2024")
    words = ["index", "s3://indexed/my photos", "--out", "s3://indexed/features", "--encoder", "coca", "--cpus", "2"]
    words += ["--detector", "none", "--perturbation", "none"]
    done = qpert(s3, *words)
    assert done.returncode == 0, done.stderr
    features = FeatureSet.open("s3://indexed/features")
    ids = sorted(features.dataset.to_table(columns=["image_id"])["image_id"].to_pylist())
    assert ids == [f"2024/{number:06}.jpg" for number in range(12)]
    uris = features.dataset.to_table(columns=["uri"])["uri"].to_pylist()
    assert all(uri.startswith(photos.replace(" ", "%20")) for uri in uris)
    keys = s3.names("indexed", "features/")
    assert json.loads(s3.client().get_object(Bucket="indexed", Key="features/.lock")["Body"].read())["free"]
    assert not [key for key in keys if key.endswith(".tmp")]

    again = qpert(s3, *words)
    assert again.returncode == 0, again.stderr
    assert "nothing" in again.stdout + again.stderr
    assert s3.names("indexed", "features/features/") == [key for key in keys if key.startswith("features/features/")]

    found = qpert(s3, "search", "s3://indexed/features", "a small red star", "-k", "3", "--json")
    assert found.returncode == 0, found.stderr
    assert found.stdout.count('"image_id"') == 3
