"""Shows how a run goes: a status line from its statistics while it works, and a summary when it is done."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.cluster.waiting import LONG, waiting_line
from pipeline.errors import one_line
from pipeline.io.storage_waits import waiting_text
from pipeline.printing import duration, printable
from pipeline.runs.run_stats import RunStats
from pipeline.runs.status_line import StatusLine

_LOG = logging.getLogger(__name__)
POLL = 0.5
"""Seconds between two looks at the statistics."""


@contextmanager
def progress(
    run_actor: Any,
    total: int | None,
    on_stats: Callable[[RunStats], object] = lambda stats: None,
    status: StatusLine | None = None,
) -> Iterator[None]:
    """Shows progress while the block runs.

    Args:
        run_actor: handle of the `RunActor`.
        total: photos to do; None when unknown.
        on_stats: called with the statistics at every look. An exception in it is logged once, and looks go on: only
            the end of the block ends them.
        status: a line that is open already, and stays so; None for a line of its own.
    """
    import ray  # a dry run uses this module's texts, and does not load Ray

    stop, started, problems = threading.Event(), time.monotonic(), _Problems()
    line = status or StatusLine()

    def look() -> None:
        try:
            stats: RunStats = ray.get(run_actor.read.remote(), timeout=10)
        except ray.exceptions.GetTimeoutError:  # a busy machine
            return
        with problems:
            on_stats(stats)
        waited = time.monotonic() - started
        begun = stats.devices or stats.loading or waited < LONG
        if not stop.is_set():
            line.show(progress_line(stats, total) if begun else waiting_line(waited))

    def watch() -> None:
        while not stop.wait(POLL):
            with problems:
                look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
        stop.set()
        thread.join()  # however long: what the callback is writing must not come after what is written next
    finally:
        stop.set()
        thread.join(timeout=15)
        if status is None:
            line.close()


class _Problems:
    """A context that swallows every exception and logs the first one of each type."""

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


def progress_line(stats: RunStats, total: int | None) -> str:
    """One line: ``1,280 of 2,000 photos (64 %), 212 images/s, 0:03 left, 2 failed``, or what it waits for."""
    if wait := stats.storage.now():
        return printable(waiting_text(wait.problem, wait.seconds, wait.limit))
    if not stats.photos and stats.loading:
        return "loading models ..."
    if not stats.photos:
        return "first photos ..." if stats.devices else "starting workers ..."
    share = f" of {total:,} photos ({stats.photos / total:.0%})" if total else " photos"
    parts = [f"{stats.photos:,}{share}"]
    if speed := stats.images_per_second():
        parts.append(f"{speed:,.1f} images/s")
    recent = stats.recent_rate(30)
    if recent and total and total > stats.photos:
        parts.append(f"{duration((total - stats.photos) / recent)} left")
    failed = sum(stats.failures.values())
    if failed:
        parts.append(f"{failed:,} failed")
    return ", ".join(parts)


def summary(stats: RunStats, seconds: float) -> str:
    """What a run did: photos, objects, failures by reason, images/s, seconds by stage, devices."""
    failed = sum(stats.failures.values())
    rate = stats.images_per_second()
    speed = f"; {rate:,.1f} images/s once running" if rate else ""
    lines = [f"indexed {stats.photos - failed:,} photos with {stats.objects:,} objects in {duration(seconds)}{speed}"]
    if failed:
        reasons = ", ".join(f"{number:,} x {printable(reason)}" for reason, number in stats.failures.most_common())
        lines.append(f"failed  {failed:,} photos: {reasons}")
    for stage, names in stats.devices.items():
        devices = ", ".join(f"{number} x {name}" for name, number in Counter(names).items())
        lines.append(f"{stage:<7} {stats.seconds.get(stage, 0.0):,.1f} s of work on {devices}")
    if stats.storage.retries:
        longest = duration(stats.storage.longest)
        lines.append(f"storage {stats.storage.retries:,} requests tried again; the longest wait was {longest}")
    return "\n".join(lines)


def device_report(stats: RunStats, tolerance: float) -> tuple[str | None, str | None]:
    """How far the embeddings of the devices differ, and a warning if that exceeds `tolerance` (1 - cosine).

    None for what there is no reason to print: all devices are of one kind and agree, or the difference is tolerable.
    """
    if len(stats.differences) < 2 and max(stats.differences.values(), default=0.0) < 1e-6:
        return None, None
    kinds = [f"{device} in {dtype} {far:.1e}" for (device, dtype), far in sorted(stats.differences.items())]
    line = f"devices differ on the probe photos, as 1 - cosine to the most exact, by: {', '.join(kinds)}"
    if max(stats.differences.values()) <= tolerance:
        return line, None
    return line, (
        f"the devices' embeddings differ by more than {tolerance:g} (1 - cosine), which changes what searches"
        " find; index with one --dtype or leave devices out (--accelerators)"
    )


def gpu_warning(stats: RunStats, gpus: Counter[str], asked: list[str] | None) -> str | None:
    """A warning if GPUs were present, or were asked for, and no actor used one."""
    used = any(name.startswith("cuda") for names in stats.devices.values() for name in names)
    if used or asked == ["none"]:
        return None
    if gpus:
        present = ", ".join(f"{count} x {kind}" for kind, count in gpus.items())
        return f"{present} present but NOT USED; everything ran on the CPU"
    if asked:
        return f"GPUs of type {', '.join(asked)} were asked for and NOT USED; everything ran on the CPU"
    return None
