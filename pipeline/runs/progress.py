"""What a run says while it works and when it is done."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray

from pipeline.cluster.waiting import LONG, waiting_line
from pipeline.errors import one_line
from pipeline.printing import duration, printable
from pipeline.runs.run_stats import RunStats

_LOG = logging.getLogger(__name__)
EVERY_TTY, EVERY_LOG = 0.5, 10.0
"""Seconds between updates of the line in a terminal, and between the lines of a log."""


@contextmanager
def progress(tally: Any, total: int | None, on_counts: Any = None) -> Iterator[None]:
    """Print progress from `tally` while the block runs: one line that changes in a terminal, a line now and then else.

    Args:
        tally: the actor.
        total: photos to do; None when unknown.
        on_counts: called with the `RunStats` of every look. What it raises is logged, once, and it is called again:
            nothing but the end of the block ends the looks.
    """
    stop = threading.Event()
    live = sys.stderr.isatty()
    started = time.monotonic()

    def line(counts: RunStats) -> str:
        waited = time.monotonic() - started
        up = counts.devices or counts.loading
        return progress_line(counts, total) if up or waited < LONG else waiting_line(waited)

    shown = started

    def show(counts: RunStats) -> None:
        nonlocal shown
        if live:
            print(f"\r\x1b[K{line(counts)}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - shown >= EVERY_LOG:
            shown = time.monotonic()
            print(line(counts), file=sys.stderr, flush=True)

    complaints = _Complaints()

    def look() -> None:
        try:
            counts = ray.get(tally.read.remote(), timeout=10)
        except ray.exceptions.GetTimeoutError:  # a busy machine
            return
        if on_counts is not None:
            with complaints:
                on_counts(counts)
        show(counts)

    def watch() -> None:
        while not stop.wait(EVERY_TTY):
            with complaints:
                look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
        stop.set()
        thread.join()  # however long: what it has begun to write must not come after what is written next
    finally:
        stop.set()
        thread.join(timeout=15)
        if live:
            with suppress(OSError, ValueError):  # a terminal that is gone must not hide what ended the block
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class _Complaints:
    """A context that nothing gets out of: each type of error is logged the first time that it comes up."""

    def __init__(self) -> None:
        self.known: set[type[BaseException]] = set()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> bool:
        if error is not None and type(error) not in self.known:
            self.known.add(type(error))
            _LOG.warning("while watching the run, which goes on: %s", printable(one_line(error)))
            _LOG.debug("where", exc_info=error)
        return True


class Counting:
    """Says how far something is that is merely counted, such as a listing: nothing at all while it is quick.

    Args:
        what: is counted, "photos listed".
    """

    def __init__(self, what: str) -> None:
        self.what, self.started = what, time.monotonic()
        self.shown, self.live = self.started, sys.stderr.isatty()

    def __call__(self, count: int) -> None:
        """So many are counted."""
        now = time.monotonic()
        if now - self.shown < (EVERY_TTY if self.live else EVERY_LOG):
            return
        self.shown = now
        line = f"{count:,} {self.what}, {count / (now - self.started):,.0f} a second"
        print(f"\r\x1b[K{line}" if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Make room for what comes next."""
        if self.live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def progress_line(counts: RunStats, total: int | None) -> str:
    """One line: ``1,280 of 2,000 photos (64 %), 212 images/s, 0:03 left, 2 failed``."""
    if not counts.photos and counts.loading:
        return "loading models ..."
    if not counts.photos:
        return "first photos ..." if counts.devices else "starting workers ..."
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


def summary(counts: RunStats, seconds: float) -> str:
    """What the run did: photos, objects, failures by reason, images/s, seconds by stage, devices."""
    failed = sum(counts.failures.values())
    rate = counts.rate()
    speed = f"; {rate:,.1f} images/s once running" if rate else ""
    lines = [f"indexed {counts.photos - failed:,} photos with {counts.objects:,} objects in {duration(seconds)}{speed}"]
    if failed:
        reasons = ", ".join(f"{number:,} x {printable(reason)}" for reason, number in counts.failures.most_common())
        lines.append(f"failed  {failed:,} photos: {reasons}")
    for stage, names in counts.devices.items():
        devices = ", ".join(f"{number} x {name}" for name, number in Counter(names).items())
        lines.append(f"{stage:<7} {counts.seconds.get(stage, 0.0):,.1f} s of work on {devices}")
    return "\n".join(lines)


def device_report(counts: RunStats, tolerance: float) -> tuple[str | None, str | None]:
    """How far embeddings of different devices differ: a line to tell, and a warning where that is too much.

    None where one kind of device made them all, and its devices agree.
    """
    if len(counts.differences) < 2 and max(counts.differences.values(), default=0.0) < 1e-6:
        return None, None
    kinds = [f"{device} in {dtype} {far:.1e}" for (device, dtype), far in sorted(counts.differences.items())]
    line = f"devices differ on the probe photos, as 1 - cosine to the most exact, by: {', '.join(kinds)}"
    if max(counts.differences.values()) <= tolerance:
        return line, None
    return line, (
        f"WARNING: the devices' embeddings differ by more than {tolerance:g} (1 - cosine), which changes what searches"
        " find; index with one --dtype or leave devices out (--accelerators)"
    )


def gpu_warning(counts: RunStats, gpus: Counter[str], asked: list[str] | None) -> str | None:
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
