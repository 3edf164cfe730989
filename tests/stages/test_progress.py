from __future__ import annotations

import time
from collections import Counter
from types import SimpleNamespace

import pytest

from pipeline.stages.progress import duration, gpu_warning, progress_line, summary
from pipeline.stages.tally import Counts, Reporter, Tally


def busy() -> Counts:
    tally = Tally()
    tally.device("detect", "cpu")
    tally.device("encode", "cuda:NVIDIA A100 80GB")
    tally.device("encode", "cuda:NVIDIA A100 80GB")
    tally.embedding(1, 64)
    tally.batch("detect", 64, 1.5, 0, {}, False)
    tally.batch("encode", 64, 0.5, 100, {"image too large: 9x9 pixels": 1, "image too large: 8x8 pixels": 1}, True)
    tally.batch("encode", 64, 0.5, 20, {"empty file": 1}, True)
    assert tally.counts.started is not None
    assert tally.counts.started < time.time() - 1
    tally.counts.started, tally.counts.history = 99.0, [(100.0, 64), (100.5, 128)]
    return tally.read()


def test_counts_add_up() -> None:
    counts = busy()
    assert (counts.photos, counts.objects, counts.embedding) == (128, 120, (1, 64))
    assert counts.failures == {"image too large": 2, "empty file": 1}
    assert counts.seconds == {"detect": 1.5, "encode": 1.0}


def test_rates() -> None:
    counts = Counts(photos=120, started=-1.0, history=[(0.0, 10), (10.0, 20), (11.0, 120)])
    assert counts.rate() == 10.0
    assert counts.recent_rate(2) == 100.0
    assert counts.recent_rate(0.5) == 10.0
    assert Counts().rate() is None
    assert Counts().recent_rate(5) is None
    assert Counts(history=[(0.0, 10)]).recent_rate(5) is None


def test_the_warm_rate_counts_the_work_that_was_left_when_all_actors_were_up() -> None:
    tally = Tally(actors=3)
    tally.device("detect", "cpu")
    tally.device("encode", "cpu")
    tally.batch("detect", 40, 40 * 0.3, 0, {}, False)
    tally.batch("encode", 10, 10 * 0.1, 0, {}, True)
    assert tally.counts.warm is None  # the second encode actor still loads
    tally.device("encode", "cpu")
    tally.batch("encode", 10, 10 * 0.1, 0, {}, True)
    assert tally.counts.warm is not None
    assert tally.counts.warm[1] == {"detect": 40, "encode": 20}
    assert tally.counts.warm_rate() is None
    tally.batch("detect", 60, 60 * 0.3, 0, {}, False)
    tally.batch("encode", 80, 80 * 0.1, 0, {}, True)
    since = tally.counts.warm[0]
    tally.counts.history[-1] = (since + 10, 100)
    # 60 detections of 0.3 s and 80 encodings of 0.1 s: 26 of 40 seconds of work, so 65 of 100 photos, in 10 s.
    assert tally.counts.warm_rate() == pytest.approx(6.5)


def test_a_warm_rate_needs_work_that_was_left() -> None:
    tally = Tally(actors=1)
    tally.device("encode", "cpu")
    tally.batch("encode", 80, 8, 0, {}, True)
    tally.batch("encode", 20, 2, 0, {}, True)
    tally.counts.history[-1] = (tally.counts.history[-1][0] + 1, 100)
    assert tally.counts.warm_rate() is None
    assert Counts().warm_rate() is None


def test_history_stays_short() -> None:
    tally = Tally()
    for _ in range(10_000):
        tally.batch("encode", 1, 0, 0, {}, True)
    assert len(tally.counts.history) <= 4096
    assert tally.counts.history[-1][1] == 10_000


def test_progress_line() -> None:
    assert progress_line(Counts(), 10) == "starting workers ..."
    assert progress_line(busy(), 2000) == "128 of 2,000 photos (6%), 128.0 images/s, 0:15 left, 3 failed"
    assert progress_line(busy(), None) == "128 photos, 128.0 images/s, 3 failed"


def test_summary_says_it_all() -> None:
    assert summary(busy(), 65.2).splitlines() == [
        "indexed 125 photos with 120 objects in 1:05; 85.3 images/s once running",
        "failed  3 photos: 2 x image too large, 1 x empty file",
        "detect  1.5 s of work on 1 x cpu",
        "encode  1.0 s of work on 2 x cuda:NVIDIA A100 80GB",
    ]


def test_a_gpu_that_is_not_used_is_said_loudly() -> None:
    cpu = Counts(devices={"encode": Counter(cpu=1)})
    assert gpu_warning(busy(), Counter(A100=1), None) is None
    assert gpu_warning(cpu, Counter(), None) is None
    assert gpu_warning(cpu, Counter(A100=1), ["none"]) is None
    assert "1 x A100 present but NOT USED" in str(gpu_warning(cpu, Counter(A100=1), None))
    assert "were asked for and NOT USED" in str(gpu_warning(cpu, Counter(), ["A100"]))


def test_duration() -> None:
    assert [duration(seconds) for seconds in (0.4, 65, 3661)] == ["0:00", "1:05", "1:01:01"]


def test_reports_are_sent_to_the_tally_and_dropped_without_one() -> None:
    sent: list[tuple[object, ...]] = []
    tally = SimpleNamespace(batch=SimpleNamespace(remote=lambda *words: sent.append(words)))
    Reporter(tally).batch("encode", photos=2, seconds=1.0)
    Reporter().batch("encode", photos=1, seconds=1.0)
    assert sent == [("encode", 2, 1.0, 0, {}, True)]
