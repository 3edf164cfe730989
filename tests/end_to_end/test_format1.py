"""Feature sets that an earlier version made (`tests/fixtures/format1`) still open, search, evaluate and resume."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.features.feature_set import FeatureSet

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "format1"
PHOTOS = [f"{number:06}.jpg" for number in range(12)]
TOLERANCE = 2e-3
"""Processors differ in the last bits; a half float near 1 has steps of 1e-3."""
LEDGERS = pytest.mark.parametrize("ledger", [True, False], ids=["ledger", "no ledger"])

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cwd").exists(), reason="the source is /proc/self/cwd/scenes/images"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the fixture."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "moved"))


def qpert(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in `folder`, which must succeed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "jobs", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def index(folder: Path, out: str) -> subprocess.CompletedProcess[str]:
    """Runs the command that made the feature sets."""
    scenes = "/proc/self/cwd/scenes"
    detector = ["--detector", "annotated", "--detector.annotations", scenes]
    sizes = ["--file-size", "4", "--block-size", "4", "--cpus", "2"]
    return qpert(folder, "index", f"{scenes}/images", "--out", out, *detector, *sizes)


def contents(folder: Path, *but: str) -> dict[str, bytes]:
    """The files below `folder` by their relative paths, without those named `but`."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in but}


def whole(folder: Path, ledger: bool) -> Path:
    """The finished feature set, without the ledger of its files as still earlier versions left it."""
    if not ledger:
        (folder / "whole" / "committed.json").unlink()
    return folder / "whole"


def table(out: Path) -> pa.Table:
    return FeatureSet.open(str(out)).dataset.to_table().sort_by("image_id")


def vectors(rows: pa.Table) -> Any:
    return np.array(rows["embedding"].to_pylist(), np.float32)


@LEDGERS
def test_a_finished_set_opens(folder: Path, ledger: bool) -> None:
    features = FeatureSet.open(str(whole(folder, ledger)))
    assert sorted(features.ids) == PHOTOS
    assert (features.manifest.state, features.manifest.fingerprint) == ("complete", "9f0d0cba8b16bb03")
    assert (features.manifest.vectors, features.manifest.dim) == (1, 128)
    rows = table(folder / "whole")
    assert sum(len(objects) for objects in rows["objects"].to_pylist()) == 39
    assert np.linalg.norm(vectors(rows), axis=1) == pytest.approx(np.ones(12), abs=TOLERANCE)


@pytest.mark.slow
@LEDGERS
def test_searches_answer_as_before(folder: Path, ledger: bool) -> None:
    whole(folder, ledger)
    expected = json.loads((FIXTURE / "search.json").read_text())
    queries = [answer["query"] for answer in expected]
    answers = json.loads(qpert(folder, "search", "whole", *queries, "-k", "5", "--json").stdout)
    assert [answer["query"] for answer in answers] == queries
    for answer, recorded in zip(answers, expected, strict=True):
        assert [hit["image_id"] for hit in answer["results"]] == [hit["image_id"] for hit in recorded["results"]]
        scores = [hit["score"] for hit in answer["results"]]
        assert scores == pytest.approx([hit["score"] for hit in recorded["results"]], abs=TOLERANCE)


@pytest.mark.slow
def test_evaluation_gives_the_recorded_numbers(folder: Path) -> None:
    words = ["--captions", "scenes/dataset_scenes.json", "--samples", "100", "--json", "again.json"]
    qpert(folder, "evaluate", "whole", *words)
    report = json.loads((folder / "again.json").read_text())["report"]
    expected = json.loads((FIXTURE / "evaluate.json").read_text())
    assert expected["t2i"]["overall"]["1"] == 0.9
    for name, value in expected.items():
        assert report[name] == value, name


@pytest.mark.ray
@LEDGERS
def test_a_finished_set_is_left_as_it_is(folder: Path, ledger: bool) -> None:
    out = whole(folder, ledger)
    before = contents(out, "committed.json", "manifest.json")
    manifest = json.loads((out / "manifest.json").read_text())
    assert "nothing to do: all 12 photos are indexed" in index(folder, "whole").stdout
    after = contents(out, "committed.json", "manifest.json")
    assert {name: after.get(name) for name in before} == before
    written = json.loads((out / "manifest.json").read_text())
    assert written | manifest == written
    ledgers = [json.loads((place / "committed.json").read_text()) for place in (FIXTURE / "whole", out)]
    recorded, ours = ({name: file["digest"] for name, file in ledger_file["files"].items()} for ledger_file in ledgers)
    assert ours == recorded


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interrupted_set_is_finished(folder: Path) -> None:
    out = folder / "half"
    before = contents(out / "features")
    (old,) = before
    kept = pq.read_table(out / "features" / old)
    done = index(folder, "half")
    assert "4 photos are done" in done.stderr
    assert "indexed 8 photos" in done.stdout
    after = contents(out / "features")
    assert after[old] == before[old]
    new = pa.concat_tables([pq.read_table(out / "features" / name) for name in after if name != old])
    assert sorted(new["image_id"].to_pylist()) == sorted({*PHOTOS} - {*kept["image_id"].to_pylist()})
    features = FeatureSet.open(str(out))
    assert (features.manifest.state, features.manifest.fingerprint) == ("complete", "9f0d0cba8b16bb03")
    finished, expected = table(out), table(FIXTURE / "whole")
    measured = ["seconds", "embedding", "mtime"]
    assert finished.drop_columns(measured).equals(expected.drop_columns(measured))
    assert np.abs(vectors(finished) - vectors(expected)).max() <= TOLERANCE
