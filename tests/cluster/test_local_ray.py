from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cluster import local_ray
from pipeline.cluster.local_ray import SHARED_MEMORY, object_store, session_parent, started_here
from pipeline.cluster.session import ray_session
from pipeline.errors import QpertError

CANNOT_BE_CLOSED = {"monitor.py", "dashboard.py"}
"""Two processes of every Ray session that serve their metrics to anybody on this machine. Ray has no switch for it, so
the loopback interface is the tightest limit."""
MB = 1024**2


@pytest.mark.ray
def test_a_session_is_open_only_to_this_user_on_this_machine(tmp_path: Path) -> None:
    """Even if HOME is not writable. The second session must not use the token of the first."""
    script = Path(__file__).with_name("local_session.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": "/proc/nohome", "TMPDIR": str(tmp_path / "no such folder"), "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    for session in report["sessions"]:
        assert [socket for socket in session["listening"] if not _is_loopback(socket[1])] == []
        assert len(session["listening"]) > 5
        assert set(session["open"]) <= CANNOT_BE_CLOSED
        assert session["mode"] == 0o700
        assert not Path(session["folder"]).exists()  # deleted with the session
        assert len(session["token"]) == 64
    assert len({session["token"] for session in report["sessions"]}) == 2
    assert report["left"] == []


def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Makes `ray.init` raise the given errors, one by one, and then succeed; returns the list of its calls."""
    import ray

    def fake(*errors: Exception) -> list[dict[str, Any]]:
        left, calls = list(errors), list[dict[str, Any]]()

        def init(**options: Any) -> None:
            calls.append(options | {"token": os.environ.get("RAY_AUTH_TOKEN")})
            if left:
                raise left.pop(0)

        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr(ray, "shutdown", lambda: None)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setattr(local_ray, "_end_processes", lambda ours: None)
        return calls

    return fake


def test_a_slow_start_is_retried(fake_ray: Callable[..., list[dict[str, Any]]]) -> None:
    calls = fake_ray(Exception("The current node timed out during startup"), RuntimeError("Failed to connect to GCS."))
    with ray_session() as own:
        assert own
    assert len(calls) == 3


def test_repeated_slow_starts_are_explained(fake_ray: Callable[..., list[dict[str, Any]]]) -> None:
    calls = fake_ray(*[Exception("The current node timed out during startup")] * 5)
    with pytest.raises(QpertError, match=r"in 3 tries, .* very busy machine .*timed out during startup"), ray_session():
        pass
    assert len(calls) == 3


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied", "/proc/nohome/.ray"),
        ValueError("The configured object store size exceeds /dev/shm size"),
        OSError("AF_UNIX path length cannot exceed 107 bytes"),
    ],
)
def test_other_errors_are_neither_retried_nor_blamed_on_slowness(
    error: Exception, fake_ray: Callable[..., list[dict[str, Any]]]
) -> None:
    calls = fake_ray(error)
    with pytest.raises(QpertError, match="Ray did not start: ") as raised, ray_session():
        pass
    assert "busy" not in str(raised.value)
    assert len(calls) == 1


def test_a_failed_attempt_leaves_no_processes() -> None:
    import psutil

    ours = set(psutil.Process().children(recursive=True))
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    local_ray._end_processes(ours)
    assert process.wait(timeout=30) != 0


def test_a_token_chosen_by_the_user_is_kept(
    fake_ray: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_ray()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    with ray_session():
        pass
    assert calls[0]["token"] == "mine"
    assert os.environ["RAY_AUTH_TOKEN"] == "mine"


def test_the_folder_of_a_session_is_kept_on_request(
    fake_ray: Callable[..., list[dict[str, Any]]],
) -> None:
    calls = fake_ray()
    with started_here(None, {}, keep_files=True):
        pass
    with started_here(None, {}):
        assert Path(calls[1]["_temp_dir"]).parent.stat().st_mode & 0o777 == 0o700
    kept, deleted = (Path(call["_temp_dir"]).parent for call in calls)
    assert kept.exists()
    assert not deleted.exists()
    shutil.rmtree(kept)


@pytest.mark.parametrize(
    ("shared", "disk", "place", "least", "most"),
    [
        (100_000, 100_000, SHARED_MEMORY, 80, 2048),
        (64, 100_000, "folder", 80, 2048),
        (64, 400, "folder", 80, 200),
        (100, 100, SHARED_MEMORY, 80, 90),
        (0, 400, "folder", 80, 200),
    ],
)
def test_the_object_store_is_put_where_there_is_room(
    shared: int, disk: int, place: str, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {SHARED_MEMORY: shared * MB, "/somewhere/folder": disk * MB}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free[path]))
    folder, memory = object_store("/somewhere/folder")
    assert folder.endswith(place)
    assert least * MB <= memory <= most * MB


def test_lack_of_room_for_objects_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64 * MB))
    with pytest.raises(
        QpertError, match="no room for Ray's objects: /dev/shm has 67 MB free and /somewhere/folder 67 MB"
    ):
        object_store("/somewhere/folder")


def test_a_temporary_folder_with_too_long_a_path_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(local_ray.tempfile, "gettempdir", lambda: str(deep))
    assert session_parent() == "/tmp"
    monkeypatch.setenv("RAY_TMPDIR", str(deep))
    with pytest.raises(QpertError, match=r"RAY_TMPDIR=.* too long for the path of a socket"):
        session_parent()


def test_an_unusable_temporary_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/no/such/folder")
    with pytest.raises(QpertError, match=r"RAY_TMPDIR=/no/such/folder .* no such folder"):
        session_parent()
    monkeypatch.setenv("RAY_TMPDIR", "/proc")
    with pytest.raises(QpertError, match="RAY_TMPDIR=/proc cannot hold"):
        session_parent()
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr(local_ray, "_unfit", lambda place: "0 MB free, 67 needed")
    with pytest.raises(QpertError, match=r"no folder .*/tmp: 0 MB free, 67 needed.*name one in TMPDIR or RAY_TMPDIR"):
        session_parent()
