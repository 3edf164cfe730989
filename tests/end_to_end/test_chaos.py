"""Runs that lose a worker, a node and their driver come out whole; `chaos.py` does it as often as one likes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_a_lost_worker_node_or_driver_leaves_is_mended(tmp_path: Path) -> None:
    # A process of its own, as this one has a Ray session already. Three seeds in a row have one fault of each kind.
    words = ["--runs", "3", "--seed", "14", "--photos", "128", "--json", str(tmp_path / "results.json")]
    command = [sys.executable, "-m", "tests.end_to_end.chaos", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1100)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert {each["kind"] for each in results} == {"worker", "node", "driver"}
    assert [each["problems"] for each in results] == [[], [], []]
    assert [each["moment"] for each in results if "not hit" in each["moment"]] == []
    assert done.stdout.count("whole, ") == 3
    assert "0 violations" in done.stdout
