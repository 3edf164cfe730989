"""The commands where ultralytics is not installed: the default detector is refused before anything large is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import sys
sys.modules["ultralytics"] = None
from jobs.cli import main
code = main(sys.argv[1:])
print("loaded:", *sorted({"ray", "torch"} & {*sys.modules}))
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["index", ".", "--out", "out"],
        ["plan", "."],
        ["demo", "--out", "out"],
        ["caption", "."],
        ["tune", "--out", "out", "--detector", "miniature"],
        ["reproduce", "--out", "out"],
        ["benchmark", "pipeline"],
    ],
    ids=lambda words: words[0],
)
def test_the_default_detector_is_refused_at_once(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: detector 'miniature' needs ultralytics: pip install 'qpert[yolo]', or choose --detector"
        " hf:MODEL, annotated or none\n"
    )
    assert done.stdout == "loaded:\n"
    assert list(tmp_path.iterdir()) == []
