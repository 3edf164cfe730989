"""Figures are drawn with any backend and home in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
from pipeline.reports.heat_map import HeatMap
for name in sys.argv[1:]:
    HeatMap([[0.0, 1.0]], ["a"], ["b", "c"], ("x", "y"), "%", "t", (0, 1)).draw(name)
print(os.environ.get("MPLBACKEND"))
"""


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense", "TkAgg"])
def test_no_backend_and_no_home_is_needed(backend: str, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("x.png", "x.svg")]
    environment = os.environ | {"MPLBACKEND": backend, "HOME": "/proc/nohome", "PYTHONPATH": str(Path.cwd())}
    environment.pop("MPLCONFIGDIR", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *paths], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{backend}\n"  # and it is as it was
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "x.svg").read_text()
