"""Marks on single rows, in small files beside the features, so that no large file has to be rewritten.

``removed/*.parquet`` names rows that no longer count (tombstones): `file` and `image_id` of the row, and `reason`.
``seen/*.parquet`` names photos whose modification time has changed though their content has not: `mtime`.

A mark belongs to the row of one features file: the same photo may have a newer row in another. `qpert compact` rewrites
the features without the removed rows, and deletes the marks.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import QpertError, first_line
from pipeline.io.locations import Folder

Reason = Literal["changed", "gone", "failed", "repeated"]
"""Why a row no longer counts: the photo has changed, has left the source, is tried again, or has a newer row."""

_ROW = (pa.field("file", pa.string()), pa.field("image_id", pa.string()))
REMOVED = pa.schema([*_ROW, ("reason", pa.string())])
SEEN = pa.schema([*_ROW, ("mtime", pa.timestamp("us", "UTC"))])
Kind = Literal["removed", "seen"]
SCHEMAS: Mapping[Kind, pa.Schema] = {"removed": REMOVED, "seen": SEEN}


@dataclass(frozen=True)
class Marks:
    """The marks of one kind in a feature set.

    Attributes:
        by_file: name of a features file -> its marked rows, one per photo: `image_id` and the mark.
    """

    by_file: Mapping[str, pa.Table] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Folder, kind: Kind) -> Marks:
        """All marks of one kind in a feature set; the last one counts if a row has several.

        Raises:
            QpertError: a file of marks is damaged.
        """
        tables = [read_marks(folder, name, kind) for name in mark_files(folder, kind)]
        table = pa.concat_tables([SCHEMAS[kind].empty_table(), *tables])
        if not table.num_rows:
            return cls()
        table = table.append_column("order", pa.array(np.arange(table.num_rows)))
        last = table.group_by(["file", "image_id"]).aggregate([("order", "max")])["order_max"]
        table = table.take(last).sort_by([("file", "ascending"), ("order", "ascending")]).combine_chunks()
        names, starts = np.unique(table["file"].to_numpy(), return_index=True)
        ends = [*starts[1:], table.num_rows]
        rows = table.drop_columns(["file", "order"])
        return cls({str(name): rows.slice(at, end - at) for name, at, end in zip(names, starts, ends, strict=True)})

    def ids(self, name: str) -> pa.Array | None:
        """Ids of the marked rows of a features file; None if it has none."""
        table = self.by_file.get(name)
        return None if table is None else pa.array(table["image_id"].combine_chunks(), pa.string())

    def without(self, name: str, rows: pa.Table) -> pa.Table:
        """The `rows` of a features file (with `image_id`) that are not marked."""
        ids = self.ids(name)
        return rows if ids is None else rows.filter(pc.invert(pc.is_in(rows["image_id"], value_set=ids)))


def add_marks(folder: Folder, kind: Kind, rows: pa.Table) -> None:
    """Mark rows, all of them in one step; nothing is written for an empty table.

    Args:
        folder: the feature set.
        kind: which mark.
        rows: `file`, `image_id` and the mark.
    """
    if rows.num_rows:
        # The names sort by time.
        _write(folder, kind, f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.parquet", rows)


def lift_marks(folder: Folder, kind: Kind, rows: pa.Table) -> None:
    """Remove the marks of these rows (`file` and `image_id`), one file of marks after the other."""
    for name in mark_files(folder, kind) if rows.num_rows else ():
        marks = read_marks(folder, name, kind)
        kept = marks.join(rows.select(["file", "image_id"]), ["file", "image_id"], join_type="left anti")
        if not kept.num_rows:
            delete_marks(folder, name, kind)
        elif kept.num_rows < marks.num_rows:
            _write(folder, kind, name, kept.select(SCHEMAS[kind].names))


def drop_marks(folder: Folder, files: Collection[str]) -> None:
    """Remove all marks of features files that no longer exist."""
    for kind in SCHEMAS:
        marks = Marks.read(folder, kind)
        tables = [
            marks.by_file[name].append_column("file", pa.array([name] * marks.by_file[name].num_rows, pa.string()))
            for name in files
            if name in marks.by_file
        ]
        if tables:
            lift_marks(folder, kind, pa.concat_tables([table.select(["file", "image_id"]) for table in tables]))


def mark_files(folder: Folder, kind: Kind) -> list[str]:
    """Names of the files of marks, oldest first."""
    return [str(info.base_name) for info in folder.subfolder(kind).files(".parquet")]


def read_marks(folder: Folder, name: str, kind: Kind) -> pa.Table:
    """One file of marks; no rows if it is gone, which a bucket may still list.

    Raises:
        QpertError: it is damaged.
        OSError: the storage does not answer.
    """
    path, expected = folder.at(kind, name), SCHEMAS[kind]
    data = folder.read(f"{kind}/{name}")
    if data is None:
        return expected.empty_table()
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            stored = file.schema_arrow
            if not all(f.name in stored.names and stored.field(f.name).type == f.type for f in expected):
                raise QpertError(f"{path} is damaged: it is not a file of {kind} rows; {_MEND}")
            return file.read(columns=expected.names)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise QpertError(f"{path} is damaged ({first_line(error)[:120]}); {_MEND}") from error


def delete_marks(folder: Folder, name: str, kind: Kind) -> None:
    """Delete one file of marks."""
    folder.subfolder(kind).delete(name)


_MEND = "run the same qpert index again, which restores what it said"


def _write(folder: Folder, kind: Kind, name: str, rows: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(rows.cast(SCHEMAS[kind]), sink, write_page_checksum=True)
    folder.subfolder(kind).write_atomically(name, sink.getvalue().to_pybytes())
