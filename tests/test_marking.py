"""Which command lines start Ray, and what becomes of a test that does so without the mark."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.marking import starts_ray

ROOT = Path(__file__).parents[1]
TESTS = """
import subprocess, sys
import pytest

def start():
    return subprocess.run([sys.executable, "-m", "jobs", "index", "nowhere"], capture_output=True)

def test_forgotten():
    start()

def test_caught():
    try:
        start()
    except AssertionError:
        pass

@pytest.mark.ray
def test_marked():
    assert start().returncode == 2

@pytest.fixture
def ray_cpu():
    start()

def test_by_a_fixture(ray_cpu):
    pass

def test_something_else():
    subprocess.run([sys.executable, "--version"], check=True)
"""


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/x/gcs_server --log_dir=y", True),
        ("/x/raylet", True),
        ("/bin/ray start --head", True),
        ("/bin/ray job list", False),
        ("python -m jobs index photos --out x", True),
        ("python -m jobs index photos --dry-run", False),
        ("python -m jobs tune --help", False),
        ("python -m jobs search features star", False),
        ("python -m jobs", False),
        ("python -m tests.end_to_end.chaos --runs 3", True),
        ("nsenter --target 7 --net -- setpriv --pdeathsig KILL -- /bin/ray start --head", True),
        ("nsenter --target 7 --net -- setpriv --pdeathsig KILL -- ip link set lo up", False),
        ("python tests/cluster/local_session.py", True),
        ("python --version", False),
    ],
)
def test_commands_that_start_ray(command: str, expected: bool) -> None:
    assert starts_ray(command.split()) is expected


def test_a_test_that_starts_ray_needs_the_mark(tmp_path: Path) -> None:
    (tmp_path / "test_them.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    ray\n    slow\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.marking", "-p", "no:cacheprovider", "-v", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert re.findall(r"::(\w+) (PASSED|FAILED)", done.stdout) == [
        ("test_marked", "PASSED"),
        ("test_by_a_fixture", "PASSED"),
        ("test_forgotten", "FAILED"),
        ("test_caught", "FAILED"),
        ("test_something_else", "PASSED"),
    ]
    assert "this test starts Ray, so it needs the mark ray: " in done.stdout
