"""`qpert build-index`: its output, a dry run, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import main


@pytest.fixture
def features(write_features) -> str:
    vectors = np.random.default_rng(0).standard_normal((50, 1, 8))
    return write_features(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), files=2).root


def test_it_says_what_it_made(features, capsys) -> None:
    assert main(["build-index", features]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"exact index of 50 photos (50 vectors) in {features}/search/all: 1 shard, ")
    assert "1 shard made in 0:0" in said
    assert main(["build-index", features]) == 0
    assert capsys.readouterr().out.startswith("nothing to do: the exact index of 50 photos (50 vectors)")


def test_a_dry_run(features, capsys, tmp_path) -> None:
    assert main(["build-index", features, "--dry-run", "--kind", "ivf-rabitq", "--lists", "4"]) == 0
    said = capsys.readouterr().out
    assert "would train on about 4,096 vectors, make 1 shard of 50 photos; then an ivf-rabitq index" in said
    assert not (tmp_path / "features" / "search").exists()


def test_a_lance_table(features, capsys, tmp_path) -> None:
    pytest.importorskip("lance")
    out = str(tmp_path / "photos.lance")
    assert main(["build-index", features, "--engine", "lance", "--out", out]) == 0
    output = capsys.readouterr()
    assert output.out.startswith(f"Lance table of 50 photos (50 vectors) in {out}: 1 shard, ")
    assert output.err == f"warning: {out} has 50 rows, too few for an index: LanceDB compares all of them\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere holds no features"),
        (["FEATURES", "--kind", "hnsw"], "--kind"),
        (["FEATURES", "--shard-size", "1B"], "choose a size from 1KiB to 1TiB"),
        (["FEATURES", "--kind", "ivf-pq", "--lists", "2", "--probes", "3"], "3 probes of 2 lists"),
        ([], "FEATURES"),
    ],
)
def test_wrong_use_is_refused(features, capsys, words, message) -> None:
    assert main(["build-index", *(features if word == "FEATURES" else word for word in words)]) == 2
    assert message in capsys.readouterr().err


def test_a_set_without_photos_that_worked(write_features, capsys) -> None:
    features = write_features(np.ones((2, 1, 4)), failed=["000000.jpg", "000001.jpg"]).root
    assert main(["build-index", features]) == 0
    assert "exact index of 0 photos" in capsys.readouterr().out
    manifest = json.loads(Path(features, "search", "manifest.json").read_text(encoding="utf-8"))
    assert list(manifest["indexes"]) == ["all"]
