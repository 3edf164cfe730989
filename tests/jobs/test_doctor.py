"""`qpert doctor`: what it prints, how it exits, and that it loads nothing large."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import cli


def test_the_findings_as_text_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json", str(tmp_path / "doctor.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line and not line.startswith(" ")][:-1] == [
        *("versions", "machine", "GPUs", "models", "photos", "folders", "Ray", "listening")
    ]
    written = json.loads((tmp_path / "doctor.json").read_text())
    assert written["problems"] is False
    assert {"topic": "versions", "name": "Python"}.items() <= written["findings"][0].items()
    for finding in written["findings"]:
        assert any(f"{finding['name']}: {finding['text']}" in line for line in lines)


def test_a_problem_makes_it_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/no/such")
    assert cli.main(["doctor", "--json", str(tmp_path / "doctor.json")]) == 1
    assert "-> name a folder with room in RAY_TMPDIR" in capsys.readouterr().out
    assert json.loads((tmp_path / "doctor.json").read_text())["problems"] is True


def test_nothing_large_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from jobs.cli import main; main(['doctor']);"
        " sys.exit(bool({'ray', 'torch', 'transformers', 'ultralytics', 'open_clip'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
