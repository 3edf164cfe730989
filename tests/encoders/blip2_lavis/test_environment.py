"""LAVIS' environment: its place, when it is built, and the messages when it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.encoders.blip2_lavis import environment as lavis_environment
from pipeline.errors import QpertError


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(lavis_environment.VARIABLE, str(tmp_path / "env"))
    monkeypatch.setattr(lavis_environment, "_PYTHONS", (sys.version_info[:2],))
    return tmp_path / "env"


def fake_pip(monkeypatch: pytest.MonkeyPatch, code: int, stderr: str = "") -> list[list[str]]:
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        calls.append(command)
        target = Path(command[command.index("--target") + 1])
        for name in ("lavis", "tests"):
            (target / name).mkdir(parents=True)
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_the_environment_is_built_once_and_announced(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, said = fake_pip(monkeypatch, 0), []
    assert lavis_environment.ensure(said.append) == elsewhere
    assert lavis_environment.ensure(said.append) == elsewhere
    assert len(calls) == 1
    assert "--no-deps" in calls[0]
    assert set(lavis_environment.PACKAGES) <= set(calls[0])
    assert [str(elsewhere) in said[0], "once" in said[0], "ready" in said[1]] == [True] * 3
    assert (elsewhere / "lavis").is_dir()
    assert not (elsewhere / "tests").exists()  # it would hide a project's own


def test_pips_error_is_passed_on(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, 1, "WARNING: slow\nERROR: No matching distribution found for timm==0.4.12\n")
    with pytest.raises(
        QpertError, match=r"(?s)could not be built; pip said:.*No matching.*QPERT_LAVIS_ENV.*pip install"
    ):
        lavis_environment.ensure(lambda _: None)
    assert not elsewhere.exists()


def test_places_and_pythons_that_do_not_fit_are_reported(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere.mkdir()
    (elsewhere / "mine.txt").touch()
    with pytest.raises(QpertError, match=r"holds something else"):
        lavis_environment.ensure()
    monkeypatch.setattr(lavis_environment, "_PYTHONS", ((2, 7),))
    with pytest.raises(QpertError, match=r"needs Python 3.10 or 3.11.*blip2 opens the same weights"):
        lavis_environment.ensure()


def test_actors_find_the_environment_first(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    wanted = {"PYTHONPATH": f"{elsewhere}{os.pathsep}/mine", lavis_environment.VARIABLE: str(elsewhere)}
    assert lavis_environment.runtime_env() == {"env_vars": wanted}


def test_a_process_without_the_environment_builds_nothing(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_pip(monkeypatch, 0)
    with pytest.raises(QpertError, match="process of its own"):
        lavis_environment.activate()
    assert not calls


def test_other_versions_have_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(lavis_environment.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = lavis_environment.folder()
    assert first.parent == tmp_path / "qpert"
    monkeypatch.setattr(lavis_environment, "PACKAGES", ("salesforce-lavis==2",))
    assert lavis_environment.folder() != first
