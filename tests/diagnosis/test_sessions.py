from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cluster import local_ray
from pipeline.cluster.local_ray import SHARED_MEMORY
from pipeline.diagnosis.sessions import check_sessions, check_shared_memory

MB = 1024**2


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Pretends that shared memory, and every other folder, have so many bytes free."""

    def pretend(shared: int, others: int) -> None:
        monkeypatch.setattr(local_ray, "_free", lambda place: shared if place == SHARED_MEMORY else others)

    return pretend


def test_room_in_shared_memory(free: Callable[[int, int], None]) -> None:
    free(8192 * MB, 8192 * MB)
    finding = check_shared_memory("/elsewhere")
    assert (finding.name, finding.state) == (SHARED_MEMORY, "ok")


def test_the_shared_memory_of_a_container_is_a_warning(free: Callable[[int, int], None]) -> None:
    free(64 * MB, 8192 * MB)
    finding = check_shared_memory("/elsewhere")
    assert (finding.state, finding.remedy) == ("warning", "docker run --shm-size=2g")
    assert "kept in files below /elsewhere" in finding.text


def test_no_room_at_all_is_a_problem(free: Callable[[int, int], None]) -> None:
    free(64 * MB, 64 * MB)
    finding = check_shared_memory("/elsewhere")
    assert finding.state == "problem"
    assert "no room for Ray's objects" in finding.text


def test_a_folder_that_cannot_hold_a_session_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/no/such")
    (finding,) = check_sessions()
    assert finding.state == "problem"
    assert "RAY_TMPDIR=/no/such cannot hold" in finding.text


def test_a_cluster_that_does_not_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    *_, cluster = check_sessions()
    assert (cluster.state, cluster.remedy) == ("problem", "unset RAY_ADDRESS")
    assert "cannot join the Ray cluster 127.0.0.1:1" in cluster.text
    monkeypatch.delenv("RAY_ADDRESS")
    *_, none = check_sessions()
    assert none.state == "ok"


@pytest.mark.ray
def test_a_session_is_started_and_listens_on_the_loopback_interface_only() -> None:
    """In a process of its own: in this one, it would use the session of the tests, if one runs."""
    script = Path(__file__).with_name("own_session.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    session, *listeners = json.loads(done.stdout.splitlines()[-1])
    assert (session["name"], session["state"]) == ("session", "ok")
    assert session["text"].endswith("with 2 CPUs")
    assert any("raylet" in finding["text"] for finding in listeners if finding["name"] == "loopback only")
