from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from pipeline.diagnosis import machine
from pipeline.diagnosis.machine import check_machine, cpu_limit, memory_limit


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("-", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_limits_of_both_versions_of_control_groups(tmp_path: Path) -> None:
    second = write(tmp_path / "2", **{"cpu-max": "150000 100000\n", "memory-max": "1073741824\n"})
    assert (cpu_limit(second), memory_limit(second)) == (1.5, 2**30)
    first = write(
        tmp_path / "1",
        **{
            "cpu__cpu-cfs_quota_us": "50000\n",
            "cpu__cpu-cfs_period_us": "100000\n",
            "memory__memory-limit_in_bytes": "2147483648\n",
        },
    )
    assert (cpu_limit(first), memory_limit(first)) == (0.5, 2**31)


def test_no_limits(tmp_path: Path) -> None:
    open_ended = write(tmp_path / "2", **{"cpu-max": "max 100000\n", "memory-max": "max\n"})
    assert (cpu_limit(open_ended), memory_limit(open_ended)) == (None, None)
    first = write(tmp_path / "1", **{"cpu__cpu-cfs_quota_us": "-1\n", "cpu__cpu-cfs_period_us": "100000\n"})
    assert cpu_limit(first) is None
    assert (cpu_limit(tmp_path), memory_limit(tmp_path)) == (None, None)


def test_a_container_with_less_than_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    small = write(tmp_path, **{"cpu-max": "250000 100000", "memory-max": str(10**9)})
    cores, memory = check_machine(small)
    assert (cores.state, cores.remedy) == ("warning", "--cpus 2")
    assert "8 cores, of which this process may use 2.5" in cores.text
    assert memory.state == "warning"
    assert "of 1.0 GB free, the limit of this container" in memory.text


def test_a_whole_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(machine, "_LITTLE", psutil.virtual_memory().available // 2)
    assert [(finding.name, finding.state) for finding in check_machine(tmp_path)] == [("CPU", "ok"), ("memory", "ok")]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert check_machine(tmp_path)[0].remedy == "--cpus 1"
