"""Between Arrow columns and Python: objects and vectors of photos, with null for photos that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from pipeline.features.schema import OBJECT_TYPE
from pipeline.method.objects import Objects

ObjectRow = Mapping[str, Any]
"""One object in a value of the `objects` column."""


def set_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """`table` with a column added or replaced."""
    index = table.schema.get_field_index(name)
    return table.append_column(name, values) if index < 0 else table.set_column(index, name, values)


def column_values(table: pa.Table, name: str) -> list[Any]:
    """The values of a column, all None if `table` does not have it."""
    return table[name].to_pylist() if name in table.column_names else [None] * table.num_rows


def objects_to_row(objects: Objects) -> list[dict[str, float | str]]:
    """One value of the `objects` column."""
    return [
        {"x0": box[0], "y0": box[1], "x1": box[2], "y1": box[3], "label": label, "score": score}
        for box, label, score in zip(objects.boxes.tolist(), objects.labels, objects.scores.tolist(), strict=True)
    ]


def objects_to_arrow(photos: Sequence[Objects | None]) -> pa.Array:
    """The `objects` column; None (failed, or not looked at) becomes null, a photo without objects an empty list."""
    rows = [None if objects is None else objects_to_row(objects) for objects in photos]
    return pa.array(rows, pa.list_(OBJECT_TYPE))


def objects_from_row(
    row: Sequence[ObjectRow] | None,
    size: tuple[int, int],
    photo: str = "",
    shuffled: Sequence[Mapping[str, Any]] | None = None,
) -> Objects:
    """One value of the `objects` column; null means none.

    Args:
        row: the value.
        size: (width, height) of the photo.
        photo: its id.
        shuffled: its value of the column `SHUFFLED`, if there is one.
    """
    if not row:
        return Objects.empty(size)
    boxes = [[float(thing[name]) for name in ("x0", "y0", "x1", "y1")] for thing in row]
    labels, scores = [str(thing["label"]) for thing in row], [float(thing["score"]) for thing in row]
    others = {int(draw["seed"]): torch.tensor(draw["boxes"]) for draw in shuffled or ()}
    return Objects(boxes, labels, scores, size, photo, others)


SHUFFLED = pa.list_(pa.struct([("seed", pa.int64()), ("boxes", pa.list_(pa.list_(pa.float32())))]))
"""Type of a column `shuffled`: boxes of other photos in place of each photo's own, see `Objects.shuffled`."""


def shuffled_to_arrow(photos: Sequence[Objects | None]) -> pa.Array:
    """The `shuffled` column; null for photos that failed."""
    rows = [
        None
        if objects is None
        else [{"seed": seed, "boxes": boxes.tolist()} for seed, boxes in objects.shuffled.items()]
        for objects in photos
    ]
    return pa.array(rows, SHUFFLED)


def largest_area(row: Sequence[ObjectRow] | None) -> float | None:
    """Area of the largest box of one value of the `objects` column, as a fraction of the photo; None without any."""
    return max(((thing["x1"] - thing["x0"]) * (thing["y1"] - thing["y0"]) for thing in row or ()), default=None)


def vectors_to_arrow(vectors: Sequence[npt.NDArray[Any] | None], number: pa.DataType) -> pa.Array:
    """A column of lists of `number` (float16 or float32), from one flat array per photo or None."""
    present = [vector for vector in vectors if vector is not None]
    values = np.concatenate(present or [np.zeros(0)]).astype(number.to_pandas_dtype())
    ends = np.cumsum([0, *(0 if vector is None else len(vector) for vector in vectors)])
    missing = pa.array([vector is None for vector in vectors], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values), mask=missing)
