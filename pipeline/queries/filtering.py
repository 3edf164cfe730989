"""Which photos meet filters: a mask over all photos of a set, computed column by column."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.photos.patterns import matching_expression
from pipeline.errors import QpertError
from pipeline.queries.filters import Filters, folded

Bools = npt.NDArray[np.bool_]
_UNKNOWN = -1


class Photos(Protocol):
    """A table of photos: a `PhotoTable`, or a pyarrow table."""

    def __len__(self) -> int: ...

    def column(self, name: str) -> pa.ChunkedArray: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of all photos, one after the other.

    Attributes:
        names: their labels, each once, in lower case.
        codes: int32 [M], the label of each by its place in `names`; -1 for an object without one.
        ends: int64 [N + 1]: photo n has the objects ``ends[n]`` to ``ends[n + 1] - 1``.
    """

    names: tuple[str, ...]
    codes: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]

    def photos_with(self, chosen: Bools) -> Bools:
        """The photos [N] that have one of the chosen objects [M]."""
        before = np.zeros(len(chosen) + 1, np.int32)
        np.cumsum(chosen, dtype=np.int32, out=before[1:])
        at = before[self.ends]
        return np.asarray(at[1:] > at[:-1])

    def labelled(self, labels: Sequence[str]) -> Bools:
        """The objects [M] that have one of these labels."""
        codes = [self.names.index(label) for label in map(folded, labels) if label in self.names]
        return self.codes == codes[0] if len(codes) == 1 else np.isin(self.codes, codes)


class PhotoFilter:
    """Filters photos of one set; keeps what it derives from their objects (some 50 MB for a million photos with five).

    Args:
        photos: with the columns `image_id`, `uri`, `width`, `height`, `taken` and `objects`.
    """

    def __init__(self, photos: Photos) -> None:
        self.photos = photos

    def allowed(self, filters: Filters) -> Bools | None:
        """The photos that meet all filters: bool [N]; None if there is no filter. See `allowed`."""
        if not filters:
            return None
        mask = np.ones(len(self.photos), np.bool_)
        if filters.has or filters.without or filters.smaller is not None or filters.larger is not None:
            mask &= self._by_objects(filters)
        for name, least in (("width", filters.min_width), ("height", filters.min_height)):
            if least is not None:
                mask &= _mask(pc.greater_equal(self.photos.column(name), least))
        first, end = filters.period
        if first is not None:
            mask &= _mask(pc.greater_equal(self._taken, pa.scalar(first, self._taken.type)))
        if end is not None:
            mask &= _mask(pc.less(self._taken, pa.scalar(end, self._taken.type)))
        if filters.path:
            found = np.zeros(len(mask), np.bool_)
            for pattern in filters.path:
                found |= self._by_path(pattern)
            mask &= found
        return mask

    def remarks(self, filters: Filters) -> list[str]:
        """What the user should know of the filters; of several sets, the function of this name says it of all."""
        return remarks([self], filters)

    @property
    def _taken(self) -> pa.ChunkedArray:
        column = self.photos.column("taken")
        return column.cast(pa.timestamp("us")) if column.type != pa.timestamp("us") else column

    @cached_property
    def objects(self) -> Objects:
        """The labels of all objects."""
        column = self.photos.column("objects")
        lengths = [
            pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False) for chunk in column.chunks
        ]
        ends = np.zeros(len(column) + 1, np.int64)
        np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]), out=ends[1:])
        labels = pa.chunked_array([_field(chunk, "label") for chunk in column.chunks], _label_type(column.type))
        if not pa.types.is_dictionary(labels.type):
            labels = labels.dictionary_encode()
        labels = labels.unify_dictionaries().combine_chunks()
        if isinstance(labels, pa.ChunkedArray):  # without chunks
            return Objects((), np.zeros(0, np.int32), ends)
        stored = [folded(str(label)) for label in labels.dictionary.to_pylist()]
        names = tuple(dict.fromkeys(stored))
        places = {name: place for place, name in enumerate(names)}
        table = np.array([*(places[name] for name in stored), _UNKNOWN], np.int32)
        codes = table[pc.fill_null(labels.indices, len(stored)).to_numpy(zero_copy_only=False)]
        return Objects(names, codes, ends)

    @cached_property
    def areas(self) -> npt.NDArray[np.float32]:
        """The area of each object [M] as a fraction of its photo."""
        return np.concatenate([np.zeros(0, np.float32), *map(_areas, self.photos.column("objects").chunks)])

    def label_counts(self) -> dict[str, int]:
        """How many objects have each label, the most frequent first."""
        codes = self.objects.codes
        counts = np.bincount(codes[codes >= 0], minlength=len(self.objects.names))
        order = np.argsort(-counts, kind="stable")
        return {self.objects.names[place]: int(counts[place]) for place in order}

    def _by_objects(self, filters: Filters) -> Bools:
        objects = self.objects
        mask = np.ones(len(self.photos), np.bool_)
        for label in filters.has:
            mask &= objects.photos_with(objects.labelled([label]))
        if filters.without:
            mask &= ~objects.photos_with(objects.labelled(filters.without))
        if filters.smaller is not None or filters.larger is not None:
            fitting = objects.labelled(filters.has) if filters.has else np.ones(len(objects.codes), np.bool_)
            if filters.smaller is not None:
                fitting &= self.areas < filters.smaller
            if filters.larger is not None:
                fitting &= self.areas >= filters.larger
            mask &= objects.photos_with(fitting)
        return mask

    def _by_path(self, pattern: str) -> Bools:
        paths = self.photos.column("uri" if pattern.startswith("/") or "://" in pattern else "image_id")
        try:
            stripped = pc.utf8_trim(paths, "/")
            return _mask(pc.match_substring_regex(stripped, matching_expression(pattern)))
        except (pa.ArrowInvalid, UnicodeEncodeError) as error:
            # Python's expressions would take it, but a stranger's pattern could keep them busy for hours.
            raise QpertError(f"the pattern {pattern!a} cannot be searched for") from error


def allowed(photos: Photos, filters: Filters) -> Bools | None:
    """The photos that meet all filters: bool [N]; None if there is no filter.

    Photos without a date or a size do not meet filters that ask for them. Photos whose objects are unknown, because no
    detector has looked at them, have none.

    Args:
        photos: with the columns `image_id`, `uri`, `width`, `height`, `taken` and `objects`.
        filters: what they must meet.

    Raises:
        QpertError: a pattern is too complex, or not valid text.
    """
    return PhotoFilter(photos).allowed(filters)


def remarks(sets: Sequence[PhotoFilter], filters: Filters) -> list[str]:
    """What the user should know of filters over some sets: labels that no photo has, missing objects and dates."""
    if not filters or not sum(len(one.photos) for one in sets):
        return []
    lines = []
    if filters.has or filters.without or filters.smaller is not None or filters.larger is not None:
        lines += _about_objects(sets, filters)
    if filters.taken_from is not None or filters.taken_to is not None:
        total = sum(len(one.photos) for one in sets)
        lacking = sum(one.photos.column("taken").null_count for one in sets)
        if lacking == total:
            lines.append(
                "no photo has a date, so none meets the dates: it comes from EXIF, and earlier versions left it out"
            )
        elif lacking:
            lines.append(f"{lacking:,} of {total:,} photos have no date and do not meet the dates")
    return lines


def _about_objects(sets: Sequence[PhotoFilter], filters: Filters) -> list[str]:
    known = {name for one in sets for name in one.objects.names}
    if not known:
        needed = filters.has or filters.smaller is not None or filters.larger is not None
        effect = "none meets the filters" if needed else "none is left out"
        return [f"no photo has objects, so {effect}: the set was indexed without a detector, or nothing was found"]
    lines = []
    for label in dict.fromkeys((*filters.has, *filters.without)):
        if folded(label) not in known:
            near = difflib.get_close_matches(folded(label), sorted(known), n=4, cutoff=0.5)
            counts: dict[str, int] = {}
            for one in sets:
                for name, count in one.label_counts().items():
                    counts[name] = counts.get(name, 0) + count
            frequent = sorted(counts, key=lambda name: -counts[name])[:8]
            hint = f"did you mean {', '.join(near)}?" if near else f"labels are, for example: {', '.join(frequent)}"
            lines.append(f"no photo has an object labelled {label!r}; {hint}")
    return lines


def _mask(found: pa.ChunkedArray) -> Bools:
    return np.asarray(pc.fill_null(found, False).to_numpy(), np.bool_)


def _field(chunk: Any, name: str) -> pa.Array:
    return pc.struct_field(chunk.flatten(), name)


def _label_type(lists: pa.DataType) -> pa.DataType:
    things = lists.value_type
    return things.field(things.get_field_index("label")).type


def _areas(chunk: pa.Array) -> npt.NDArray[np.float32]:
    x0, y0, x1, y1 = (
        pc.fill_null(_field(chunk, name), np.nan).to_numpy(zero_copy_only=False) for name in ("x0", "y0", "x1", "y1")
    )
    return np.asarray((x1 - x0) * (y1 - y0), np.float32)
