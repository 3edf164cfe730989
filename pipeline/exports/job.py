"""What every form of export gets to write itself, and the note that it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.exports.columns import VECTOR
from pipeline.exports.rows import ExportRows, Vectors
from pipeline.exports.spec import Target
from pipeline.io.locations import Folder

ABOUT = "export.json"


@dataclass(frozen=True)
class Job:
    """What is written, and where to.

    Attributes:
        folder: the destination, which does not exist yet; a file for a table.
        rows: what is exported.
        count: number of rows.
        batches: the rows, to be read once.
        about: what the export is of, and how its vectors were made.
    """

    folder: Folder
    rows: ExportRows
    count: int
    batches: Iterator[pa.RecordBatch]
    about: Mapping[str, Any]


def write_about(job: Job) -> None:
    """Writes export.json. Last of all files, because it says that the export is complete."""
    job.folder.write_atomically(ABOUT, json.dumps(job.about, indent=2, ensure_ascii=False).encode() + b"\n")


def is_export(folder: Folder, target: Target) -> bool:
    """Whether `folder` holds an export of this form, by its export.json."""
    try:
        about = json.loads(folder.read(ABOUT) or b"")
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("to") == target


def vectors_in(batch: pa.RecordBatch) -> Vectors:
    """The numbers of all vectors of a batch, one after the other."""
    column = batch.column(VECTOR)
    while not pa.types.is_floating(column.type):
        column = column.flatten()
    values: Vectors = column.to_numpy(zero_copy_only=True)
    return values
