from __future__ import annotations

import logging
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pipeline.runs import progress as module
from pipeline.runs.progress import (
    Counting,
    device_report,
    duration,
    gpu_warning,
    progress,
    progress_line,
    summary,
    waiting_line,
)
from pipeline.runs.run_stats import Counts, Reporter, Tally


def busy() -> Counts:
    tally = Tally()
    tally.device("detect", "cpu")
    tally.device("encode", "cuda:NVIDIA A100 80GB")
    tally.device("encode", "cuda:NVIDIA A100 80GB")
    tally.embedding(1, 64)
    tally.batch("detect", "cpu", 64, 1.5, 0, {}, False)
    tally.batch(
        "encode", "cpu", 64, 0.5, 100, {"image too large: 9x9 pixels": 1, "image too large: 8x8 pixels": 1}, True
    )
    tally.batch("encode", "cpu", 64, 0.5, 20, {"empty file": 1}, True)
    assert tally.counts.started is not None
    assert tally.counts.started < time.time() - 1
    tally.counts.started, tally.counts.history = 99.0, [(100.0, 64), (100.5, 128)]
    return tally.read()


def test_counts_add_up() -> None:
    counts = busy()
    assert (counts.photos, counts.objects, counts.embedding) == (128, 120, (1, 64))
    assert counts.failures == {"image too large": 2, "empty file": 1}
    assert counts.seconds == {"detect": 1.5, "encode": 1.0}


def test_a_tally_that_is_stopped_lets_nothing_begin() -> None:
    tally = Tally()
    assert tally.enter("encode/1") == 0
    tally.stop("now there are 2 x A100")
    tally.leave("encode/1")  # what has begun ends
    with pytest.raises(RuntimeError, match="now there are 2 x A100"):
        tally.enter("encode/2")


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
    tally.batch("detect", "cpu", 40, 40 * 0.3, 0, {}, False)
    tally.batch("encode", "cpu", 10, 10 * 0.1, 0, {}, True)
    assert tally.counts.warm is None  # the second encode actor still loads
    tally.device("encode", "cpu")
    tally.batch("encode", "cpu", 10, 10 * 0.1, 0, {}, True)
    assert tally.counts.warm is not None
    assert tally.counts.warm[1] == {"detect": 40, "encode": 20}
    assert tally.counts.warm_rate() is None
    tally.batch("detect", "cpu", 60, 60 * 0.3, 0, {}, False)
    tally.batch("encode", "cpu", 80, 80 * 0.1, 0, {}, True)
    since = tally.counts.warm[0]
    tally.counts.history[-1] = (since + 10, 100)
    # 60 detections of 0.3 s and 80 encodings of 0.1 s: 26 of 40 seconds of work, so 65 of 100 photos, in 10 s.
    assert tally.counts.warm_rate() == pytest.approx(6.5)


def test_a_warm_rate_needs_work_that_was_left() -> None:
    tally = Tally(actors=1)
    tally.device("encode", "cpu")
    tally.batch("encode", "cpu", 80, 8, 0, {}, True)
    tally.batch("encode", "cpu", 20, 2, 0, {}, True)
    tally.counts.history[-1] = (tally.counts.history[-1][0] + 1, 100)
    assert tally.counts.warm_rate() is None
    assert Counts().warm_rate() is None


def test_history_stays_short() -> None:
    tally = Tally()
    for _ in range(10_000):
        tally.batch("encode", "cpu", 1, 0, 0, {}, True)
    assert len(tally.counts.history) <= 4096
    assert tally.counts.history[-1][1] == 10_000


def test_progress_line() -> None:
    assert progress_line(Counts(), 10) == "starting workers ..."
    assert progress_line(busy(), 2000) == "128 of 2,000 photos (6%), 128.0 images/s, 0:15 left, 3 failed"
    assert progress_line(busy(), None) == "128 photos, 128.0 images/s, 3 failed"


def test_actors_that_load_are_not_workers_that_start() -> None:
    tally = Tally(actors=2)
    tally.loading()
    assert progress_line(tally.read(), 10) == "loading models ..."
    tally.device("detect", "cpu")
    assert progress_line(tally.read(), 10) == "first photos ..."
    tally.loading()  # the first encoder, which dies of it
    tally.loading()  # and begins once more
    assert progress_line(tally.read(), 10) == "loading models ..."
    tally.device("encode", "cpu")
    assert progress_line(tally.read(), 10) == "first photos ..."
    tally.loading()  # one that was up is started again
    assert progress_line(tally.read(), 10) == "first photos ..."


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A tally without Ray that is looked at often."""
    monkeypatch.setattr(module, "EVERY_TTY", 0.001)
    monkeypatch.setattr(module, "EVERY_LOG", 0.0)
    monkeypatch.setattr(module.ray, "get", lambda found, timeout: found() if callable(found) else found)
    return SimpleNamespace(read=SimpleNamespace(remote=lambda: Counts(devices={"encode": Counter(cpu=1)})))


ERRORS = [RuntimeError("grpc: deadline exceeded"), OSError("disk"), KeyError("x"), SystemExit(3), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_no_error_of_a_callback_ends_the_watch(
    tally: Any, error: BaseException, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    enough, calls = threading.Event(), 0

    def look(counts: Counts) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            enough.set()
        raise error

    with progress(tally, 10, look):
        assert enough.wait(30)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert type(error).__name__ in caplog.text
    assert "first photos ..." in capsys.readouterr().err  # what does not depend on the callback goes on


@pytest.mark.parametrize(
    ("error", "said"),
    [(ray.exceptions.RayError("gone"), 1), (ValueError("no"), 1), (ray.exceptions.GetTimeoutError("busy"), 0)],
    ids=repr,
)
def test_a_tally_that_does_not_answer_does_not_either(
    tally: Any, error: Exception, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    looked, asked = threading.Event(), 0

    def read() -> Counts:
        nonlocal asked
        asked += 1
        if asked < 5:
            raise error
        return Counts()

    tally.read.remote = lambda: read
    with progress(tally, None, lambda counts: looked.set()):
        assert looked.wait(30)
    assert len(caplog.records) == said


def test_a_terminal_that_is_gone_hides_nothing(tally: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            raise BrokenPipeError("gone")

        def flush(self) -> None:
            raise BrokenPipeError("gone")

    monkeypatch.setattr(sys, "stderr", Gone())
    looked, calls = threading.Event(), 0

    def look(counts: Counts) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            looked.set()

    def interrupted() -> None:
        with progress(tally, 10, look):
            assert looked.wait(30)
            raise KeyboardInterrupt("stop")

    with pytest.raises(KeyboardInterrupt, match="stop"):
        interrupted()
    with progress(tally, 10):
        pass


def test_what_the_watch_has_begun_ends_before_the_run_goes_on(tally: Any) -> None:
    begun, ended = threading.Event(), False

    def look(counts: Counts) -> None:
        nonlocal ended
        begun.set()
        time.sleep(0.2)  # such as a manifest that is written slowly
        ended = True

    with progress(tally, 10, look):
        assert begun.wait(30)
    assert ended


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
    Reporter(tally).batch("encode", "cpu", photos=2, seconds=1.0)
    Reporter().batch("encode", "cpu", photos=1, seconds=1.0)
    assert sent == [("encode", "cpu", 2, 1.0, 0, {}, True)]


def test_devices_that_differ_too_much_are_warned_about() -> None:
    counts = Counts()
    assert device_report(counts, 0.01) == (None, None)
    counts.differences = {("cpu", "float32"): 0.0}
    assert device_report(counts, 0.01) == (None, None)
    counts.differences = {("cuda:A100", "bfloat16"): 2e-4, ("cuda:GeForce GTX 1080 Ti", "float32"): 0.0}
    line, warning = device_report(counts, 0.01)
    assert line is not None
    assert "cuda:A100 in bfloat16 2.0e-04, cuda:GeForce GTX 1080 Ti in float32 0.0e+00" in line
    assert warning is None
    assert "WARNING: the devices' embeddings differ by more than 0.0001" in (device_report(counts, 1e-4)[1] or "")


def test_two_devices_of_one_kind_that_disagree_are_told() -> None:
    counts = Counts(differences={("cuda:A100", "bfloat16"): 0.3})
    assert "WARNING" in (device_report(counts, 0.01)[1] or "")


def test_counting_says_nothing_while_it_is_quick(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting("photos listed")
    counting(10)
    counting.end()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(counting, "shown", counting.shown - 60)
    monkeypatch.setattr(counting, "started", counting.started - 60)
    counting(600)
    assert capsys.readouterr().err.startswith("600 photos listed, ")


def test_who_waits_for_workers_is_told_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 8.0, "GPU": 4.0, "memory": 1e9})
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 7.5})
    text = "no worker is up after 1:30; free are 0 of 4 GPUs, 7.5 of 8 CPUs: other jobs may hold the rest"
    assert waiting_line(90) == text
