"""What the events of a run add up to."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pipeline.datasets.photos.skipped import Skipped
from pipeline.io.storage_waits import StorageAnswers, StorageWaits
from pipeline.runs.progress import progress_line, summary
from pipeline.runs.report import wrong_decompositions
from pipeline.runs.run_stats import RunStats
from pipeline.workers.reporting import (
    BatchDone,
    DeviceProbe,
    DeviceUp,
    Event,
    Fetched,
    FilesSkipped,
    Loading,
    WorkDone,
)


def recorded(*events: Event, actors: int | None = None) -> RunStats:
    stats = RunStats(actors=actors)
    for event in events:
        stats.record(event)
    return stats


def detected(photos: int, seconds: float) -> BatchDone:
    return BatchDone("detect", "cpu", photos, seconds)


def encoded(photos: int, seconds: float, objects: int = 0, **failures: int) -> BatchDone:
    return BatchDone("encode", "cpu", photos, seconds, objects, failures, last=True)


def test_events_add_up() -> None:
    too_large = {"image too large: 9x9 pixels": 1, "image too large: 8x8 pixels": 1}
    stats = recorded(
        DeviceProbe("cpu", "float32", np.zeros((2, 1, 64), np.float32)),
        detected(64, 1.5),
        encoded(64, 0.5, 100, **too_large),
        encoded(64, 0.5, 20, **{"empty file": 1}),
    )
    assert stats.started is not None
    assert stats.started < time.time() - 1
    assert (stats.photos, stats.objects, stats.embedding) == (128, 120, (1, 64))
    assert stats.failures == {"image too large": 2, "empty file": 1}
    assert stats.seconds == {"detect": 1.5, "encode": 1.0}
    assert stats.work == {("detect", "cpu"): (64, 1.5), ("encode", "cpu"): (128, 1.0)}
    assert stats.done == {"detect": 64, "encode": 128}


def test_waits_for_storage_are_counted_and_shown_while_they_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    stats = recorded(StorageWaits("answers 503", 1.0, 600.0))
    assert progress_line(stats, 10) == "starting workers ..."  # too short to be worth a word
    stats.record(StorageWaits("answers 503", 118.0, 600.0))
    now[0] += 5
    line = "the store answers 503; waiting, 3rd minute of 10, nothing is lost"
    assert progress_line(stats, 10) == line
    stats.record(StorageWaits("fails", 2.0))  # the store has been down for longer than this
    assert progress_line(stats, 10) == line
    stats.record(StorageAnswers(301.0))
    assert progress_line(stats, 10) == "starting workers ..."
    stats.record(StorageWaits("answers 503", 124.0, 600.0))  # another process still waits
    assert progress_line(stats, 10) == line
    now[0] += 60  # it has died
    assert progress_line(stats, 10) == "starting workers ..."
    assert "storage 4 requests tried again; the longest wait was 5:01" in summary(stats, 400.0)
    assert "storage" not in summary(RunStats(), 1.0)


def test_wrong_decompositions_add_up_by_device() -> None:
    stats = recorded(
        BatchDone("encode", "cuda:A", 8, 1.0, decompositions=432, repeated=2),
        BatchDone("encode", "cuda:A", 8, 1.0, decompositions=432),
        BatchDone("encode", "cuda:B", 8, 1.0, decompositions=72),
        encoded(8, 1.0),
    )
    assert stats.decompositions == {"cuda:A": (864, 2), "cuda:B": (72, 0)}
    (line,) = wrong_decompositions(stats)
    assert line.startswith("2 of 864 eigendecompositions on cuda:A were wrong and were repeated on the CPU")


def test_what_was_read_and_skipped_adds_up() -> None:
    skipped = Skipped()
    skipped.add("hidden", "a/.b.jpg")
    stats = recorded(Fetched(8, 1.0, 800), Fetched(2, 0.5, 100), FilesSkipped(skipped), FilesSkipped(skipped))
    assert stats.fetched == (10, 1.5, 900)
    assert stats.skipped.counts() == {"hidden": 2}


def test_events_that_are_not_about_statistics_are_ignored() -> None:
    stats = RunStats()
    before = dict(vars(stats))
    stats.record(WorkDone("encode/1"))
    assert vars(stats) == before


def test_rates() -> None:
    stats = RunStats(photos=120, started=-1.0, history=[(0.0, 10), (10.0, 20), (11.0, 120)])
    assert stats.rate() == 10.0
    assert stats.recent_rate(2) == 100.0
    assert stats.recent_rate(0.5) == 10.0
    assert RunStats().rate() is None
    assert RunStats().recent_rate(5) is None
    assert RunStats(history=[(0.0, 10)]).recent_rate(5) is None


def test_the_warm_rate_counts_the_work_left_when_all_actors_were_up() -> None:
    stats = recorded(DeviceUp("detect", "cpu"), DeviceUp("encode", "cpu"), actors=3)
    stats.record(detected(40, 40 * 0.3))
    stats.record(encoded(10, 10 * 0.1))
    assert stats.warm is None  # the second encode actor still loads
    stats.record(DeviceUp("encode", "cpu"))
    stats.record(encoded(10, 10 * 0.1))
    assert stats.warm is not None
    assert stats.warm[1] == {"detect": 40, "encode": 20}
    assert stats.warm_rate() is None
    stats.record(detected(60, 60 * 0.3))
    stats.record(encoded(80, 80 * 0.1))
    stats.history[-1] = (stats.warm[0] + 10, 100)
    # 60 detections of 0.3 s and 80 encodings of 0.1 s: 26 of 40 seconds of work, so 65 of 100 photos, in 10 s.
    assert stats.warm_rate() == pytest.approx(6.5)


def test_the_warm_rate_needs_some_work_left() -> None:
    stats = recorded(DeviceUp("encode", "cpu"), encoded(80, 8), encoded(20, 2), actors=1)
    stats.history[-1] = (stats.history[-1][0] + 1, 100)
    assert stats.warm_rate() is None
    assert RunStats().warm_rate() is None


def test_history_stays_short() -> None:
    stats = recorded(*[encoded(1, 0)] * 10_000)
    assert len(stats.history) <= 4096
    assert stats.history[-1][1] == 10_000


def test_loading_actors_are_counted_until_they_are_up() -> None:
    stats = recorded(Loading(), actors=2)
    assert stats.loading == 1
    assert progress_line(stats, 10) == "loading models ..."
    stats.record(DeviceUp("detect", "cpu"))
    assert progress_line(stats, 10) == "first photos ..."
    stats.record(Loading())  # the first encoder, which dies of it
    stats.record(Loading())  # and begins once more
    assert stats.loading == 1
    assert progress_line(stats, 10) == "loading models ..."
    stats.record(DeviceUp("encode", "cpu"))
    assert progress_line(stats, 10) == "first photos ..."
    stats.record(Loading())  # one that was up is started again
    assert progress_line(stats, 10) == "first photos ..."
