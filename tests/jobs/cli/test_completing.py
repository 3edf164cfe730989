"""Completion scripts, tried in the shells that are installed here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from jobs import cli
from jobs.cli.completing import completion_script

BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
complete -p qpert > /dev/null && _shtab_qpert qpert "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = 'source $argv[1]; complete -C "$argv[2..]"'


@pytest.fixture(scope="module", params=["bash", "fish"])
def script(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A shell, and the file with its script."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    path = tmp_path_factory.mktemp("completion") / f"qpert.{request.param}"
    path.write_text(completion_script(request.param, cli.verbs()), encoding="utf-8")
    return request.param, path


def completed(script: tuple[str, Path], folder: Path, *words: str) -> list[str]:
    """What a shell offers for the last word."""
    shell, path = script
    command = ["bash", "-c", BASH, "bash", str(path), *words] if shell == "bash" else ["fish", "-c", FISH, str(path)]
    if shell == "fish":
        command.append(" ".join(words))
    done = subprocess.run(
        command, cwd=folder, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.stderr == ""
    return [line.partition("\t")[0].rstrip("/") for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ind"], ["index"]),
        (["index", "--dry"], ["--dry-run"]),
        (["index", "photos", "--encoder", "co"], ["coca"]),
        (["index", "photos", "--detector", "ann"], ["annotated"]),
        (["search", "photos", "--dtype", "float1"], ["float16"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["index", "pho"], ["photos"]),
        (["index", "photos", "--out", "pho"], ["photos"]),
        (["index", "photos", "--weights", "pho"], ["photos"]),
        (["index", "photos", "--config", "ru"], ["run.yaml"]),
    ],
)
def test_a_word_is_completed(script: tuple[str, Path], words: list[str], offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "run.yaml").touch()
    assert completed(script, tmp_path, "qpert", *words) == offered


def test_every_verb_is_offered(script: tuple[str, Path], tmp_path: Path) -> None:
    assert set(cli.verbs()) <= set(completed(script, tmp_path, "qpert", ""))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_prints_a_script_that_the_shell_accepts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in (*cli.verbs(), "perturbation.threshold", "print-config"))
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    checked = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_other_shells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "cmd"]) == 2
    assert "SHELL: Input should be 'bash', 'zsh' or 'fish', not 'cmd'" in capsys.readouterr().err
