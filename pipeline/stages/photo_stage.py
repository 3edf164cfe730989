"""What the stages around a model share: a table of photos comes in and leaves with columns added."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.errors import QpertError
from pipeline.io.photo_state import digest_of
from pipeline.method.eigen import take_checks
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

    Rows whose column `error` is set pass through; a photo that fails here gets its reason in that column. `__init__`
    loads the model, fits micro-batches to the device, and reports that the actor is up.

    Args:
        build: makes the model, in the actor: models are never sent over the network.
        worker: how the actor works.
        reporter: where it reports.
        photos: where tables have their photos.

    Class attributes:
        stage: name of the stage.
        model: what it runs, for messages.
        reads: columns that `prepare` needs besides the photo; null where a table does not have them.
        last: whether photos are done when they leave this stage.

    Attributes:
        schema: the columns of the returned tables; None for those that came in and those that were added.
        dtype: that the model should compute in on this device.
        shuffles: seeds for which photos must have boxes of other photos (`Objects.shuffled`).
    """

    stage: ClassVar[str]
    model: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    last: ClassVar[bool] = False
    schema: pa.Schema | None = None
    shuffles: tuple[int, ...] = ()

    def __init__(
        self, build: Callable[..., Any], worker: Worker, reporter: Reporter, photos: PhotoColumns = READ_PHOTOS
    ) -> None:
        reporter.send(Loading())
        set_threads(worker.threads)
        self.build, self.worker, self.reporter, self.photos = build, worker, reporter, photos
        self.device = worker.find_device(worker.gpu)
        self.dtype = self.device.dtype(worker.dtype)
        self.load()
        batcher = self.worker.micro_batcher(self.stage, self.device, self.run, self._probe, self.model, reporter)
        self.map = PhotoMapper(self.stage, self._prepare, batcher, worker, reporter)
        reporter.send(DeviceUp(self.stage, self.device.name))

    @abstractmethod
    def load(self) -> None:
        """Builds the model on `self.device`, by `load_model`."""

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
        """The table with the stage's columns; a QpertError if it has no photos, or if the model stopped working."""
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
        items = []
        for image, objects in probe_photos(2):
            row = {"image_id": PROBE_ID, "objects": objects_to_row(objects), "texts": [0]}
            row["shuffled"] = [{"seed": seed, "boxes": objects.boxes.tolist()} for seed in self.shuffles]
            items.append(self.prepare(image, row))
        return items

    def _probe(self, count: int) -> None:
        self.run([self.probes[0]] * count)

    def _prepare(self, row: Row) -> Item:
        return self.prepare(self.worker.decode(row["data"]), row)

    def _rows(self, table: pa.Table) -> list[Row]:
        """For each row `image_id`, `data`, `error` and the columns that the stage `reads`."""
        names = self.photos
        if names.data not in table.column_names:
            table = self._read(table)
        columns = {"image_id": names.image_id, "uri": names.uri, "data": names.data}
        columns |= {name: name for name in ("error", *self.reads)}
        values = [column_values(table, name) for name in columns.values()]
        rows: list[Row] = [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
        for row in rows:
            image_id = row["uri"] if row["image_id"] is None else row["image_id"]
            row["image_id"] = digest_of(row["data"] or b"") if image_id is None else str(image_id)
            if row["data"] is None and row["error"] is None:
                row["error"] = "no bytes in this row"
        return rows

    def _read(self, table: pa.Table) -> pa.Table:
        """`table` with the photos that it names."""
        names = self.photos
        if names.uri not in table.column_names:
            raise QpertError(
                f"a table of photos needs a column {names.data!r} (their bytes) or {names.uri!r}; this one has:"
                f" {', '.join(table.column_names)}"
            )
        uris = table[names.uri].cast(pa.string())
        read = read_photos(pa.table({"image_id": uris, "uri": uris}), self.reporter, names.rules)
        before = pa.array(column_values(table, "error"), pa.string())
        errors = pc.coalesce(before, read["error"].combine_chunks())
        return set_column(table.append_column(names.data, read["data"]), "error", errors)

    def _report(self, table: pa.Table, outcomes: Outcomes[Result], waiting: int) -> None:
        seconds = sum(spent or 0.0 for spent in outcomes.seconds)
        checks = take_checks()
        batch = BatchDone(
            self.stage,
            self.device.name,
            waiting,
            seconds,
            decompositions=checks.matrices,
            repeated=checks.repeated,
        )
        if self.last:
            failures = Counter(error for error in outcomes.errors if error is not None)
            lists = table["objects"] if "objects" in table.column_names else pa.array([], pa.list_(pa.null()))
            objects = pc.sum(pc.list_value_length(lists)).as_py() or 0
            batch = replace(batch, photos=table.num_rows, objects=objects, failures=failures, last=True)
        self.reporter.send(batch)
