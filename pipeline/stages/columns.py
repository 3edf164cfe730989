"""Objects and photos between Arrow columns and Python, with failed photos as gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.features.schema import OBJECT_TYPE

if TYPE_CHECKING:
    from pipeline.method.objects import Objects


def set_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """`table` with a column added or replaced."""
    index = table.schema.get_field_index(name)
    return table.append_column(name, values) if index < 0 else table.set_column(index, name, values)


def objects_to_arrow(objects: Sequence[Objects | None]) -> pa.Array:
    """The `objects` column; None (failed, or nobody looked) becomes null, no objects an empty list."""
    rows = [
        None
        if each is None
        else [
            {"x0": box[0], "y0": box[1], "x1": box[2], "y1": box[3], "label": label, "score": score}
            for box, label, score in zip(each.boxes.tolist(), each.labels, each.scores.tolist(), strict=True)
        ]
        for each in objects
    ]
    return pa.array(rows, pa.list_(OBJECT_TYPE))


def objects_from_row(row: list[dict[str, float | str]] | None, size: tuple[int, int]) -> Objects:
    """One value of the `objects` column, for a photo of `size` (width, height); null means none."""
    from pipeline.method.objects import Objects

    if not row:
        return Objects.empty(size)
    boxes = [[float(each[name]) for name in ("x0", "y0", "x1", "y1")] for each in row]
    return Objects(boxes, [str(each["label"]) for each in row], [float(each["score"]) for each in row], size)
