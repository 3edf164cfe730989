"""Decodes photos a micro-batch ahead of the model, and takes care of those that have killed a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any, Generic, TypeVar

from pipeline.errors import one_line
from pipeline.workers.decode_in_subprocess import PATIENCE, deadly_photos
from pipeline.workers.micro_batching import Failure, MicroBatcher
from pipeline.workers.poison import TRIES, work_name
from pipeline.workers.reporting import Reporter, WorkDone
from pipeline.workers.watchdog import watchdog
from pipeline.workers.worker import Worker

Row = dict[str, Any]
"""A photo: `image_id`, its encoded bytes as `data`, and whatever else `prepare` needs."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class PhotoMapper(Generic[Item, Result]):
    """Prepares rows and runs the model on them; with decoder threads, one micro-batch is prepared ahead.

    Rows of which a process has died before, or at which one hung, are handled with care: first all of them are decoded
    in a subprocess, which finds photos that crash the decoder. If that was not the cause, they pass one by one, and a
    photo that kills `TRIES` processes while it is alone is left out.

    Args:
        stage: its name, for the record of work that has begun.
        prepare: from a row to the model's input; an exception is that photo's failure.
        run: the model.
        worker: decoder threads, largest photo and time limit.
        reporter: keeps the record.
    """

    def __init__(
        self,
        stage: str,
        prepare: Callable[[Row], Item],
        run: MicroBatcher[Item, Result],
        worker: Worker,
        reporter: Reporter,
    ) -> None:
        self.stage, self.prepare, self.run, self.reporter = stage, prepare, run, reporter
        self.max_pixels, self.patience = worker.max_pixels, worker.patience
        self.pool = ThreadPoolExecutor(worker.decoders) if worker.decoders else None

    def __call__(self, rows: Sequence[Row]) -> Iterator[tuple[Result | Failure, float]]:
        """For each row, in order, its result or failure and the seconds spent on it (mean of its micro-batch)."""
        if not rows:  # all photos of the block failed before
            return
        work = work_name(self.stage, [row["image_id"] for row in rows])
        deaths = self.reporter.enter(work)
        yield from self._map_carefully(rows, alone=deaths > 1) if deaths else self._map(rows)
        self.reporter.send(WorkDone(work))

    def _map_carefully(self, rows: Sequence[Row], *, alone: bool) -> Iterator[tuple[Result | Failure, float]]:
        started = perf_counter()
        patience = min(PATIENCE, self.patience or PATIENCE)
        reasons = deadly_photos([row["data"] for row in rows], self.max_pixels, patience=patience)
        seconds = (perf_counter() - started) / len(rows)
        safe = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
        results = self._map_one_by_one(safe) if alone else self._map(safe)
        for reason in reasons:
            yield next(results) if reason is None else (Failure(reason), seconds)
        next(results, None)  # ends the generator, and with it the watchdog

    def _map_one_by_one(self, rows: Sequence[Row]) -> Iterator[tuple[Result | Failure, float]]:
        for row in rows:
            work = work_name(self.stage, [row["image_id"]]) + "/alone"
            if self.reporter.enter(work) >= TRIES:
                yield Failure(f"kills the process that works on it: {self.stage}, {TRIES} tries"), 0.0
            else:
                yield from self._map([row])
            self.reporter.send(WorkDone(work))

    def _map(self, rows: Sequence[Row]) -> Iterator[tuple[Result | Failure, float]]:
        started = perf_counter()
        limit = None if self.patience is None else self.patience + 3 * self.run.size * self.run.seconds
        with watchdog(limit) as alive:
            for prepared in self._prepared(rows):
                results = iter(self.run([item for item in prepared if not isinstance(item, Failure)]))
                merged = [item if isinstance(item, Failure) else next(results) for item in prepared]
                seconds = (perf_counter() - started) / len(merged)
                for result in merged:
                    yield result, seconds
                started = perf_counter()
                alive()

    def _prepared(self, rows: Sequence[Row]) -> Iterator[list[Item | Failure]]:
        size = self.run.size
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        if self.pool is None:
            for chunk in chunks:
                yield [self._try_to_prepare(row) for row in chunk]
            return
        # One micro-batch is decoded while another is computed; more would only fill the memory with pixels.
        ahead: list[list[Future[Item | Failure]]] = []
        for chunk in chunks:
            ahead.append([self.pool.submit(self._try_to_prepare, row) for row in chunk])
            if len(ahead) > 1:
                yield [future.result() for future in ahead.pop(0)]
        for futures in ahead:
            yield [future.result() for future in futures]

    def _try_to_prepare(self, row: Row) -> Item | Failure:
        try:
            return self.prepare(row)
        except Exception as error:
            return Failure(one_line(error))
