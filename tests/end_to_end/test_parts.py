"""Two parts of one set at the same time, one killed and resumed: searched as one, nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest

from jobs import cli
from pipeline.datasets.scenes import write_scenes
from pipeline.features.feature_set import FeatureSet
from pipeline.features.store import FeatureStore
from tests.pacing import Pace

ROOT = Path(__file__).parents[2]
COUNT = 64


def index(source: Path, out: Path, part: str) -> list[str]:
    sizes = ["--file-size", "8", "--block-size", "8", "--cpus", "1"]
    return ["index", str(source), "--out", str(out), "--part", part, "--perturbation", "none", *sizes]


def committed(out: Path, number: int) -> set[str]:
    part = FeatureStore(str(out)).part(number, 2)
    manifest = part.find_manifest()
    return set() if manifest is None else {*chain(*part.files_of(manifest).ids())}


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_two_at_once_one_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    write_scenes(tmp_path / "scenes", COUNT, seed=5)
    source, out = tmp_path / "scenes" / "images", tmp_path / "out"
    command = [sys.executable, "-m", "jobs", *index(source, out, "1/2")]
    environment = os.environ | Pace(tmp_path / "site", 0.3).environment(ROOT)
    run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    request.getfixturevalue("ray_cpu")
    assert cli.main(index(source, out, "2/2")) == 0
    while len(committed(out, 1)) < 8:
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done, others = len(committed(out, 1)), len(committed(out, 2))
    assert 8 <= done < COUNT - others
    assert FeatureStore(str(out)).manifest().parts_text() == ("of 2 parts, part 2 is complete; part 1 is not finished")
    capsys.readouterr()
    assert cli.main(index(source, out, "1/2")) == 0
    said = capsys.readouterr()
    assert f"indexed {COUNT - others - done:,} photos" in said.out
    assert "of 2 parts, parts 1 and 2 are complete" in said.out
    ids = FeatureSet.open(str(out)).ids
    assert sorted(ids) == sorted(path.name for path in source.iterdir())
    assert cli.main(["search", str(out), "a red star", "-k", str(COUNT), "--json"]) == 0
    [answer] = json.loads(capsys.readouterr().out)
    found = [hit["image_id"] for hit in answer["results"]]
    assert sorted(found) == sorted(ids)
