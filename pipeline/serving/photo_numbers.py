"""Numbers for photos, for clients that cannot do with ids of letters: they hold for one state of a set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.queries.hits import Hit
from pipeline.serving.errors import RequestError
from pipeline.serving.served_set import OpenedSet

_BITS = 32
_STATE_BITS = 20
"""Together less than 53, the bits that a number may have in JavaScript."""
Row = tuple[str, str, str | None]
"""A photo: its id, the folder that has it (of a set of several, else ""), and its URI."""


def _state(opened: OpenedSet) -> int:
    return int(opened.version[:5], 16) << _BITS


def numbers_of(opened: OpenedSet, hits: Sequence[Hit]) -> list[int]:
    """The numbers of hits, with the state of the set in their high bits; one pass over the ids of the set."""
    found: dict[tuple[str, str], int] = {}
    first = 0
    for one in opened.collection.sets:
        name = one.name if len(opened.collection.sets) > 1 else ""
        wanted = pa.array([hit.image_id for hit in hits if hit.set == name], pa.string())
        photos = one.snapshot.photos
        matches = pc.is_in(photos.column("image_id"), value_set=wanted)
        numbers = np.flatnonzero(np.asarray(matches) & one.snapshot.live)
        for number, row in zip(numbers.tolist(), photos.rows(numbers, ["image_id"]), strict=True):
            found[name, row["image_id"]] = first + number
        first += len(photos)
    return [_state(opened) | found[hit.set, hit.image_id] for hit in hits]


def photos_of(opened: OpenedSet, numbers: Sequence[int]) -> list[Row]:
    """The photos that have some numbers.

    Raises:
        RequestError: 409 for numbers of another state of the set, 404 for those that no photo has.
    """
    rows = []
    for number in numbers:
        if number >> _BITS << _BITS != _state(opened):
            raise RequestError(409, "the set has changed since these numbers were given: search again")
        rows.append(_photo(opened, number & ((1 << _BITS) - 1)))
    return rows


def _photo(opened: OpenedSet, number: int) -> Row:
    for one in opened.collection.sets:
        photos = one.snapshot.photos
        if number < len(photos):
            if not one.snapshot.live[number]:
                break
            row = photos.rows([number], ["image_id", "uri"])[0]
            return row["image_id"], one.name if len(opened.collection.sets) > 1 else "", row["uri"]
        number -= len(photos)
    raise RequestError(404, "no photo has this number")
