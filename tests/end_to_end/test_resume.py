"""Killed half-way and run again: nothing lost, nothing twice, and the same features as in one go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import cli
from pipeline.datasets.scenes import write_scenes
from pipeline.features.feature_set import FeatureSet
from pipeline.features.store import FeatureStore
from tests.pacing import Pace

ROOT = Path(__file__).parents[2]
COUNT = 96
WORDS = ["--file-size", "16", "--block-size", "16", "--cpus", "2", "--encode-actors", "1", "--detect-actors", "1"]


def index(source: Path, out: Path) -> list[str]:
    return ["index", str(source), "--out", str(out), *WORDS]


def committed(out: Path) -> set[str]:
    manifest = FeatureStore(str(out)).find_manifest()
    return set() if manifest is None else {*chain(*FeatureStore(str(out)).files_of(manifest).ids())}


def table(out: Path) -> pa.Table:
    return FeatureSet.open(str(out)).dataset.to_table().sort_by("image_id")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_half_way_and_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    write_scenes(tmp_path / "scenes", COUNT, seed=5)
    source, out = tmp_path / "scenes" / "images", tmp_path / "out"
    command = [sys.executable, "-m", "jobs", *index(source, out)]
    environment = os.environ | Pace(tmp_path / "site", 0.05).environment(ROOT)
    run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(committed(out)) < COUNT // 3:
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    run.send_signal(signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    # The node's agents notice a little later; they write nothing. Linux keeps 15 letters of a name.
    agents = ("ray::DashboardA", "ray::RuntimeEnv")
    names = [process.name() for process in alive]
    assert [name for name in names if not name.startswith(agents)] == [], "workers outlived the driver"
    done = committed(out)
    assert COUNT // 3 <= len(done) < COUNT
    assert FeatureStore(str(out)).manifest().state == "running"

    request.getfixturevalue("ray_cpu")  # from here on in the session of the other tests, which is quicker
    assert cli.main(index(source, out)) == 0
    again = capsys.readouterr()
    assert f"{len(done):,} photos are done" in again.err
    assert f"indexed {COUNT - len(done):,} photos" in again.out
    resumed = table(out)
    assert resumed.num_rows == COUNT
    assert len(set(resumed["image_id"].to_pylist())) == COUNT
    assert FeatureStore(str(out)).manifest().state == "complete"

    assert cli.main(index(source, out)) == 0
    assert "nothing to do" in capsys.readouterr().out

    assert cli.main(index(source, tmp_path / "whole")) == 0
    whole = table(tmp_path / "whole")
    measured = ["seconds", "embedding"]
    assert resumed.drop_columns(measured).equals(whole.drop_columns(measured))
    one, other = (np.array(each["embedding"].to_pylist(), np.float32) for each in (resumed, whole))
    assert np.abs(one - other).max() <= 2e-3  # a few units in the last place of a half float


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    from jobs import index as verb
    from pipeline.errors import QpertError
    from pipeline.runs.index_plan import IndexPlan

    first = verb.Config(source=str(tmp_path / "photos"), out=str(tmp_path / "out"))
    manifest = IndexPlan.of(first).manifest()
    FeatureStore(first.out).write_manifest(manifest)
    for folder, name in (("features", "x-0.parquet"), (f"checkpoint/{manifest.fingerprint}", "x.parquet")):
        (tmp_path / "out" / folder).mkdir(parents=True)
        rows = {"image_id": ["a.jpg"], "embedding": [[0.0]], "error": pa.nulls(1, pa.string())}
        pq.write_table(pa.table(rows), tmp_path / "out" / folder / name)
    for change, words in (
        ({"precision": "float32"}, "precision: float16 -> float32"),
        ({"perturbation": {"scale": 8}}, r"perturbation.scale: 4.0 -> 8.0"),
        ({"perturbation": {"preset": "paper"}}, r"go back to the earlier settings \(--perturbation qpert\)"),
        ({"detector": {"confidence": 0.5}}, r"detector.confidence: 0.25 -> 0.5"),
    ):
        with pytest.raises(QpertError, match=words):
            verb.run(first.model_copy(update=verb.Config(**first.model_dump() | change).__dict__))
    assert verb.run(verb.Config(**first.model_dump() | {"batch_size": 5, "dry_run": True, "encode_actors": 3})) == 0


def test_features_of_an_earlier_default_go_on_with_it(tmp_path: Path) -> None:
    """The same command as then, without a perturbation; one that is asked for is another matter."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    from jobs import index as verb
    from pipeline.method.settings import Perturbation
    from pipeline.runs.index_plan import IndexPlan

    where = {"source": str(tmp_path / "photos"), "out": str(tmp_path / "out")}
    assert IndexPlan.of(verb.Config(**where)).settings == (Perturbation.qpert(),)
    manifest = IndexPlan.of(verb.Config(**where, perturbation={"preset": "one-component"})).manifest()
    FeatureStore(where["out"]).write_manifest(manifest)
    again = IndexPlan.of(verb.Config(**where))
    assert again.settings == (Perturbation.one_component(),)
    assert again.identity == manifest.identity
    assert IndexPlan.of(verb.Config(**where, perturbation={"preset": "qpert"})).settings == (Perturbation.qpert(),)
