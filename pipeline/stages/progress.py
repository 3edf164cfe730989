"""What a run says while it works and when it is done."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from pipeline.stages.tally import Counts

EVERY_TTY, EVERY_LOG = 0.5, 10.0
"""Seconds between updates of the line in a terminal, and between the lines of a log."""


@contextmanager
def progress(tally: Any, total: int | None, on_counts: Any = None) -> Iterator[None]:
    """Print progress from `tally` while the block runs: one line that changes in a terminal, a line now and then else.

    Args:
        tally: the actor.
        total: photos to do; None when unknown.
        on_counts: called with the `Counts` of every look.
    """
    stop = threading.Event()
    live = sys.stderr.isatty()

    def watch() -> None:
        shown = time.monotonic()
        while not stop.wait(EVERY_TTY):
            try:
                counts = ray.get(tally.read.remote(), timeout=10)
            except ray.exceptions.RayError:
                continue
            if on_counts is not None:
                on_counts(counts)
            if live:
                print(f"\r\x1b[K{progress_line(counts, total)}", end="", file=sys.stderr, flush=True)
            elif time.monotonic() - shown >= EVERY_LOG:
                shown = time.monotonic()
                print(progress_line(counts, total), file=sys.stderr, flush=True)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=15)
        if live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def progress_line(counts: Counts, total: int | None) -> str:
    """One line: ``1,280 of 2,000 photos (64 %), 212 images/s, 0:03 left, 2 failed``."""
    if not counts.photos and not counts.devices:
        return "starting workers ..."
    if not counts.photos:
        return "loading models ..." if len(counts.devices) < 1 else "first photos ..."
    share = f" of {total:,} photos ({counts.photos / total:.0%})" if total else " photos"
    parts = [f"{counts.photos:,}{share}"]
    rate = counts.recent_rate(30)
    if rate:
        parts.append(f"{rate:,.1f} images/s")
        if total and total > counts.photos:
            parts.append(f"{duration((total - counts.photos) / rate)} left")
    failed = sum(counts.failures.values())
    if failed:
        parts.append(f"{failed:,} failed")
    return ", ".join(parts)


def summary(counts: Counts, seconds: float) -> str:
    """What the run did: photos, objects, failures by reason, images/s, seconds by stage, devices."""
    failed = sum(counts.failures.values())
    rate = counts.rate()
    speed = f"; {rate:,.1f} images/s once running" if rate else ""
    lines = [f"indexed {counts.photos - failed:,} photos with {counts.objects:,} objects in {duration(seconds)}{speed}"]
    if failed:
        reasons = ", ".join(f"{number:,} x {reason}" for reason, number in counts.failures.most_common())
        lines.append(f"failed  {failed:,} photos: {reasons}")
    for stage, names in counts.devices.items():
        devices = ", ".join(f"{number} x {name}" for name, number in Counter(names).items())
        lines.append(f"{stage:<7} {counts.seconds.get(stage, 0.0):,.1f} s of work on {devices}")
    return "\n".join(lines)


def gpu_warning(counts: Counts, gpus: Counter[str], asked: list[str] | None) -> str | None:
    """A line to be loud about: a GPU was there, or was asked for, and no actor computed on one."""
    used = any(name.startswith("cuda") for names in counts.devices.values() for name in names)
    if used or asked == ["none"]:
        return None
    if gpus:
        there = ", ".join(f"{count} x {kind}" for kind, count in gpus.items())
        return f"WARNING: {there} present but NOT USED; everything ran on the CPU"
    if asked:
        return f"WARNING: GPUs of type {', '.join(asked)} were asked for and NOT USED; everything ran on the CPU"
    return None


def duration(seconds: float) -> str:
    """``0:07``, ``12:34`` or ``3:04:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
