"""What the detect and the encode actor have in common: a device, decoding ahead, and the guard around the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

from pipeline.images import MAX_PIXELS
from pipeline.stages.device import Dtype
from pipeline.stages.guard import Failure, Guard, short

Row = TypeVar("Row")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Worker:
    """How one actor works.

    Attributes:
        gpu: whether it has a GPU.
        dtype: number format of the model.
        micro_batch: photos per call of the model; halved when GPU memory runs out.
        threads: CPU threads of the model; None leaves torch's own choice.
        decoders: threads that decode photos while the model computes; 0 decodes in between.
        max_pixels: larger photos are refused.
    """

    gpu: bool = False
    dtype: Dtype = "auto"
    micro_batch: int = 32
    threads: int | None = None
    decoders: int = 0
    max_pixels: int = MAX_PIXELS


class PhotoMapper(Generic[Row, Item, Result]):
    """Decodes rows to items and runs the model on them, a micro-batch ahead where there are threads for it.

    Args:
        prepare: from a row (with its bytes) to what the model takes; what it raises is that photo's failure.
        guard: the model.
        decoders: threads for `prepare`.
    """

    def __init__(self, prepare: Callable[[Row], Item], guard: Guard[Item, Result], decoders: int) -> None:
        self.prepare, self.guard = prepare, guard
        self.pool = ThreadPoolExecutor(decoders) if decoders else None

    def __call__(self, rows: Sequence[Row]) -> Iterator[tuple[Result | Failure, float]]:
        """For each row, in order, its result or failure and the seconds spent on it (its micro-batch's mean)."""
        started = perf_counter()
        for prepared in self._prepared(rows):
            items = [each for each in prepared if not isinstance(each, Failure)]
            results = iter(self.guard(items))
            merged = [each if isinstance(each, Failure) else next(results) for each in prepared]
            now = perf_counter()
            for each in merged:
                yield each, (now - started) / len(merged)
            started = perf_counter()

    def _prepared(self, rows: Sequence[Row]) -> Iterator[list[Item | Failure]]:
        size = self.guard.size
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        if self.pool is None:
            for chunk in chunks:
                yield [self._try(row) for row in chunk]
            return
        # One micro-batch waits decoded while another is computed; more would only fill the memory with pixels.
        ahead: list[list[Future[Item | Failure]]] = []
        for chunk in chunks:
            ahead.append([self.pool.submit(self._try, row) for row in chunk])
            if len(ahead) > 1:
                yield [future.result() for future in ahead.pop(0)]
        for waiting in ahead:
            yield [future.result() for future in waiting]

    def _try(self, row: Row) -> Item | Failure:
        try:
            return self.prepare(row)
        except Exception as error:
            return Failure(short(error))


def set_threads(threads: int | None) -> None:
    """Limit torch to `threads` CPU threads, so that the actors of a node share its cores instead of fighting."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
