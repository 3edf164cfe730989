"""Small files beside the features that say something of single rows, so that no large file is written anew for it.

`OUT`/removed/*.parquet names rows that count no more (tombstones): `file` and `image_id` of the row, and `reason`.
`OUT`/seen/*.parquet names photos whose file has another time of change by now and the same content: `mtime`.

A mark holds for the row of one features file, so the same photo may have a newer row in another. `qpert compact` writes
the features without such rows, and removes the marks.
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
from pipeline.io.locations import join, list_files, locate, write_atomically

Reason = Literal["changed", "gone", "failed", "repeated"]
"""Of a row that counts no more: the photo has changed, has left the source, is tried again, has a newer row."""

_ROW = (pa.field("file", pa.string()), pa.field("image_id", pa.string()))
REMOVED = pa.schema([*_ROW, ("reason", pa.string())])
SEEN = pa.schema([*_ROW, ("mtime", pa.timestamp("us", "UTC"))])
Kind = Literal["removed", "seen"]
SCHEMAS: Mapping[Kind, pa.Schema] = {"removed": REMOVED, "seen": SEEN}


@dataclass(frozen=True)
class Marks:
    """The marks of one kind in a feature set.

    Attributes:
        by_file: name of a features file -> table of its marked rows: `image_id`, each once, and the mark.
    """

    by_file: Mapping[str, pa.Table] = field(default_factory=dict)

    @classmethod
    def read(cls, out: str, kind: Kind) -> Marks:
        """All marks of that kind; where a row has several, the last one counts.

        Raises:
            QpertError: a file of them is damaged.
        """
        tables = [read_marks(out, path, kind) for path in mark_files(out, kind)]
        if not tables:
            return cls()
        table = pa.concat_tables(tables)
        table = table.append_column("order", pa.array(np.arange(table.num_rows)))
        last = table.group_by(["file", "image_id"]).aggregate([("order", "max")])["order_max"]
        table = table.take(last).sort_by([("file", "ascending"), ("order", "ascending")]).combine_chunks()
        names, starts = np.unique(table["file"].to_numpy(), return_index=True)
        ends = [*starts[1:], table.num_rows]
        rows = table.drop_columns(["file", "order"])
        return cls({str(name): rows.slice(at, end - at) for name, at, end in zip(names, starts, ends, strict=True)})

    def ids(self, name: str) -> pa.Array | None:
        """Ids of the marked rows of a features file; None when it has none."""
        table = self.by_file.get(name)
        return None if table is None else pa.array(table["image_id"].combine_chunks(), pa.string())

    def without(self, name: str, rows: pa.Table) -> pa.Table:
        """The `rows` of a features file (with `image_id`) that are not marked."""
        ids = self.ids(name)
        return rows if ids is None else rows.filter(pc.invert(pc.is_in(rows["image_id"], value_set=ids)))


def add_marks(out: str, kind: Kind, rows: pa.Table) -> None:
    """Mark these rows, all of them in one step; nothing is written for no rows.

    Args:
        out: folder or URI of the feature set.
        kind: which mark.
        rows: `file`, `image_id` and the mark.
    """
    if rows.num_rows:
        # Sorted by name the marks are in the order of time.
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.parquet"
        _write(join(out, kind, name), rows.cast(SCHEMAS[kind]))


def lift_marks(out: str, kind: Kind, rows: pa.Table) -> None:
    """Take the marks off these rows (`file` and `image_id`), file of marks by file of marks."""
    filesystem, _ = locate(out)
    for path in mark_files(out, kind) if rows.num_rows else ():
        marks = read_marks(out, path, kind)
        kept = marks.join(rows.select(["file", "image_id"]), ["file", "image_id"], join_type="left anti")
        if not kept.num_rows:
            filesystem.delete_file(path)
        elif kept.num_rows < marks.num_rows:
            _write(join(out, kind, path.rpartition("/")[2]), kept.select(SCHEMAS[kind].names).cast(SCHEMAS[kind]))


def drop_marks(out: str, files: Collection[str]) -> None:
    """Take all marks off features files that are no more."""
    for kind in SCHEMAS:
        marks = Marks.read(out, kind)
        rows = [
            marks.by_file[name].append_column("file", pa.array([name] * marks.by_file[name].num_rows, pa.string()))
            for name in files
            if name in marks.by_file
        ]
        if rows:
            lift_marks(out, kind, pa.concat_tables([table.select(["file", "image_id"]) for table in rows]))


def mark_files(out: str, kind: Kind) -> list[str]:
    """Paths of the files of marks, the oldest first, as their file system names them."""
    return [str(info.path) for info in list_files(join(out, kind), ".parquet")]


def read_marks(out: str, path: str, kind: Kind) -> pa.Table:
    """One file of marks.

    Raises:
        QpertError: it is damaged.
    """
    filesystem, _ = locate(out)
    try:
        with pq.ParquetFile(path, filesystem=filesystem, page_checksum_verification=True) as file:
            found = file.schema_arrow
            if not all(name in found.names and found.field(name).type == of for name, of in _types(kind)):
                raise QpertError(f"{path} is damaged: it is no file of {kind} rows; {_MEND}")
            return file.read(columns=SCHEMAS[kind].names)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise QpertError(f"{path} is damaged ({first_line(error)[:120]}); {_MEND}") from error


_MEND = "run the same qpert index again, which finds out anew what it said"


def _types(kind: Kind) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in SCHEMAS[kind]]


def _write(path: str, rows: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, write_page_checksum=True)
    write_atomically(path, sink.getvalue().to_pybytes())
