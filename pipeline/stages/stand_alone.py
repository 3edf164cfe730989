"""Stages for `map_batches` in a pipeline of one's own: with their arguments bound, and without a run to report to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray

from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError
from pipeline.io.photo_state import digest_of
from pipeline.stages.columns import column_values
from pipeline.stages.photo_stage import PhotoColumns, PhotoStage
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker


def stand_alone(
    stage: type[PhotoStage[Any, Any]], name: str, worker: Worker, rules: SourceRules, *arguments: Any, **options: Any
) -> type[PhotoStage[Any, Any]]:
    """A subclass of `stage` whose constructor takes nothing: Ray Data makes one instance per actor.

    Its tables have `bytes` or `uri`, and get the photos' bytes and an `image_id` if they have none.

    Args:
        stage: the class.
        name: of the operator in Ray's messages.
        worker: how its actors work; each finds out by itself whether it has a GPU.
        rules: which URIs may be read.
        arguments: the first arguments of `stage`.
        options: its keyword arguments.
    """
    columns = PhotoColumns(data="bytes", rules=rules)

    class StandAlone(stage):  # type: ignore[valid-type, misc]
        def __init__(self) -> None:
            super().__init__(*arguments, as_assigned(worker), Reporter(), photos=columns, **options)

        def __call__(self, table: pa.Table) -> pa.Table:
            if not isinstance(table, pa.Table):
                raise QpertError('photos come as Arrow tables: pass batch_format="pyarrow" to map_batches')
            table = _with_ids(table)
            # Kept in the table, so that the next stage need not read them again.
            return super().__call__(table if columns.data in table.column_names else self._read(table))

    StandAlone.__name__ = StandAlone.__qualname__ = name
    return StandAlone


def as_assigned(worker: Worker) -> Worker:
    """`worker` on the share of a GPU that Ray assigned to this actor; on the CPU without one, and outside of actors."""
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return worker
    assigned = ray.get_runtime_context().get_assigned_resources()
    gpus = assigned.get("GPU", 0.0)
    if not gpus:
        return worker
    return replace(worker, gpu=True, share=min(1.0, gpus), decoders=max(1, int(assigned.get("CPU", 1))))


def _with_ids(table: pa.Table) -> pa.Table:
    """`table` with the column `image_id`: the URI of a photo, or else a digest of its bytes."""
    if "image_id" in table.column_names or not {"uri", "bytes"} & set(table.column_names):
        return table
    photos = zip(column_values(table, "uri"), column_values(table, "bytes"), strict=True)
    ids = [digest_of(data or b"") if uri is None else str(uri) for uri, data in photos]
    return table.append_column("image_id", pa.array(ids, pa.string()))
