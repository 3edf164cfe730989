"""Building on Ray: the same index as in this process, also after the whole session was killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.building.building_sets import build_indexes
from pipeline.building.spec import BuildSpec
from tests.building.test_build import build, contents, entry, unit_vectors

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["exact", "ivf-sq8"])
def test_tasks_make_the_same_index(ray_cpu: None, write_features, tmp_path, kind) -> None:
    options = {"kind": kind, "lists": 4 if kind != "exact" else None, "shard_size": 2**13}
    root = write_features(unit_vectors(400), files=8, failed=["000004.jpg"]).root
    shutil.copytree(root, tmp_path / "other")
    report = build(root, **options)  # in the session that is there
    assert (report.photos, report.made) == (399, report.shards)
    assert report.shards > 1
    command = [sys.executable, "-m", "jobs", "build-index", str(tmp_path / "other"), "--kind", kind]
    command += ["--lists", "4"] if kind != "exact" else []
    subprocess.run([*command, "--shard-size", "8KiB"], cwd=ROOT, check=True, env=plain_environment())
    assert contents(str(tmp_path / "other")) == contents(root)


@pytest.mark.ray
def test_a_killed_session_is_gone_on_with(write_features, tmp_path) -> None:
    root = write_features(unit_vectors(600), files=60).root
    shutil.copytree(root, tmp_path / "undisturbed")
    command = [sys.executable, "-m", "jobs", "build-index", root, "--kind", "ivf-sq8", "--lists", "4"]
    command += ["--shard-size", "1KiB", "--address", "local", "--cpus", "2"]
    process = subprocess.Popen(command, cwd=ROOT, env=plain_environment(), start_new_session=True)
    shards = Path(root, "search", "all", "shards")
    end = time.monotonic() + 120
    while not (shards.exists() and any(shards.glob("*/shard.json"))) and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not Path(root, "search", "manifest.json").exists()
    left = {path.parent.name: path.stat().st_mtime_ns for path in shards.glob("*/shard.json")}
    assert left
    [report] = build_indexes(BuildSpec(features=[root], kind="ivf-sq8", lists=4, shard_size=2**10))
    assert report.photos == 600
    kept = {key: (shards / key / "shard.json").stat().st_mtime_ns for key in left}
    assert kept == left
    undisturbed = str(tmp_path / "undisturbed")
    build(undisturbed, kind="ivf-sq8", lists=4, shard_size=2**10)
    assert contents(root) == contents(undisturbed)
    assert len(entry(root).shards) == 60


def plain_environment() -> dict[str, str]:
    """Without the session of these tests."""
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
