from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.diagnosis import folders
from pipeline.diagnosis.folders import check_folders, usual_folders


def test_folders_that_are_there_or_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_LITTLE", 0)
    there, to_come = check_folders({"a": (tmp_path, "mend a"), "b": (tmp_path / "new" / "er", "mend b")})
    assert (there.state, to_come.state, there.remedy) == ("ok", "ok", "")
    assert there.text.startswith(f"{tmp_path}, ")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_to_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (blocked,) = check_folders({"a": (tmp_path / "file" / "below", "mend a")})
    assert (blocked.state, blocked.remedy) == ("problem", "mend a")
    assert f"{tmp_path / 'file'} is not a folder" in blocked.text
    monkeypatch.setattr("os.access", lambda path, mode: False)  # nobody is refused anything as root
    (refused,) = check_folders({"a": (tmp_path, "mend a")})
    assert (refused.state, refused.text) == ("problem", f"{tmp_path} cannot be written to")


def test_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_LITTLE", 1 << 70)
    (finding,) = check_folders({"a": (tmp_path, "mend a")})
    assert (finding.state, finding.remedy) == ("warning", "mend a")


def test_the_usual_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert usual_folders()["detectors and LAVIS"][0] == tmp_path / ".cache" / "qpert"
