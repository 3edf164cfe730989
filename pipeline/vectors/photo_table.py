"""What is known of the photos of a snapshot besides their vectors, a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import QpertError, first_line
from pipeline.features.feature_set import FeatureSet
from pipeline.features.schema import features_schema
from pipeline.features.views import VIEWS_COLUMN
from pipeline.vectors.query_vectors import Bools, Int64
from pipeline.vectors.versions import SEARCH

STORED = ("image_id", "uri", "width", "height", "taken", "size", "objects")
"""Columns of the features that are kept for every photo; null where a set lacks them."""


def photo_schema(features: FeatureSet) -> pa.Schema:
    """The columns of the photos of a set: `file`, those of `STORED`, `views` if it has several, and `vectors`."""
    known = features_schema()
    fields = [known.field(name) for name in STORED]
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


def columns_to_read(features: FeatureSet) -> list[str]:
    """The columns of the features that `photo_rows` wants."""
    made = ("file", "image_id", "vectors")
    return ["image_id", "error", *(name for name in photo_schema(features).names if name not in made)]


@dataclass(frozen=True, eq=False)
class PhotoTable:
    """The photos of a snapshot by their numbers, 0 to N - 1.

    Attributes:
        table: the columns of `photo_schema`, mapped files among them.
        live: bool [N], photos that count.
    """

    table: pa.Table
    live: Bools
    _valid: dict[str, pa.ChunkedArray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of all photos, those that do not count included, in the order of their numbers.

        Args:
            name: `file` (of the features), `image_id`, `uri`, `width`, `height`, `taken`, `size` (bytes of the photo),
                `objects`, `vectors` (how many it has), or `views` of a set whose photos have several.

        Raises:
            QpertError: the column is damaged; or there is none of this name.
        """
        if name not in self._valid:
            try:
                column = self.table[name]
                column.validate(full=True)  # wrong offsets would read foreign memory
            except KeyError:
                raise QpertError(
                    f"photos have no column {name}; they have {', '.join(self.table.column_names)}"
                ) from None
            except pa.ArrowException as error:
                raise QpertError(
                    f"the column {name} of the index is damaged ({first_line(error)[:120]}); delete the folder {SEARCH}"
                    " in the feature set: it is made anew"
                ) from error
            self._valid[name] = column
        return self._valid[name]

    def rows(self, numbers: Int64 | Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Some columns of some photos, in the order of `numbers`; None where a photo lacks a value."""
        taken = [take(self.column(name), np.asarray(numbers, np.int64)) for name in columns]
        return [dict(zip(columns, values, strict=True)) for values in zip(*taken, strict=True)]

    def ids(self, numbers: Int64) -> list[str]:
        """The image_ids of some photos."""
        return take(self.column("image_id"), numbers)

    def number_of(self, image_id: str) -> int | None:
        """The number of the photo with this id, or None if no photo that counts has it."""
        matches = pc.equal(self.column("image_id"), pa.scalar(image_id, pa.string()))
        numbers = np.flatnonzero(np.asarray(matches) & self.live)
        return int(numbers[0]) if len(numbers) else None


def take(column: pa.ChunkedArray, numbers: Int64) -> list[Any]:
    """Some values of a column as Python objects; pyarrow would first join all chunks, which copies mapped files."""
    ends = np.cumsum([len(chunk) for chunk in column.chunks])
    chunks = np.searchsorted(ends, numbers, side="right")
    values: list[Any] = [None] * len(numbers)
    for chunk in np.unique(chunks).tolist():
        places = np.flatnonzero(chunks == chunk)
        first = 0 if chunk == 0 else int(ends[chunk - 1])
        found = column.chunk(chunk).take(pa.array(numbers[places] - first)).to_pylist()
        for place, value in zip(places.tolist(), found, strict=True):
            values[place] = value
    return values
