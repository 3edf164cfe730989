"""The Dockerfile: accepted by hadolint, with all that the wheel is built from. No image is built here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.files import DOCKERFILE, ROOT

TEXT = DOCKERFILE.read_text(encoding="utf-8")


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    return subprocess.run([hadolint, "--no-color", str(path)], capture_output=True, text=True, check=False)


def test_hadolint_accepts_it(tmp_path: Path) -> None:
    done = lint(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "Dockerfile").write_text(TEXT.replace("USER 1000", "USER root"))
    assert "DL3002" in lint(tmp_path / "Dockerfile").stdout  # last user is root


def test_it_copies_what_the_wheel_needs_and_the_build_context_holds_it() -> None:
    copied = {name for line in re.findall(r"^COPY (.+) \S+$", TEXT, re.MULTILINE) for name in line.split()}
    assert copied == {"pyproject.toml", "README.md", "LICENSE", "pipeline", "jobs"}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_its_processes_have_no_root_rights(target: str) -> None:
    stage = TEXT.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
    assert stage.rstrip().endswith("USER 1000")  # nothing is done as root after it
    assert "[yolo,onnx]" in stage
