"""Collecting the photos and boxes of a JSON file in packed form: 48 bytes per box where Python objects take 500."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.datasets.boxes.photo_boxes import PhotoBoxes
from pipeline.datasets.json_file import check_text
from pipeline.datasets.names import Names
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
        warnings: oddities so far; a reader adds those of its own format.
    """

    def __init__(self, path: Path, key: Callable[[str], str]) -> None:
        """Start with no photos.

        Args:
            path: the file.
            key: maps an image id to the key by which its photo is looked up.
        """
        self.path = path
        self.warnings = CountedWarnings(path)
        self._key = key
        self._photos: dict[str, int] = {}
        self._sizes: list[tuple[int, int] | None] = []
        self._labels: dict[str, int] = {}
        self._owners, self._names, self._corners = array("q"), array("q"), array("d")
        self._unboxed: dict[int, set[str]] = {}
        self._absent: dict[int, set[str]] = {}

    def add_photo(self, name: str, size: tuple[float | None, float | None] = (None, None), where: str = "") -> int:
        """Add a photo and return its number.

        Raises:
            QpertError: a photo of that name exists already, or the name is empty.
        """
        number = len(self._sizes)
        key = self._key(name)
        if not key:
            raise QpertError(f"{self.path}: {where} names no image: {name[:100]!r}")
        if self._photos.setdefault(key, number) != number:
            raise QpertError(f"{self.path}: images[{self._photos[key]}] and {where} are both {name}")
        width, height = (side if side is not None and 1 <= side < _MAX_SIDE else 0 for side in size)
        self._sizes.append((int(width), int(height)) if width and height else None)
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
        """All boxes, grouped by photo; issues the warnings."""
        self.warnings.warn()
        owners = np.array(self._owners, np.int64)
        order = np.argsort(owners, kind="stable")
        return PackedBoxes(
            self.path,
            self._key,
            self._photos,
            self._sizes,
            list(self._labels),
            np.searchsorted(owners[order], np.arange(len(self._sizes) + 1)),
            np.array(self._names, np.int64)[order],
            np.array(self._corners, np.float64).reshape(-1, 4)[order],
            {photo: frozenset(labels) for photo, labels in self._unboxed.items()},
            {photo: frozenset(labels) for photo, labels in self._absent.items()},
        )


@dataclass(frozen=True, eq=False)
class PackedBoxes:
    """The boxes of a JSON file as `Boxes`; those of photo n are rows starts[n] to starts[n + 1].

    Attributes:
        source: the file.
        key: maps an image id to a key of `photos`.
        photos: number of each photo by key.
        sizes: (width, height) of each photo, or None.
        labels: distinct labels.
        starts: int64 [photos + 1].
        names: int64 [boxes], indices of `labels`.
        corners: float64 [boxes, 4], not clipped.
        unboxed: see `PhotoBoxes`, by photo.
        absent: see `PhotoBoxes`, by photo; empty unless the annotators looked for some classes only.
    """

    source: Path
    key: Callable[[str], str]
    photos: dict[str, int]
    sizes: list[tuple[int, int] | None]
    labels: list[str]
    starts: np.ndarray
    names: np.ndarray
    corners: np.ndarray
    unboxed: Mapping[int, frozenset[str]]
    absent: Mapping[int, frozenset[str]]

    @cached_property
    def known(self) -> Names:
        """The keys of all photos, found in any Unicode normal form."""
        return Names(self.photos)

    def of(self, image_id: str) -> PhotoBoxes | None:
        """See `Boxes.of`."""
        name = self.name_of(image_id)
        return None if name is None else self._photo(self.photos[name])

    def name_of(self, image_id: str) -> str | None:
        """See `Boxes.name_of`."""
        return self.known.find(self.key(image_id))

    def all(self) -> Iterator[tuple[str, PhotoBoxes]]:
        """See `Boxes.all`."""
        for name in sorted(self.photos):
            yield name, self._photo(self.photos[name])

    def _photo(self, photo: int) -> PhotoBoxes:
        rows = slice(self.starts[photo], self.starts[photo + 1])
        labels = (self.labels[name] for name in self.names[rows])
        boxes = PhotoBoxes.clip(self.sizes[photo], zip(labels, self.corners[rows].tolist(), strict=True))
        if photo in self.unboxed or photo in self.absent:
            return replace(boxes, unboxed=self.unboxed.get(photo, frozenset()), absent=self.absent.get(photo))
        return boxes
