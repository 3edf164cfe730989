"""The watchdog, with processes that really hang."""

from __future__ import annotations

import subprocess
import sys

import pytest

# While such a regular expression is matched, no other Python code runs in the process.
HANGS = 're.match(r"(a+)+$", "a" * 60 + "b")'


def run(block: str, seconds: float | None = 0.7, after: str = "") -> subprocess.CompletedProcess[str]:
    program = (
        "import re, time\n"
        "from pipeline.workers.watchdog import watchdog\n"
        f"with watchdog({seconds}) as alive:\n    {block}\n{after}\nprint('done')\n"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("block", ["time.sleep(50)", HANGS, f"alive(); {HANGS}"])
def test_a_process_that_hangs_ends_and_says_where(block: str) -> None:
    ended = run(block)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Timeout" in ended.stderr
    assert 'File "<string>", line 4 in <module>' in ended.stderr


@pytest.mark.slow
def test_a_process_that_reports_in_time_goes_on() -> None:
    assert run("[(time.sleep(1), alive()) for _ in range(4)]", 3.0).stdout == "done\n"


@pytest.mark.slow
@pytest.mark.parametrize("block", ["pass", "alive()"])
def test_nothing_is_watched_after_the_block(block: str) -> None:
    assert run(block, after="time.sleep(1.5)").stdout == "done\n"
    assert run(block, None, "time.sleep(1)").stdout == "done\n"


def test_nothing_is_watched_after_a_block_that_fails() -> None:
    program = (
        "import time\nfrom pipeline.workers.watchdog import watchdog\n"
        "try:\n    with watchdog(0.7):\n        raise KeyError\nexcept KeyError:\n    time.sleep(1.5)\nprint('done')\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stdout == "done\n"
    )
