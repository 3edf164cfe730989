"""What the detect and the encode actor have in common: a device, decoding ahead, and the guard around the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Generic, TypeVar

from PIL import Image

from pipeline.errors import QpertError
from pipeline.io.images import MAX_PIXELS, decode
from pipeline.runs.run_stats import Reporter
from pipeline.workers.decode_in_subprocess import PATIENCE, deadly
from pipeline.workers.device import Device, Dtype, this_device
from pipeline.workers.memory import CudaMemory, photos_that_fit
from pipeline.workers.micro_batching import Failure, Guard, short
from pipeline.workers.poison import TRIES, name_of
from pipeline.workers.watchdog import watchdog

Row = TypeVar("Row", bound=tuple[Any, ...])
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Worker:
    """How one actor works.

    Attributes:
        gpu: whether it has a GPU.
        share: of the GPU that is its own.
        dtype: number format of the model.
        micro_batch: photos per call of the model, at most; None for as many as fit. Halved when memory runs out.
        threads: CPU threads of the model; None leaves torch's own choice.
        decoders: threads that decode photos while the model computes; 0 decodes in between.
        max_pixels: larger photos are refused.
        allow_truncated: decode what is there of photos whose files end early.
        patience: seconds that a micro-batch may take, decoding included, beyond three times what it should by a photo
            of our own. A process that takes longer ends itself, and another one takes the photos with care. None for
            any time.
        find_device: how it finds out what its device is.
    """

    gpu: bool = False
    share: float = 1.0
    dtype: Dtype = "auto"
    micro_batch: int | None = None
    threads: int | None = None
    decoders: int = 0
    max_pixels: int = MAX_PIXELS
    allow_truncated: bool = False
    patience: float | None = None
    find_device: Callable[[bool], Device] = this_device

    def decode(self, photo: bytes) -> Image.Image:
        """An encoded photo within this worker's limits; see `pipeline.io.images.decode`."""
        return decode(photo, max_pixels=self.max_pixels, allow_truncated=self.allow_truncated)

    def guard(
        self,
        stage: str,
        device: Device,
        run: Callable[[list[Item]], list[Result]],
        probe: Callable[[int], object],
        name: str,
        reporter: Reporter,
    ) -> Guard[Item, Result]:
        """The guard around a model on this actor's device, with as large micro-batches as it takes.

        What an actor on such a device has learnt about them, one that starts later, or again, knows.

        Args:
            stage: its name.
            device: what `find_device` said.
            run: see `Guard`.
            probe: runs the model on so many photos of our own.
            name: of the model, for messages.
            reporter: keeps what is learnt.
        """
        memory = CudaMemory(self.share) if device.torch.startswith("cuda") else None
        known = reporter.micro_batch(stage, device.name)
        try:
            size = known or photos_that_fit(probe, memory, self.micro_batch)
        except QpertError:
            raise
        except Exception as error:
            raise QpertError(f"{name} does not work here: {short(error)}") from error
        return Guard(run, partial(probe, 1), size, name, partial(reporter.smaller, stage, device.name))


class PhotoMapper(Generic[Row, Item, Result]):
    """Decodes rows to items and runs the model on them, a micro-batch ahead where there are threads for it.

    A row is a tuple that begins with the photo's id and its encoded bytes. Rows that a process has died of before, or
    hung at, are taken with care: first all are decoded in a process apart, which finds photos that crash the decoder;
    if that was not it, they pass one by one, and one that kills `TRIES` processes by itself is left out.

    Args:
        stage: its name, for the record of what was begun.
        prepare: from a row to what the model takes; what it raises is that photo's failure.
        guard: the model.
        worker: threads for `prepare`, and the limit of pixels.
        reporter: keeps the record.
    """

    def __init__(
        self,
        stage: str,
        prepare: Callable[[Row], Item],
        guard: Guard[Item, Result],
        worker: Worker,
        reporter: Reporter,
    ) -> None:
        self.stage, self.prepare, self.guard, self.reporter = stage, prepare, guard, reporter
        self.max_pixels, self.patience = worker.max_pixels, worker.patience
        self.pool = ThreadPoolExecutor(worker.decoders) if worker.decoders else None

    def __call__(self, rows: Sequence[Row]) -> Iterator[tuple[Result | Failure, float]]:
        """For each row, in order, its result or failure and the seconds spent on it (its micro-batch's mean)."""
        if not rows:  # all of the block failed before
            return
        work = name_of(self.stage, [row[0] for row in rows])
        deaths = self.reporter.enter(work)
        yield from self._carefully(rows, alone=deaths > 1) if deaths else self._all(rows)
        self.reporter.leave(work)

    def _carefully(self, rows: Sequence[Row], *, alone: bool) -> Iterator[tuple[Result | Failure, float]]:
        started = perf_counter()
        reasons = deadly([row[1] for row in rows], self.max_pixels, patience=min(PATIENCE, self.patience or PATIENCE))
        spent = (perf_counter() - started) / len(rows)
        fine = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
        results = self._one_by_one(fine) if alone else self._all(fine)
        for reason in reasons:
            yield next(results) if reason is None else (Failure(reason), spent)
        next(results, None)

    def _one_by_one(self, rows: Sequence[Row]) -> Iterator[tuple[Result | Failure, float]]:
        for row in rows:
            work = name_of(self.stage, [row[0]]) + "/alone"
            if self.reporter.enter(work) >= TRIES:
                yield Failure(f"kills the process that works on it: {self.stage}, {TRIES} tries"), 0.0
            else:
                yield from self._all([row])
            self.reporter.leave(work)

    def _all(self, rows: Sequence[Row]) -> Iterator[tuple[Result | Failure, float]]:
        started = perf_counter()
        limit = None if self.patience is None else self.patience + 3 * self.guard.size * self.guard.seconds
        with watchdog(limit) as alive:
            for prepared in self._prepared(rows):
                items = [each for each in prepared if not isinstance(each, Failure)]
                results = iter(self.guard(items))
                merged = [each if isinstance(each, Failure) else next(results) for each in prepared]
                now = perf_counter()
                for each in merged:
                    yield each, (now - started) / len(merged)
                started = perf_counter()
                alive()

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
