"""Runs a model over photos so that one bad photo fails alone and a full memory fails none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.errors import QpertError, one_line
from pipeline.workers.memory import free_memory, out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

PAUSES = (0.5, 5.0)
"""Seconds to wait for memory before a single photo is tried again."""

LONG = 60.0
"""Longest time that a micro-batch should take, in seconds."""


@dataclass(frozen=True)
class Failure:
    """Why a photo has no result: one short line."""

    reason: str


class MicroBatcher(Generic[Item, Result]):
    """Runs `run` over micro-batches.

    - Out of memory: the micro-batch is halved, for later batches too. A single photo is retried after a pause, because
      other processes on the device may have held the memory.
    - Any other exception: the photos of that micro-batch run one by one, and those that fail become a `Failure`.
    - When a photo fails alone, `probe` runs the model on a photo of our own. If that fails too, the model or the device
      is broken, not the photo: a QpertError ends the job instead of a million error rows.

    Args:
        run: from n items to n results, in order.
        probe: raises when the model does not work; called at the start, and again if the first call was slow.
        size: largest micro-batch; smaller for a model that would take longer than `LONG`.
        name: of the model, for messages.
        remember: called with every reduced size.

    Attributes:
        seconds: duration of the last probe at the start.
        size: current size of a micro-batch.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], list[Result]],
        probe: Callable[[], object],
        size: int,
        name: str,
        remember: Callable[[int], object] = lambda size: None,
    ) -> None:
        self.run, self.probe, self.name, self.remember = run, probe, name, remember
        self.seconds = self._timed_check()
        if self.seconds > 1:  # the first run of a model loads libraries, and weights that were only mapped
            self.seconds = self._timed_check()
        self.size = max(1, min(size, int(LONG / max(self.seconds, 1e-3))))

    def __call__(self, items: Sequence[Item]) -> list[Result | Failure]:
        """One result or `Failure` per item, in order.

        Raises:
            QpertError: the model does not work at all, or returns another number of results.
        """
        results: list[Result | Failure] = []
        while len(results) < len(items):
            batch = list(items[len(results) : len(results) + self.size])
            try:
                batch_results = self.run(batch)
            except Exception as error:
                if out_of_memory(error) and len(batch) > 1:
                    self.size = max(1, min(self.size, len(batch)) // 2)
                    self.remember(self.size)
                    free_memory()
                    continue
                results += self._run_one_by_one(batch)
                continue
            if len(batch_results) != len(batch):
                raise QpertError(
                    f"{self.name} gave {len(batch_results)} results for {len(batch)} photos: this is a bug in it"
                )
            results += batch_results
        return results

    def _run_one_by_one(self, batch: list[Item]) -> list[Result | Failure]:
        results: list[Result | Failure] = []
        for item in batch:
            try:
                results += self._run_alone(item)
            except Exception as error:
                self._check(error)
                results.append(Failure(f"{self.name}: {one_line(error)}"))
        return results

    def _run_alone(self, item: Item) -> list[Result]:
        for pause in PAUSES:
            try:
                return self.run([item])
            except Exception as error:
                if not out_of_memory(error):
                    raise
                free_memory()
                time.sleep(pause)
        return self.run([item])

    def _timed_check(self) -> float:
        started = time.perf_counter()
        self._check(None)
        return time.perf_counter() - started

    def _check(self, cause: Exception | None) -> None:
        try:
            self.probe()
        except Exception as error:
            raise QpertError(f"{self.name} does not work here: {one_line(error)}") from (cause or error)
