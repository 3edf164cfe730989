"""What is known of the photos of a snapshot besides their vectors, a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.features.feature_set import FeatureSet
from pipeline.features.live_rows import LiveRows
from pipeline.features.schema import features_schema
from pipeline.features.views import VIEWS_COLUMN
from pipeline.vectors.query_vectors import Bools, Int64

STORED = ("image_id", "uri", "width", "height", "taken", "size", "objects")
"""Columns of the features that are kept for every photo; null where a set lacks them."""
_TAKEN = pa.field("taken", pa.timestamp("s"))


def photo_schema(features: FeatureSet) -> pa.Schema:
    """The columns of the photos of a set: `file`, those of `STORED`, `views` if it has several, and `vectors`."""
    known = features_schema()
    fields = [known.field(name) if name in known.names else _TAKEN for name in STORED]
    views = [VIEWS_COLUMN] if features.manifest.multi else []
    return pa.schema([("file", pa.string()), *fields, *views, ("vectors", pa.int32())])


def photo_rows(features: FeatureSet, file: str, rows: pa.Table) -> pa.Table:
    """The columns of `photo_schema` from rows of a features file, without the photos that failed.

    Args:
        features: the set.
        file: name of the features file.
        rows: with `image_id`, `error` and those of the other columns that the file has.
    """
    schema = photo_schema(features)
    rows = rows.filter(pc.is_null(rows["error"]))
    columns = {name: rows[name].cast(schema.field(name).type) for name in schema.names if name in rows.column_names}
    columns["file"] = pa.repeat(pa.scalar(file, pa.string()), rows.num_rows)
    if features.manifest.multi:
        columns["vectors"] = pc.cast(pc.multiply(pc.list_value_length(rows["views"]), features.vectors), pa.int32())
    else:
        columns["vectors"] = pa.repeat(pa.scalar(features.vectors, pa.int32()), rows.num_rows)
    missing = {name: pa.nulls(rows.num_rows, schema.field(name).type) for name in schema.names if name not in columns}
    return pa.table({name: (columns | missing)[name] for name in schema.names}, schema=schema)


def read_photos(features: FeatureSet) -> pa.Table:
    """The photos of a set that count and have an embedding, in the order of `FeatureSet.iter_blocks`."""
    schema = photo_schema(features)
    wanted = ["image_id", "error", *(name for name in schema.names if name not in ("file", "image_id", "vectors"))]
    if isinstance(features.dataset, LiveRows):
        tables = [photo_rows(features, name, rows) for name, rows in features.dataset.files.tables(wanted)]
    else:
        present = [name for name in wanted if name in features.dataset.schema.names]
        tables = [photo_rows(features, "", features.dataset.to_table(columns=present))]
    return pa.concat_tables(tables) if tables else schema.empty_table()


@dataclass(frozen=True, eq=False)
class PhotoTable:
    """The photos of a snapshot by their numbers, 0 to N - 1.

    Attributes:
        table: the columns of `photo_schema`.
        live: bool [N], photos that count.
    """

    table: pa.Table
    live: Bools

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of all photos, those that do not count included, in the order of their numbers.

        Args:
            name: `file` (of the features), `image_id`, `uri`, `width`, `height`, `taken`, `size` (bytes of the photo),
                `objects`, `vectors` (how many it has), or `views` of a set whose photos have several.
        """
        return self.table[name]

    def rows(self, numbers: Int64 | Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Some columns of some photos, in the order of `numbers`."""
        at = pa.array(np.asarray(numbers, np.int64))
        taken: list[dict[str, Any]] = self.table.select(list(columns)).take(at).to_pylist()
        return taken

    def ids(self, numbers: Int64) -> list[str]:
        """The image_ids of some photos."""
        names: list[str] = self.column("image_id").take(pa.array(numbers)).to_pylist()
        return names

    def number_of(self, image_id: str) -> int | None:
        """The number of the photo with this id, or None if no photo that counts has it."""
        matches = pc.equal(self.column("image_id"), pa.scalar(image_id, pa.string()))
        numbers = np.flatnonzero(np.asarray(matches) & self.live)
        return int(numbers[0]) if len(numbers) else None
