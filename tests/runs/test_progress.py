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
from pipeline.runs import status_line
from pipeline.runs.progress import device_report, gpu_warning, progress, progress_line, summary
from pipeline.runs.run_stats import RunStats


def busy() -> RunStats:
    return RunStats(
        photos=128,
        objects=120,
        failures=Counter({"image too large": 2, "empty file": 1}),
        seconds={"detect": 1.5, "encode": 1.0},
        devices={"detect": Counter(cpu=1), "encode": Counter({"cuda:NVIDIA A100 80GB": 2})},
        embedding=(1, 64),
        started=99.0,
        history=[(100.0, 64), (100.5, 128)],
    )


def test_progress_line() -> None:
    assert progress_line(RunStats(), 10) == "starting workers ..."
    assert progress_line(busy(), 2000) == "128 of 2,000 photos (6%), 85.3 images/s, 0:15 left, 3 failed"
    assert progress_line(busy(), None) == "128 photos, 85.3 images/s, 3 failed"
    assert "; 85.3 images/s" in summary(busy(), 12.0)  # the same figure


@pytest.fixture
def run_actor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run actor without Ray that is read often."""
    monkeypatch.setattr(module, "POLL", 0.001)
    monkeypatch.setattr(status_line, "EVERY_LOG", 0.0)
    monkeypatch.setattr(ray, "get", lambda found, timeout: found() if callable(found) else found)
    return SimpleNamespace(read=SimpleNamespace(remote=lambda: RunStats(devices={"encode": Counter(cpu=1)})))


ERRORS = [RuntimeError("grpc: deadline exceeded"), OSError("disk"), KeyError("x"), SystemExit(3), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_error_in_the_callback_does_not_end_progress(
    run_actor: Any, error: BaseException, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    enough, calls = threading.Event(), 0

    def look(stats: RunStats) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            enough.set()
        raise error

    with progress(run_actor, 10, look):
        assert enough.wait(30)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert type(error).__name__ in caplog.text
    assert "first photos ..." in capsys.readouterr().err  # which does not depend on the callback


@pytest.mark.parametrize(
    ("error", "said"),
    [(ray.exceptions.RayError("gone"), 1), (ValueError("no"), 1), (ray.exceptions.GetTimeoutError("busy"), 0)],
    ids=repr,
)
def test_a_run_actor_that_does_not_answer_does_not_end_progress(
    run_actor: Any, error: Exception, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    looked, asked = threading.Event(), 0

    def read() -> RunStats:
        nonlocal asked
        asked += 1
        if asked < 5:
            raise error
        return RunStats()

    run_actor.read.remote = lambda: read
    with progress(run_actor, None, lambda stats: looked.set()):
        assert looked.wait(30)
    assert len(caplog.records) == said


def test_a_closed_terminal_hides_no_error(run_actor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            raise BrokenPipeError("gone")

        def flush(self) -> None:
            raise BrokenPipeError("gone")

    monkeypatch.setattr(sys, "stderr", Gone())
    looked, calls = threading.Event(), 0

    def look(stats: RunStats) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            looked.set()

    def interrupted() -> None:
        with progress(run_actor, 10, look):
            assert looked.wait(30)
            raise KeyboardInterrupt("stop")

    with pytest.raises(KeyboardInterrupt, match="stop"):
        interrupted()
    with progress(run_actor, 10):
        pass


def test_a_line_that_was_open_before_stays_open(run_actor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, closed, looked = list[str](), list[bool](), threading.Event()
    status = status_line.StatusLine()
    monkeypatch.setattr(status, "show", texts.append)
    monkeypatch.setattr(status, "close", lambda: closed.append(True))
    with progress(run_actor, 10, lambda stats: looked.set() if texts else None, status):
        assert looked.wait(30)
    assert set(texts) == {"first photos ..."}
    assert not closed


def test_a_callback_in_progress_ends_before_the_run_goes_on(run_actor: Any) -> None:
    begun, ended = threading.Event(), False

    def look(stats: RunStats) -> None:
        nonlocal ended
        begun.set()
        time.sleep(0.2)  # a slow write of the manifest, for example
        ended = True

    with progress(run_actor, 10, look):
        assert begun.wait(30)
    assert ended


def test_summary() -> None:
    assert summary(busy(), 65.2).splitlines() == [
        "indexed 125 photos with 120 objects in 1:05; 85.3 images/s once running",
        "failed  3 photos: 2 x image too large, 1 x empty file",
        "detect  1.5 s of work on 1 x cpu",
        "encode  1.0 s of work on 2 x cuda:NVIDIA A100 80GB",
    ]


def test_an_unused_gpu_is_warned_about() -> None:
    cpu = RunStats(devices={"encode": Counter(cpu=1)})
    assert gpu_warning(busy(), Counter(A100=1), None) is None
    assert gpu_warning(cpu, Counter(), None) is None
    assert gpu_warning(cpu, Counter(A100=1), ["none"]) is None
    assert "1 x A100 present but NOT USED" in str(gpu_warning(cpu, Counter(A100=1), None))
    assert "were asked for and NOT USED" in str(gpu_warning(cpu, Counter(), ["A100"]))


def test_devices_that_differ_too_much_are_warned_about() -> None:
    stats = RunStats()
    assert device_report(stats, 0.01) == (None, None)
    stats.differences = {("cpu", "float32"): 0.0}
    assert device_report(stats, 0.01) == (None, None)
    stats.differences = {("cuda:A100", "bfloat16"): 2e-4, ("cuda:GeForce GTX 1080 Ti", "float32"): 0.0}
    line, warning = device_report(stats, 0.01)
    assert line is not None
    assert "cuda:A100 in bfloat16 2.0e-04, cuda:GeForce GTX 1080 Ti in float32 0.0e+00" in line
    assert warning is None
    assert "the devices' embeddings differ by more than 0.0001" in (device_report(stats, 1e-4)[1] or "")


def test_devices_of_one_kind_that_disagree_are_reported() -> None:
    stats = RunStats(differences={("cuda:A100", "bfloat16"): 0.3})
    assert "differ by more than 0.01" in (device_report(stats, 0.01)[1] or "")
