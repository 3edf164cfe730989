"""The measurement of a start, without Ray: its commands are replaced, all else is real."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.benchmarks import start
from pipeline.benchmarks.start import Timing, measure_start
from pipeline.errors import QpertError


def test_a_process_is_timed_with_its_cpu() -> None:
    busy = start._timed(["-c", "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"])
    assert 0.3 <= busy.cpu <= busy.wall + 0.1
    idle = start._median(["-c", "import time; time.sleep(0.3)"], 3)
    assert idle.wall >= 0.3
    assert idle.cpu < 0.3


def test_a_process_that_fails_is_an_error_with_its_last_words() -> None:
    with pytest.raises(QpertError, match="ended with 3 and said: no room"):
        start._timed(["-c", "import sys; print('x', file=sys.stderr); print('no room', file=sys.stderr); sys.exit(3)"])
    start._timed(["-c", "import sys; sys.exit(2)"], status=2)


def test_every_part_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, int]] = []

    def run(words: Sequence[str], status: int) -> str:
        ran.append((" ".join(words), status))
        return "a line of Ray's\n[1.5, 2.5, 0.5]\n"

    monkeypatch.setattr(start, "_run", run)
    times = measure_start(tmp_path, 3, repetitions=2)
    assert sorted(path.name for path in (tmp_path / "scenes" / "images").iterdir()) == [f"{n:06}.jpg" for n in range(3)]
    assert [seconds.wall for seconds in times.cold.values()] == [1.5, 2.5, 0.5]
    assert len(ran) == 1 + 2 * (5 + 4) + 1
    assert [status for words, status in ran if "--encoder none" in words] == [2, 2]
    assert str(times).count("\n") + 1 == 3 + 6 + 4 + 3
    assert "  until the first photo is in work" in str(times)
    assert str(Timing(1.234, 0.5)).split() == ["1.23", "s,", "0.50", "of", "CPU"]
    assert str(Timing(1.234, math.nan)).split() == ["1.23", "s"]


def test_the_programs_of_the_parts_compile() -> None:
    for program in (*start._PARTS.values(), start._COLD_RUN):
        assert compile(program, "part", "exec").co_names
