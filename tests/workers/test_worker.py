"""Photos that kill processes: the actors' end, with a record that says how many died."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from pipeline.errors import QpertError
from pipeline.runs.run_stats import Reporter
from pipeline.workers.device import Device
from pipeline.workers.micro_batching import Failure
from pipeline.workers.poison import TRIES, Casualties, name_of
from pipeline.workers.worker import PhotoMapper, Worker

CPU = Device("cpu", "cpu")


class Record(Reporter):
    """A reporter whose record is in this process, and remembers what was learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.casualties, self.sizes = Casualties(), dict[tuple[str, str], int]()

    def enter(self, work: str) -> int:
        return self.casualties.enter(work)

    def leave(self, work: str) -> None:
        self.casualties.leave(work)

    def micro_batch(self, stage: str, device: str) -> int | None:
        return self.sizes.get((stage, device))

    def smaller(self, stage: str, device: str, size: int) -> None:
        self.sizes[stage, device] = size


class Killed(BaseException):
    """What kills the process, as far as this test goes: nothing catches it."""


def photo(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG")
    return stream.getvalue()


def mapper(reporter: Record, calls: list[int]) -> PhotoMapper[Any, Any, Any]:
    def run(items: Sequence[str]) -> list[str]:
        calls.append(len(items))
        if "poison" in items:
            raise Killed
        return [item.upper() for item in items]

    worker = Worker(micro_batch=4)
    guard = worker.guard("encode", CPU, run, lambda count: None, "model", reporter)
    return PhotoMapper("encode", lambda row: row[2], guard, worker, reporter)


def rows(*names: str) -> list[tuple[str, bytes, str]]:
    return [(f"{number}.png", photo("red"), name) for number, name in enumerate(names)]


def until_done(work: list[Any], reporter: Record, calls: list[int]) -> tuple[list[Any], int]:
    """Starts the same work anew, as Ray does, until nobody is killed; the results and how many were."""
    for deaths in range(20):
        try:
            return [result for result, _ in mapper(reporter, calls)(work)], deaths
        except Killed:
            continue
    raise AssertionError("it goes on for ever")


def test_a_poison_photo_is_left_out_and_the_others_are_not() -> None:
    reporter, calls = Record(), list[int]()
    found, deaths = until_done(rows("a", "b", "poison", "c", "d", "e"), reporter, calls)
    assert found[:2] + found[3:] == ["A", "B", "C", "D", "E"]
    assert found[2] == Failure(f"kills the process that works on it: encode, {TRIES} tries")
    # With the others; with the others once more, though all can be decoded; and alone.
    assert deaths == 2 + TRIES
    assert not reporter.casualties.begun
    assert not reporter.casualties.deaths


def test_a_process_that_died_by_chance_changes_nothing() -> None:
    reporter, calls = Record(), list[int]()
    work = rows("a", "b", "c", "d", "e", "f")
    reporter.enter(name_of("encode", [row[0] for row in work]))
    found, deaths = until_done(work, reporter, calls)
    assert (found, deaths, calls) == (["A", "B", "C", "D", "E", "F"], 0, [4, 2])


def test_a_photo_that_crashes_the_decoder_costs_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = [None, "crashes the decoder: SIGSEGV", None]
    monkeypatch.setattr("pipeline.workers.worker.deadly", lambda photos, limit, patience: reasons[: len(photos)])
    reporter, calls = Record(), list[int]()
    found, deaths = until_done(rows("a", "poison", "b"), reporter, calls)
    assert deaths == 1
    assert found == ["A", Failure("crashes the decoder: SIGSEGV"), "B"]


def test_work_that_is_done_and_comes_again_is_no_casualty() -> None:
    reporter, calls = Record(), list[int]()
    work = rows("a", "b")
    for _ in range(3):
        assert until_done(work, reporter, calls) == (["A", "B"], 0)
    assert calls == [2, 2, 2]


def test_what_one_actor_learns_about_memory_the_next_knows() -> None:
    class OutOfMemoryError(Exception):
        pass

    sizes: list[int] = []

    def run(items: list[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 5:
            raise OutOfMemoryError
        return items

    reporter, worker = Record(), Worker(micro_batch=16)
    guard: Any = worker.guard("encode", CPU, run, lambda count: None, "model", reporter)
    assert guard(list(range(16))) == list(range(16))
    assert sizes == [16, 8, 4, 4, 4, 4]
    sizes.clear()
    again: Any = worker.guard("encode", CPU, run, lambda count: None, "model", reporter)
    assert again(list(range(8))) == list(range(8))
    assert sizes == [4, 4]
    assert worker.guard("detect", CPU, run, lambda count: None, "model", reporter).size == 16


def test_a_model_that_does_not_work_is_told_before_the_first_photo() -> None:
    def probe(count: int) -> None:
        raise ValueError("broken")

    with pytest.raises(QpertError, match="model does not work here: ValueError: broken"):
        Worker().guard("encode", CPU, lambda items: items, probe, "model", Record())


def test_a_block_of_which_nothing_is_left_is_no_work() -> None:
    reporter, calls = Record(), list[int]()
    reporter.enter(name_of("encode", []))  # as another actor with such a block might
    assert list(mapper(reporter, calls)([])) == []
    assert calls == []
