from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

import pipeline
from jobs import cli
from jobs.cli.version import version_text


def test_the_versions_are_those_that_are_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    python = ".".join(map(str, sys.version_info[:3]))
    said = f"qpert {pipeline.__version__} (Python {python}, ray {version('ray')}, torch {version('torch')})"
    assert capsys.readouterr().out.strip() == said


def test_no_library_is_imported_for_it() -> None:
    code = (
        "import sys; from jobs.cli import main; main(['--version']); print(*{'numpy', 'ray', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"qpert .+\n\n", done.stdout)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.cli.version._LIBRARIES", ("no-such-library",))
    assert version_text().endswith("no-such-library is not installed)")
