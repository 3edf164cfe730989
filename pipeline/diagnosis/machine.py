"""CPU cores and memory, as far as a container may use them."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from pipeline.diagnosis.finding import Finding

TOPIC = "machine"
CGROUP = Path("/sys/fs/cgroup")
_LITTLE = 2 * 2**30
"""Bytes of free memory below which a warning is given: Ray ends workers when memory runs out."""


def check_machine(cgroup: Path = CGROUP) -> list[Finding]:
    """Cores and memory.

    Args:
        cgroup: folder with the limits of this container.
    """
    return [_cores(cgroup), _memory(cgroup)]


def cpu_limit(cgroup: Path) -> float | None:
    """Cores that the container may use, by version 2 or 1 of Linux's control groups; None without a limit."""
    quota, period = (*_words(cgroup / "cpu.max"), "", "")[:2]
    if not quota:
        quota = "".join(_words(cgroup / "cpu" / "cpu.cfs_quota_us"))
        period = "".join(_words(cgroup / "cpu" / "cpu.cfs_period_us"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def memory_limit(cgroup: Path) -> int | None:
    """Bytes that the container may use; None without a limit."""
    words = _words(cgroup / "memory.max") or _words(cgroup / "memory" / "memory.limit_in_bytes")
    return int(words[0]) if words and words[0].isdigit() else None


def _cores(cgroup: Path) -> Finding:
    cores = os.cpu_count() or 1
    usable = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(cores)
    usable = min(usable, cpu_limit(cgroup) or usable)
    if usable >= cores:
        return Finding(TOPIC, "CPU", "ok", f"{cores} cores")
    said = f"{cores} cores, of which this process may use {usable:g}; runs plan for all of them"
    return Finding(TOPIC, "CPU", "warning", said, f"--cpus {max(1, int(usable))}")


def _memory(cgroup: Path) -> Finding:
    memory = psutil.virtual_memory()
    limit = memory_limit(cgroup)
    limited = limit is not None and limit < memory.total
    total = limit if limit is not None and limited else memory.total
    free = min(memory.available, total)
    said = f"{_gigabytes(free)} of {_gigabytes(total)} free{', the limit of this container' * limited}"
    if free >= _LITTLE:
        return Finding(TOPIC, "memory", "ok", said)
    return Finding(TOPIC, "memory", "warning", f"{said}: Ray ends workers when it runs out", "--cpus 1, or end others")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"
