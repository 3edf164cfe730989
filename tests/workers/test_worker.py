from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import QpertError
from pipeline.workers.device import Device
from pipeline.workers.reporting import Event, Reporter, SmallerMicroBatch
from pipeline.workers.worker import Worker, load_model

CPU = Device("cpu", "cpu")


class LocalReporter(Reporter):
    """A reporter that knows in this process what was learnt about micro-batches."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[tuple[str, str], int] = {}

    def known_micro_batch(self, stage: str, device: str) -> int | None:
        return self.sizes.get((stage, device))

    def send(self, event: Event) -> None:
        if isinstance(event, SmallerMicroBatch):
            self.sizes[event.stage, event.device] = event.size


def test_what_one_actor_learns_about_memory_the_next_knows() -> None:
    class OutOfMemoryError(Exception):
        pass

    sizes: list[int] = []

    def run(items: list[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 5:
            raise OutOfMemoryError
        return items

    reporter, worker = LocalReporter(), Worker(micro_batch=16)
    first: Any = worker.micro_batcher("encode", CPU, run, lambda count: None, "model", reporter)
    assert first(list(range(16))) == list(range(16))
    assert sizes == [16, 8, 4, 4, 4, 4]
    sizes.clear()
    second: Any = worker.micro_batcher("encode", CPU, run, lambda count: None, "model", reporter)
    assert second(list(range(8))) == list(range(8))
    assert sizes == [4, 4]
    assert worker.micro_batcher("detect", CPU, run, lambda count: None, "model", reporter).size == 16


def test_a_model_that_does_not_work_is_reported_before_the_first_photo() -> None:
    def probe(count: int) -> None:
        raise ValueError("broken")

    with pytest.raises(QpertError, match="model does not work here: ValueError: broken"):
        Worker().micro_batcher("encode", CPU, lambda items: items, probe, "model", Reporter())


def test_a_model_that_cannot_be_loaded_is_one_line() -> None:
    def build() -> None:
        raise ValueError("no such layer\nand much more")

    with pytest.raises(QpertError, match=r"the encoder cannot be loaded: ValueError: no such layer$"):
        load_model("encoder", build)
    assert load_model("encoder", lambda: 7) == 7
