"""The detect stage: an actor around a detector that adds each photo's size and objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from PIL import Image

from pipeline.features.schema import OBJECT_TYPE
from pipeline.method.objects import Objects
from pipeline.runs.run_stats import Reporter
from pipeline.stages.columns import objects_to_arrow
from pipeline.stages.probe_photos import probe_photos
from pipeline.workers.micro_batching import Failure, load
from pipeline.workers.worker import PhotoMapper, Worker, set_threads

DETECTED = {"width": pa.int32(), "height": pa.int32(), "objects": pa.list_(OBJECT_TYPE), "seconds": pa.float32()}
"""The columns that detection adds."""

DetectorBuilder = Callable[[str], Any]
"""From a torch device to a Detector, called in the actor: models are never sent over the network."""


class DetectStage:
    """`map_batches` calls it with tables of `PHOTO_SCHEMA`; rows that failed already pass through.

    A detector that knows the objects of each photo by its id has `objects_for(image_id, size)`; the others
    `detect(images)`.
    """

    def __init__(self, build: DetectorBuilder, worker: Worker, reporter: Reporter) -> None:
        reporter.loading()
        set_threads(worker.threads)
        self.worker, self.reporter = worker, reporter
        self.device = worker.find_device(worker.gpu)
        self.detector = load("detector", lambda: build(self.device.torch))
        guard = worker.guard("detect", self.device, self._detect, self._probe, "detector", reporter)
        self.map = PhotoMapper("detect", self._prepare, guard, worker, reporter)
        reporter.device("detect", self.device.name)

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with the columns of `DETECTED`."""
        errors = table["error"].to_pylist()
        todo = [at for at, error in enumerate(errors) if error is None]
        ids, data = table["image_id"].to_pylist(), table["data"].to_pylist()
        objects: list[Objects | None] = [None] * len(errors)
        seconds: list[float | None] = [None] * len(errors)
        for at, (found, spent) in zip(todo, self.map([(ids[at], data[at]) for at in todo]), strict=True):
            seconds[at] = spent
            if isinstance(found, Failure):
                errors[at] = found.reason
            else:
                objects[at] = found
        table = table.set_column(table.schema.get_field_index("error"), "error", pa.array(errors, pa.string()))
        columns = [
            [None if each is None else each.size[0] for each in objects],
            [None if each is None else each.size[1] for each in objects],
            objects_to_arrow(objects),
            seconds,
        ]
        for (name, kind), values in zip(DETECTED.items(), columns, strict=True):
            table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values, kind))
        self.reporter.batch("detect", self.device.name, photos=len(todo), seconds=sum(each or 0 for each in seconds))
        return table

    def _prepare(self, row: tuple[str, bytes]) -> tuple[str, Image.Image]:
        return row[0], self.worker.decode(row[1])

    def _detect(self, items: Sequence[tuple[str, Image.Image]]) -> list[Objects]:
        if hasattr(self.detector, "objects_for"):
            return [self.detector.objects_for(name, image.size) for name, image in items]
        return list(self.detector.detect([image for _, image in items]))

    def _probe(self, count: int) -> None:
        if not hasattr(self.detector, "objects_for"):
            image, _ = probe_photos(1)[0]
            self.detector.detect([image] * count)
