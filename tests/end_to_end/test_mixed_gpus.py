"""Work over made-up GPUs of several kinds, in a cluster of its own (see `mixed_gpus.py` for the figures)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def measured(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.end_to_end.mixed_gpus", *words]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_kind_gets_work_by_its_speed_and_the_one_that_is_too_small_none() -> None:
    found = measured("160")
    assert (found["photos"], found["unique"], found["failed"]) == (160, 160, 0)
    assert found["actors"] == {"cuda:A100": 2, "cuda:GeForce-GTX-1080-Ti": 2}
    share = found["by_device"]
    assert set(share) == {"cuda:A100", "cuda:GeForce-GTX-1080-Ti"}
    assert share["cuda:A100"] > share["cuda:GeForce-GTX-1080-Ti"] > 0
    assert found["dtypes"] == ["cuda:A100 bfloat16", "cuda:GeForce-GTX-1080-Ti float32"]
    report, warning = found["report"]
    assert "cuda:A100 in bfloat16" in report
    assert warning is None
    assert "the devices' embeddings differ by more than 1e-09" in found["strict"][1]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_joins_gets_work_in_a_new_attempt() -> None:
    found = measured("160", "join")
    assert (found["photos"], found["unique"], found["failed"]) == (160, 160, 0)
    assert (found["attempts"], found["actors"]) == (2, {"cuda:A100": 2})
    assert 0 < found["last_attempt"] < 160
    assert found["totals"]["photos"] == 160
