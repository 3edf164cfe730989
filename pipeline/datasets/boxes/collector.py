"""Collecting the photos and boxes of a JSON file in packed form: 48 bytes per box where Python objects take 500."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pipeline.datasets.bad_entries import BadEntries
from pipeline.datasets.boxes.photo_boxes import Boxes, PhotoBoxes
from pipeline.datasets.json_file import check_text
from pipeline.datasets.names import PhotoIndex, plain_stem
from pipeline.datasets.warnings import CountedWarnings
from pipeline.errors import QpertError

MAX_LABEL = 1000
"""Characters in the name of a class."""
_MAX_SIDE = 2**31
"""Longest side of a photo, in pixels, that an annotation may state; longer ones count as unknown."""


class BoxCollector:
    """Gathers the photos and boxes of one JSON file, and warns about oddities at the end.

    Attributes:
        path: the file.
        bad: entries that cannot be read.
        warnings: other oddities so far; a reader adds those of its own format.
    """

    def __init__(self, path: Path, key: Callable[[str], str] = plain_stem, *, strict: bool = False) -> None:
        """Start with no photos.

        Args:
            path: the file.
            key: maps an image id to what it shares with other ids of the same photo, see `PhotoIndex`.
            strict: bad entries and boxes are errors, and so are two photos with the same key.
        """
        self.path = path
        self.bad = BadEntries(path, strict=strict)
        self.warnings = CountedWarnings(path, strict=strict)
        self._key = key
        self._ids: list[str] = []
        self._numbers: dict[str, int] = {}
        self._sizes: list[tuple[int, int] | None] = []
        self._labels: dict[str, int] = {}
        self._owners, self._names, self._corners = array("q"), array("q"), array("d")
        self._unboxed: dict[int, set[str]] = {}
        self._absent: dict[int, set[str]] = {}

    def add_photo(
        self,
        name: str,
        size: tuple[float | None, float | None] = (None, None),
        where: str = "",
        *,
        merge: bool = False,
    ) -> int:
        """Add a photo and return its number.

        Args:
            name: its file name or path.
            size: (width, height) in pixels; impossible ones count as unknown.
            where: place in the file, such as `images[3]`.
            merge: whether the same photo may occur again, with more boxes.

        Raises:
            QpertError: a photo of that name exists already, or the name is empty.
        """
        number = len(self._ids)
        key = self._key(name)
        if not key:
            raise QpertError(f"{self.path}: {where} names no image: {name[:100]!r}")
        known = name if self._key is plain_stem and not self.bad.strict else key
        first = self._numbers.setdefault(known, number)
        if first != number and merge:
            return first
        if first != number:
            raise QpertError(f"{self.path}: images[{first}] and {where} are both {name}")
        self._ids.append(name)
        self._sizes.append(possible_size(*size))
        return number

    def add_box(self, photo: int, label: str, box: Iterable[float]) -> None:
        """Add a box (x0, y0, x1, y1) in 0-based half-open pixels, not clipped.

        Raises:
            QpertError: the label is far too long, or not valid Unicode.
        """
        if label not in self._labels:
            check_text(label, self.path, f"the label {label[:40]!a}", MAX_LABEL)
        self._owners.append(photo)
        self._names.append(self._labels.setdefault(label, len(self._labels)))
        self._corners.extend(box)

    def add_unboxed(self, photo: int, label: str) -> None:
        """Note that the photo shows something of the class, without a box."""
        self._unboxed.setdefault(photo, set()).add(label)

    def add_absent(self, photo: int, labels: Iterable[str]) -> None:
        """Note the classes of which the photo is known to show nothing; the annotators looked for some only."""
        self._absent.setdefault(photo, set()).update(labels)

    def boxes(self) -> PackedBoxes:
        """All boxes, grouped by photo; issues the warnings.

        Raises:
            QpertError: most entries are bad; or a box is, if strict.
        """
        self.bad.check()
        self.bad.check_any(bool(self._owners))
        self.bad.warn()
        self.warnings.warn()
        owners = np.array(self._owners, np.int64)
        order = np.argsort(owners, kind="stable")
        boxes = PackedBoxes(
            self.path,
            tuple(self._ids),
            PhotoIndex(self._ids, self._key),
            self._sizes,
            list(self._labels),
            np.searchsorted(owners[order], np.arange(len(self._ids) + 1)),
            np.array(self._names, np.int64)[order],
            np.array(self._corners, np.float64).reshape(-1, 4)[order],
            {photo: frozenset(labels) for photo, labels in self._unboxed.items()},
            {photo: frozenset(labels) for photo, labels in self._absent.items()},
        )
        if self.bad.strict:
            refuse_skipped_boxes(boxes)
        return boxes


def possible_size(width: float | None, height: float | None) -> tuple[int, int] | None:
    """(width, height) in whole pixels; None unless both are possible."""
    if width is None or height is None or not (1 <= width < _MAX_SIDE and 1 <= height < _MAX_SIDE):
        return None
    return int(width), int(height)


def refuse_skipped_boxes(boxes: Boxes) -> None:
    """Read all photos and raise a QpertError if a box of one cannot be used."""
    for name, photo in boxes.all():
        if photo.skipped:
            what = f"{photo.skipped} boxes that are not finite, inverted, empty or outside their photo"
            raise QpertError(f"{boxes.source}: the photo {name} has {what}")


@dataclass(frozen=True, eq=False)
class PackedBoxes:
    """The boxes of a JSON file as `Boxes`; those of photo n are rows starts[n] to starts[n + 1].

    Attributes:
        source: the file.
        ids: the photos' names in the file.
        index: finds the number of a photo.
        sizes: (width, height) of each photo, or None.
        labels: distinct labels.
        starts: int64 [photos + 1].
        names: int64 [boxes], indices of `labels`.
        corners: float64 [boxes, 4], not clipped.
        unboxed: see `PhotoBoxes`, by photo.
        absent: see `PhotoBoxes`, by photo; empty unless the annotators looked for some classes only.
    """

    source: Path
    ids: tuple[str, ...]
    index: PhotoIndex
    sizes: Sequence[tuple[int, int] | None]
    labels: Sequence[str]
    starts: np.ndarray
    names: np.ndarray
    corners: np.ndarray
    unboxed: Mapping[int, frozenset[str]] = field(default_factory=dict)
    absent: Mapping[int, frozenset[str]] = field(default_factory=dict)

    def of(self, image_id: str) -> PhotoBoxes | None:
        """See `Boxes.of`."""
        photo = self.index.find(image_id)
        return None if photo is None else self._photo(photo)

    def name_of(self, image_id: str) -> str | None:
        """See `Boxes.name_of`."""
        photo = self.index.find(image_id)
        return None if photo is None else self.ids[photo]

    def all(self) -> Iterator[tuple[str, PhotoBoxes]]:
        """See `Boxes.all`."""
        for photo in sorted(range(len(self.ids)), key=self.ids.__getitem__):
            yield self.ids[photo], self._photo(photo)

    def _photo(self, photo: int) -> PhotoBoxes:
        rows = slice(self.starts[photo], self.starts[photo + 1])
        labels = (self.labels[name] for name in self.names[rows])
        boxes = PhotoBoxes.clip(self.sizes[photo], zip(labels, self.corners[rows].tolist(), strict=True))
        if photo in self.unboxed or photo in self.absent:
            return replace(boxes, unboxed=self.unboxed.get(photo, frozenset()), absent=self.absent.get(photo))
        return boxes
