from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import cli
from jobs.cli import app


def test_verbs_are_listed_without_importing_them() -> None:
    script = "import sys; from jobs.cli import main; main([]); sys.exit(bool({'torch', 'ray'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "index" in done.stdout
    assert "Index photos" in done.stdout


@pytest.mark.parametrize("verb", sorted(cli.verbs()))
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "Example" in text
    assert f"qpert {verb}" in text
    module = __import__(f"jobs.{verb.replace('-', '_')}", fromlist=["Config"])
    assert [name for name, field in module.Config.model_fields.items() if not field.description] == []


def test_exit_codes_and_messages(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["indx"]) == 2
    assert "unknown verb 'indx'; did you mean index?" in capsys.readouterr().err
    assert cli.main(["index", "nowhere", "--out", "x"]) == 2
    assert "error: there is no nowhere" in capsys.readouterr().err

    def interrupted(words: list[str]) -> int:
        raise KeyboardInterrupt("run it again")

    monkeypatch.setattr(app, "_run", interrupted)
    assert cli.main(["index"]) == 130
    assert "interrupted: run it again" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [[], ["index"]])
@pytest.mark.parametrize("target", ["/dev/full", None])
def test_a_reader_that_goes_away_gets_no_traceback(target: str | None, verb: list[str]) -> None:
    command = [sys.executable, "-m", "jobs", *verb, "--help"]
    if target is None:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.close()
        error = process.stderr.read() if process.stderr else b""
        process.wait()
    else:
        with open(target, "w") as full:
            error = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False).stderr
    assert b"Traceback" not in error


@pytest.mark.parametrize("verb", [["index", "photos", "--out", "o"], ["tune"], ["reproduce"], ["plan", "photos"]])
def test_a_wrong_cluster_is_named_before_any_work(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert cli.main(verb) == 2
    assert "RAY_ADDRESS=http://127.0.0.1:8265 is the address of a dashboard" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_hold_a_session_is_named_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/no/such")
    assert cli.main(["tune"]) == 2
    assert "RAY_TMPDIR=/no/such cannot hold the files of a Ray session" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_words_that_are_no_text_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["index", "caf\udce9", "--out", "out"]) == 2
    assert capsys.readouterr().err.startswith(r"error: 'caf\udce9' is not valid text; the terminal should send UTF-8")


def test_no_room_for_temporary_files_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(words: list[str]) -> int:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/x', '/tmp']")

    monkeypatch.setattr(app, "_run", fail)
    assert cli.main(["index"]) == 2
    assert "name one with room in TMPDIR" in capsys.readouterr().err


def test_no_window_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    cli.main([])
    assert os.environ["MPLBACKEND"] == "agg"
