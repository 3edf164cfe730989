"""Verbs that read and change features in a bucket, without Ray: the features are made here and put there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from jobs import cli
from pipeline.datasets.scenes import write_scenes
from pipeline.encoders import encoder_spec
from tests.buckets.s3_server import S3Server
from tests.serving.live import live_server

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
COUNT = 30


@pytest.fixture
def features(s3: S3Server, write_features: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of a set of three files, whose photos are in the bucket as well."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = tmp_path.name.replace("_", "-").lower()
    s3.make_bucket(name)
    write_scenes(tmp_path / "scenes", COUNT, 1)
    s3.upload(tmp_path / "scenes" / "images", name, "photos")
    spec = encoder_spec("coca", None)
    vectors = np.random.default_rng(0).standard_normal((COUNT, spec.vectors, spec.dim))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    ids = [f"{number:06d}.jpg" for number in range(COUNT)]
    made = write_features(vectors, ids, files=3, failed=ids[-1:])
    return s3.upload(Path(made.root), name, "features")


def answers(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert cli.main(["search", *words, "a small red star", "-k", "5", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_they_are_searched_indexed_exported_evaluated_checked_and_compacted(
    s3: S3Server, features: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = features.split("/")[2]
    plain = answers([features], capsys)
    assert cli.main(["build-index", features]) == 0
    assert [name for name in s3.names(bucket, "features/search/") if "/shards/" in name]
    capsys.readouterr()
    again = answers([features], capsys)
    assert [hit["image_id"] for hit in hits(again)] == [hit["image_id"] for hit in hits(plain)]
    assert list((tmp_path / "cache" / "qpert" / "search").rglob("*")), "no local copy of the index"
    assert cli.main(["export", features, "--to", "npy", "--out", f"s3://{bucket}/vectors"]) == 0
    assert "vectors/export.json" in s3.names(bucket, "vectors/")
    assert cli.main(["duplicates", features]) == 0
    captions, boxes = next((tmp_path / "scenes").glob("*.json")), tmp_path / "scenes"
    assert cli.main(["evaluate", features, "--captions", str(captions), "--annotations", str(boxes)]) == 0
    assert "R@1" in capsys.readouterr().out
    assert cli.main(["index", f"s3://{bucket}/photos/00000*.jpg", "--out", f"s3://{bucket}/new", "--dry-run"]) == 0
    assert "10 photos" in capsys.readouterr().out
    assert cli.main(["verify", features]) == 0
    assert cli.main(["compact", features]) == 0
    capsys.readouterr()
    assert len([name for name in s3.names(bucket, "features/features/") if name.endswith(".parquet")]) == 1
    assert [hit["image_id"] for hit in hits(answers([features], capsys))] == [hit["image_id"] for hit in hits(plain)]
    assert not [name for name in s3.names(bucket) if name.endswith(".tmp")]


def hits(answer: Any) -> list[dict[str, Any]]:
    return list(answer[0]["results"])


def test_they_are_served_with_their_photos(s3: S3Server, features: str) -> None:
    with live_server(features) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        answer = client.post("/search", json={"text": "a small red star", "k": 3}).raise_for_status().json()
        assert len(answer["results"]) == 3
        [served] = client.get("/sets").raise_for_status().json()["sets"]
        assert served["photos"] == COUNT - 1
