"""Records of Ray Tune: one's own, and those of others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.tuning.own_record import is_own, mark_as_own


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_marked_folder_is_own(tmp_path: Path) -> None:
    folder = tmp_path / "tune"
    assert not is_own(folder)
    mark_as_own(folder)
    assert is_own(folder)
    assert (tmp_path / "state" / "qpert" / "secret").stat().st_mode & 0o777 == 0o600
    mark_as_own(tmp_path / "other")
    assert is_own(folder)


def test_copies_and_marks_of_others_are_not_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, copy = tmp_path / "tune", tmp_path / "copy"
    mark_as_own(folder)
    shutil.copytree(folder, copy)
    assert not is_own(copy)
    (copy / ".qpert-record").write_bytes(b"0" * 10**6)
    assert not is_own(copy)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user's"))
    assert not is_own(folder)


def test_without_a_home_nothing_is_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nohome")
    mark_as_own(tmp_path / "tune")
    assert not is_own(tmp_path / "tune")
