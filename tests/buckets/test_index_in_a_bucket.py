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
from tests.buckets.faulty_proxy import Fault, Request, faulty_proxy
from tests.buckets.s3_server import ROOT, S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.ray, pytest.mark.slow]


def qpert(server: S3Server, *words: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | server.environment() | {"AWS_ENDPOINT_URL": endpoint, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "jobs", *words], env=environment, capture_output=True, text=True, check=False
    )


def outside(request: Request) -> Fault | None:
    """What a key whose policy is for ``team/`` alone is told."""
    allowed = request.query.get("prefix", "") if request.lists else request.path.removeprefix("/indexed/")
    return None if allowed.startswith("team/") else "403"


def test_photos_in_a_bucket_are_indexed_into_it_once_and_found(s3: S3Server, tmp_path: Path) -> None:
    """With a key for one prefix, as a team has in a bucket of a company."""
    write_scenes(tmp_path / "scenes", 12, seed=5)
    s3.make_bucket("indexed")
    photos = s3.upload(tmp_path / "scenes" / "images", "indexed", "team/my photos/2024")
    out = "s3://indexed/team/features"
    words = ["index", "s3://indexed/team/my photos", "--out", out, "--encoder", "coca", "--cpus", "2"]
    words += ["--detector", "none", "--perturbation", "none"]
    with faulty_proxy(s3.url) as proxy:
        proxy.fault = outside
        done = qpert(s3, *words, endpoint=proxy.url)
        assert done.returncode == 0, done.stderr
        features = FeatureSet.open(out)
        ids = sorted(features.dataset.to_table(columns=["image_id"])["image_id"].to_pylist())
        assert ids == [f"2024/{number:06}.jpg" for number in range(12)]
        uris = features.dataset.to_table(columns=["uri"])["uri"].to_pylist()
        assert all(uri.startswith(photos.replace(" ", "%20")) for uri in uris)
        keys = s3.names("indexed", "team/features/")
        lock = s3.client().get_object(Bucket="indexed", Key="team/features/.lock")["Body"].read()
        assert json.loads(lock)["free"]
        assert not [key for key in keys if key.endswith(".tmp")]

        again = qpert(s3, *words, endpoint=proxy.url)
        assert again.returncode == 0, again.stderr
        assert "nothing" in again.stdout + again.stderr
        written = [key for key in keys if key.startswith("team/features/features/")]
        assert s3.names("indexed", "team/features/features/") == written

        found = qpert(s3, "search", out, "a small red star", "-k", "3", "--json", endpoint=proxy.url)
        assert found.returncode == 0, found.stderr
        assert found.stdout.count('"image_id"') == 3
