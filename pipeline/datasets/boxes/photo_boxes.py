"""The annotated boxes of one photo, and what every annotation format offers.

Boxes are 0-based half-open pixels, whatever the files use: the box of a whole photo of W x H pixels is (0, 0, W, H) and
has area 1. Of the supported formats only Flickr30K Entities counts from 1, so only its reader subtracts 1. Doing so for
COCO as well would give boxes at the border the coordinate -1, which indexes the far end of an array.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in 0-based half-open pixels."""


@dataclass(frozen=True)
class PhotoBoxes:
    """The annotated boxes of one photo.

    Attributes:
        size: (width, height) of the photo in pixels, or None if the annotation does not state it.
        boxes: (label, box) clipped to the photo, "" for no label; equal boxes are kept once.
        skipped: number of boxes left out: not finite, inverted, empty, or outside the photo.
        also: (label, box) with a box that is in `boxes` under another label.
        unboxed: labels of which the photo shows something without a box, such as a crowd.
        absent: labels of which the photo is known to show nothing, where the annotators looked for some labels only
            (LVIS); None: for all, so that the photo shows nothing of any label without a box.
    """

    size: tuple[int, int] | None
    boxes: tuple[tuple[str, Box], ...]
    skipped: int
    also: tuple[tuple[str, Box], ...] = ()
    unboxed: frozenset[str] = frozenset()
    absent: frozenset[str] | None = None

    @classmethod
    def clip(
        cls, size: tuple[int, int] | None, boxes: Iterable[tuple[str, Sequence[float]]], skipped: int = 0
    ) -> PhotoBoxes:
        """Clip boxes to the photo, and leave out those of which nothing remains."""
        width, height = size or (math.inf, math.inf)
        labels: dict[Box, str] = {}
        also: dict[tuple[str, Box], None] = {}
        for label, (x0, y0, x1, y1) in boxes:
            box = (max(float(x0), 0.0), max(float(y0), 0.0), min(float(x1), width), min(float(y1), height))
            if all(map(math.isfinite, (x0, y0, x1, y1))) and box[0] < box[2] and box[1] < box[3]:
                if labels.setdefault(box, label) != label:
                    also[label, box] = None
            else:
                skipped += 1
        return cls(size, tuple((label, box) for box, label in labels.items()), skipped, tuple(also))

    def within(self, size: tuple[int, int]) -> PhotoBoxes:
        """Clip to a photo of `size` (width, height), unless the annotation states a size itself."""
        if self.size:
            return self
        clipped = PhotoBoxes.clip(size, (*self.boxes, *self.also), self.skipped)
        return replace(clipped, unboxed=self.unboxed, absent=self.absent)

    def largest(self) -> dict[str, float]:
        """Area of the largest box of each label, in square pixels; NaN for one that is shown without a box."""
        areas = dict.fromkeys(sorted(self.unboxed), math.nan)
        for label, (x0, y0, x1, y1) in (*self.boxes, *self.also):
            area = (x1 - x0) * (y1 - y0)
            areas[label] = max(area, known) if (known := areas.get(label, math.nan)) == known else area
        return areas


class Boxes(Protocol):
    """The annotated boxes of a set of photos."""

    @property
    def source(self) -> Path:
        """The annotation file or folder."""
        ...

    def of(self, image_id: str) -> PhotoBoxes | None:
        """The annotated boxes of one photo; None if it is not annotated.

        Args:
            image_id: file name of the photo, with or without folders; its suffix and Unicode normal form are ignored.

        Raises:
            QpertError: the annotation cannot be read.
        """
        ...

    def name_of(self, image_id: str) -> str | None:
        """The name under which `all` yields a photo; None if it is not annotated. For `image_id` see `of`."""
        ...

    def all(self) -> Iterator[tuple[str, PhotoBoxes]]:
        """The boxes of every annotated photo, also of those without boxes, read one photo at a time.

        Annotations that cannot be read are left out.

        Yields:
            The name by which the annotations know the photo (`of` takes it; it may lack folder and suffix), and its
            boxes; in the order of the names.
        """
        ...
