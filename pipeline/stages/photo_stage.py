"""What the stages around a model share: a table of photos comes in and leaves with columns added."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.errors import QpertError
from pipeline.io.photo_state import digest_of
from pipeline.stages.columns import column_values, objects_to_row, set_column
from pipeline.stages.probe_photos import PROBE_ID, probe_photos
from pipeline.stages.read import read_photos
from pipeline.workers.micro_batching import Failure
from pipeline.workers.photo_mapper import PhotoMapper, Row
from pipeline.workers.reporting import BatchDone, DeviceUp, Loading, Reporter
from pipeline.workers.worker import Worker, set_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class PhotoColumns:
    """Where a table has its photos.

    Attributes:
        data: column with the encoded photos.
        uri: column with their paths or URIs, which are read if there is no column `data`.
        image_id: column with their ids; without it, the URI or else a digest of the photo serves as its id.
        rules: which paths and URIs may be read.
    """

    data: str = "data"
    uri: str = "uri"
    image_id: str = "image_id"
    rules: SourceRules = DEFAULT_RULES


READ_PHOTOS = PhotoColumns()
"""The columns of `pipeline.stages.read`."""


@dataclass(frozen=True)
class Outcomes(Generic[Result]):
    """What became of the photos of a table, row by row.

    Attributes:
        results: None for a photo that failed, here or before.
        errors: why it failed; None for a photo that did not.
        seconds: time spent on it in this stage; None for a photo that failed before.
    """

    results: list[Result | None]
    errors: list[str | None]
    seconds: list[float | None]


class PhotoStage(ABC, Generic[Item, Result]):
    """Base of the classes that `map_batches` calls with tables of photos; works in any Ray Data pipeline.

    Rows whose column `error` is set pass through; a photo that fails here gets its reason in that column. A subclass
    keeps what it needs in `__init__` and then calls this one, which loads the model and tries it out.

    Class attributes:
        stage: name of the stage.
        model: what it runs, for messages.
        reads: columns that `prepare` needs besides the photo; null where a table does not have them.
        last: whether photos are done when they leave this stage.

    Attributes:
        schema: the columns of the returned tables; None for those that came in and those that were added.
        dtype: that the model should compute in on this device.
    """

    stage: ClassVar[str]
    model: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    last: ClassVar[bool] = False
    schema: pa.Schema | None = None

    def __init__(self, worker: Worker, reporter: Reporter, photos: PhotoColumns = READ_PHOTOS) -> None:
        """Loads the model, fits micro-batches to the device, and reports that the actor is up.

        Args:
            worker: how the actor works.
            reporter: where it reports.
            photos: where tables have their photos.

        Raises:
            QpertError: the model cannot be loaded, or does not work on this device.
        """
        reporter.send(Loading())
        set_threads(worker.threads)
        self.worker, self.reporter, self.photos = worker, reporter, photos
        self.device = worker.find_device(worker.gpu)
        self.dtype = self.device.dtype(worker.dtype)
        self.load()
        batcher = worker.micro_batcher(self.stage, self.device, self.run, self._probe, self.model, reporter)
        self.map = PhotoMapper(self.stage, self._prepare, batcher, worker, reporter)
        reporter.send(DeviceUp(self.stage, self.device.name))

    @abstractmethod
    def load(self) -> None:
        """Builds the model on `self.device`; see `pipeline.workers.worker.load_model`."""

    @abstractmethod
    def prepare(self, image: Image.Image, row: Row) -> Item:
        """The model's input for one photo.

        Args:
            image: the decoded photo.
            row: its `image_id`, and the columns that the stage `reads`.
        """

    @abstractmethod
    def run(self, items: Sequence[Item]) -> list[Result]:
        """Runs the model on a micro-batch; returns one result per item, in order."""

    @abstractmethod
    def columns(self, table: pa.Table, outcomes: Outcomes[Result]) -> Mapping[str, pa.Array]:
        """The columns that the stage adds to `table` or replaces in it."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """Processes the photos of a table.

        Raises:
            QpertError: the table has no photos, or the model stopped working.
        """
        rows = self._rows(table)
        outcomes = Outcomes[Result]([None] * len(rows), [row["error"] for row in rows], [None] * len(rows))
        waiting = [number for number, row in enumerate(rows) if row["error"] is None]
        mapped = self.map([rows[number] for number in waiting])
        for number, (result, seconds) in zip(waiting, mapped, strict=True):
            outcomes.seconds[number] = seconds
            if isinstance(result, Failure):
                outcomes.errors[number] = result.reason
            else:
                outcomes.results[number] = result
        added = {"error": pa.array(outcomes.errors, pa.string()), **self.columns(table, outcomes)}
        for name, values in added.items():
            table = set_column(table, name, values)
        self._report(table, outcomes, len(waiting))
        if self.schema is None:
            return table
        return pa.Table.from_arrays([table[field.name].cast(field.type) for field in self.schema], schema=self.schema)

    @cached_property
    def probes(self) -> list[Item]:
        """The model's inputs for two photos of our own."""
        return [
            self.prepare(image, {"image_id": PROBE_ID, "objects": objects_to_row(objects), "texts": [0]})
            for image, objects in probe_photos(2)
        ]

    def _probe(self, count: int) -> None:
        self.run([self.probes[0]] * count)

    def _prepare(self, row: Row) -> Item:
        return self.prepare(self.worker.decode(row["data"]), row)

    def _rows(self, table: pa.Table) -> list[Row]:
        """For each row `image_id`, `data`, `error` and the columns that the stage `reads`."""
        names = self.photos
        ids, uris = column_values(table, names.image_id), column_values(table, names.uri)
        errors = column_values(table, "error")
        if names.data in table.column_names:
            photos = table[names.data].to_pylist()
            errors = [
                "no bytes in this row" if photo is None and error is None else error
                for photo, error in zip(photos, errors, strict=True)
            ]
        elif names.uri in table.column_names:
            listing = pa.table({"image_id": pa.array(ids, pa.string()), "uri": pa.array(uris, pa.string())})
            read = read_photos(listing, self.reporter, names.rules)
            photos = read["data"].to_pylist()
            errors = [before or error for before, error in zip(errors, read["error"].to_pylist(), strict=True)]
        else:
            raise QpertError(
                f"a table of photos needs a column {names.data!r} (their bytes) or {names.uri!r}; this one has:"
                f" {', '.join(table.column_names)}"
            )
        further = [column_values(table, name) for name in self.reads]
        return [
            {"image_id": image_id or uri or digest_of(photo or b""), "data": photo, "error": error}
            | dict(zip(self.reads, values, strict=True))
            for image_id, uri, photo, error, *values in zip(ids, uris, photos, errors, *further, strict=True)
        ]

    def _report(self, table: pa.Table, outcomes: Outcomes[Result], waiting: int) -> None:
        seconds = sum(spent or 0.0 for spent in outcomes.seconds)
        batch = BatchDone(self.stage, self.device.name, waiting, seconds)
        if self.last:
            failures = Counter(error for error in outcomes.errors if error is not None)
            objects = 0
            if "objects" in table.column_names:
                objects = pc.sum(pc.list_value_length(table["objects"])).as_py() or 0
            batch = BatchDone(
                self.stage, self.device.name, table.num_rows, seconds, objects=objects, failures=failures, last=True
            )
        self.reporter.send(batch)
