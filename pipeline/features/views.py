"""What each vector of a photo is, where a photo has several: the whole of it, or a part (``qpert index --multi``).

The embedding of such a photo is its own V vectors (of each variant, if there are several), then V of each further view.
The column `views` says which these are: the whole photo first, then the others in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

WHOLE = "whole"
VIEWS = (WHOLE, "region", "crop", "tile", "cluster", "object")
"""The kinds of views."""
_SIDES = ("x0", "y0", "x1", "y1")
VIEW_TYPE = pa.struct([("kind", pa.string()), *((side, pa.float32()) for side in _SIDES)])
VIEWS_COLUMN = pa.field("views", pa.list_(VIEW_TYPE))
"""The column of a feature set; null for a photo that failed."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """What a vector was made of.

    Attributes:
        kind: one of `VIEWS`.
        box: (x0, y0, x1, y1) as fractions of the photo: of a region or object its box, of a crop or tile what was cut,
            of a cluster the smallest box that holds its tokens.
    """

    kind: str
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> View:
        """From one element of the column `views`."""
        x0, y0, x1, y1 = (float(row[side]) for side in _SIDES)
        return cls(str(row["kind"]), (x0, y0, x1, y1))

    def text(self) -> str:
        """For display: `whole`, or `crop 12,40-31,55`, the corners in percent of the photo's sides."""
        if self.kind == WHOLE:
            return WHOLE
        x0, y0, x1, y1 = (round(100 * side) for side in self.box)
        return f"{self.kind} {x0},{y0}-{x1},{y1}"

    def as_row(self) -> dict[str, Any]:
        """One element of the column `views`."""
        return {"kind": self.kind, **dict(zip(_SIDES, self.box, strict=True))}


def views_to_arrow(photos: Sequence[Sequence[View] | None]) -> pa.Array:
    """The column `views`; None (failed) becomes null."""
    rows = [None if views is None else [view.as_row() for view in views] for views in photos]
    return pa.array(rows, VIEWS_COLUMN.type)


def vector_groups(embedding: pa.Array, length: int) -> tuple[Ints, Ints]:
    """Where the vectors of each photo are in the flattened column, in groups of `length` numbers.

    Returns:
        The first group of each photo, and how many it has.

    Raises:
        ValueError: a list that is not a whole number of groups, or is empty.
    """
    lengths = pc.list_value_length(embedding).to_numpy(zero_copy_only=False).astype(np.int64)
    counts, rest = np.divmod(lengths, length)
    if rest.any() or (counts < 1).any():
        raise ValueError("embeddings of other lengths")
    return np.cumsum(counts) - counts, counts


def padded(wholes: Ints, starts: Ints, counts: Ints) -> Ints:
    """Numbers of groups [n, most]: those of each photo, filled up with the photo's own, which changes no maximum.

    Args:
        wholes: group of each photo as a whole.
        starts: first further group of each photo.
        counts: further groups of each.
    """
    places = np.arange(int(counts.max(initial=0)))
    return np.where(places < counts[:, None], starts[:, None] + places, wholes[:, None])


def chosen_groups(views: pa.Array, kinds: Sequence[str], wholes: Ints, starts: Ints, counts: Ints) -> Ints:
    """Numbers of groups [n, most] of the views of some kinds, filled up like `padded`.

    A photo with at least one such view is filled up with the first of them, others with the photo as a whole.

    Args:
        views: the column `views`, without nulls.
        kinds: of `VIEWS`.
        wholes: group of each photo as a whole.
        starts: first further group of each photo.
        counts: further groups of each.

    Raises:
        ValueError: other numbers of views than of groups, or a first view that is not the whole photo.
    """
    lengths = pc.list_value_length(views).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(lengths)
    names = pc.struct_field(views.flatten(), "kind")
    if views.null_count or (lengths != counts + 1).any():
        raise ValueError("other numbers of views")
    flags = pc.is_in(names, value_set=pa.array(list(kinds), pa.string())).to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(row)) - (ends - lengths)[row]  # 0 is the whole photo
    group = np.where(place == 0, wholes[row], starts[row] + place - 1)[flags]
    row = row[flags]
    numbers = np.bincount(row, minlength=len(lengths))
    column = np.arange(len(row)) - (np.cumsum(numbers) - numbers)[row]
    groups = np.repeat(wholes[:, None], max(1, int(numbers.max(initial=0))), axis=1)
    groups[row, column] = group
    beyond = (np.arange(groups.shape[1]) >= numbers[:, None]) & (numbers > 0)[:, None]
    return np.where(beyond, groups[:, :1], groups)
