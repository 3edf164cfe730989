"""Photos that kill processes, as an actor sees them: with a record of how many processes have died."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from pipeline.workers.device import Device
from pipeline.workers.micro_batching import Failure
from pipeline.workers.photo_mapper import PhotoMapper, Row
from pipeline.workers.poison import TRIES, PoisonRecord, work_name
from pipeline.workers.reporting import Event, Reporter, WorkDone
from pipeline.workers.worker import Worker

CPU = Device("cpu", "cpu")


class LocalReporter(Reporter):
    """A reporter whose poison record is in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.poison = PoisonRecord()

    def enter(self, work: str) -> int:
        return self.poison.enter(work)

    def send(self, event: Event) -> None:
        if isinstance(event, WorkDone):
            self.poison.leave(event.work)


class Killed(BaseException):
    """Stands for the death of the process: nothing catches it."""


def photo(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG")
    return stream.getvalue()


def mapper(reporter: LocalReporter, calls: list[int]) -> PhotoMapper[Any, Any]:
    def run(items: Sequence[str]) -> list[str]:
        calls.append(len(items))
        if "poison" in items:
            raise Killed
        return [item.upper() for item in items]

    worker = Worker(micro_batch=4)
    batcher = worker.micro_batcher("encode", CPU, run, lambda count: None, "model", reporter)
    return PhotoMapper("encode", lambda row: row["name"], batcher, worker, reporter)


def rows(*names: str) -> list[Row]:
    return [{"image_id": f"{number}.png", "data": photo("red"), "name": name} for number, name in enumerate(names)]


def map_until_done(work: list[Row], reporter: LocalReporter, calls: list[int]) -> tuple[list[Any], int]:
    """Repeats the same work, as Ray does, until no process dies; returns the results and the number of deaths."""
    for deaths in range(20):
        try:
            return [result for result, _ in mapper(reporter, calls)(work)], deaths
        except Killed:
            continue
    raise AssertionError("processes go on dying")


def test_a_poison_photo_is_left_out_and_the_others_are_not() -> None:
    reporter, calls = LocalReporter(), list[int]()
    results, deaths = map_until_done(rows("a", "b", "poison", "c", "d", "e"), reporter, calls)
    assert results[:2] + results[3:] == ["A", "B", "C", "D", "E"]
    assert results[2] == Failure(f"kills the process that works on it: encode, {TRIES} tries")
    # With the others; with the others once more, since all of them can be decoded; and alone.
    assert deaths == 2 + TRIES
    assert not reporter.poison.begun
    assert not reporter.poison.deaths


def test_a_process_that_died_by_chance_changes_nothing() -> None:
    reporter, calls = LocalReporter(), list[int]()
    work = rows("a", "b", "c", "d", "e", "f")
    reporter.enter(work_name("encode", [row["image_id"] for row in work]))
    results, deaths = map_until_done(work, reporter, calls)
    assert (results, deaths, calls) == (["A", "B", "C", "D", "E", "F"], 0, [4, 2])


def test_a_photo_that_crashes_the_decoder_costs_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = [None, "crashes the decoder: SIGSEGV", None]
    monkeypatch.setattr(
        "pipeline.workers.photo_mapper.deadly_photos", lambda photos, limit, patience: reasons[: len(photos)]
    )
    reporter, calls = LocalReporter(), list[int]()
    results, deaths = map_until_done(rows("a", "poison", "b"), reporter, calls)
    assert deaths == 1
    assert results == ["A", Failure("crashes the decoder: SIGSEGV"), "B"]


def test_work_that_was_done_and_comes_again_has_killed_nobody() -> None:
    reporter, calls = LocalReporter(), list[int]()
    work = rows("a", "b")
    for _ in range(3):
        assert map_until_done(work, reporter, calls) == (["A", "B"], 0)
    assert calls == [2, 2, 2]


def test_a_block_without_photos_left_is_no_work() -> None:
    reporter, calls = LocalReporter(), list[int]()
    reporter.enter(work_name("encode", []))  # as another actor with such a block might
    assert list(mapper(reporter, calls)([])) == []
    assert calls == []
