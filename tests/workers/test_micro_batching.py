from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.errors import QpertError
from pipeline.workers.micro_batching import Failure, MicroBatcher


class OutOfMemoryError(RuntimeError):
    """Named like torch's own."""


class Model:
    """Doubles numbers, at most `room` at once; fails on 13, and on everything once it is broken."""

    def __init__(self, room: int = 100) -> None:
        self.room, self.broken, self.calls = room, False, list[int]()

    def __call__(self, items: list[int]) -> list[int]:
        self.calls.append(len(items))
        if self.broken:
            raise RuntimeError("CUDA error: illegal memory access\nmore")
        if len(items) > self.room:
            raise OutOfMemoryError("CUDA out of memory")
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]


def batcher(model: Model, size: int = 8) -> MicroBatcher[int, int]:
    return MicroBatcher(model, lambda: model([1]), size, "model")


def test_results_come_in_order_and_in_micro_batches() -> None:
    model = Model()
    assert batcher(model)(range(20, 40)) == [2 * item for item in range(20, 40)]
    assert model.calls == [1, 8, 8, 4]
    assert batcher(model)([]) == []


def test_a_slow_model_gets_micro_batches_of_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    took = [20.0, 15.0]  # the first call loads it

    def probe() -> None:
        nonlocal now
        now += took.pop(0)

    monkeypatch.setattr("pipeline.workers.micro_batching.time.perf_counter", lambda: now)
    run = MicroBatcher(Model(), probe, 32, "model")
    assert (run.seconds, run.size, took) == (15.0, 4, [])
    took[:] = [0.9]
    run = MicroBatcher(Model(), probe, 32, "model")
    assert (run.seconds, run.size) == (pytest.approx(0.9), 32)
    took[:] = [500.0, 90.0]
    assert MicroBatcher(Model(), probe, 32, "model").size == 1


def test_one_bad_item_fails_alone() -> None:
    assert batcher(Model())([11, 12, 13, 14]) == [22, 24, Failure("model: ValueError: unlucky"), 28]


def test_out_of_memory_halves_later_batches_too() -> None:
    model = Model(room=3)
    run = batcher(model)
    assert run(range(20, 30)) == [2 * item for item in range(20, 30)]
    assert run.size == 2
    model.calls.clear()
    run(range(20, 24))
    assert model.calls == [2, 2]


def test_a_device_without_room_for_one_photo_stops_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    clock = SimpleNamespace(perf_counter=float, sleep=waited.append)
    monkeypatch.setattr("pipeline.workers.micro_batching.time", clock)
    model = Model()
    run = batcher(model)
    model.room = 0
    with pytest.raises(QpertError, match=r"does not work here"):
        run([20])
    assert waited == [0.5, 5.0]


def test_a_broken_model_stops_the_job() -> None:
    model = Model()
    model.broken = True
    with pytest.raises(QpertError, match=r"model does not work here: RuntimeError: CUDA error: illegal memory access$"):
        batcher(model)
    model.broken = False
    run = batcher(model)
    model.broken = True
    with pytest.raises(QpertError, match=r"does not work here"):
        run([20, 21])


def test_a_missing_result_is_a_bug_of_the_model() -> None:
    with pytest.raises(QpertError, match=r"1 results for 3 photos"):
        MicroBatcher(lambda items: items[:1], lambda: None, 8, "model")([1, 2, 3])
