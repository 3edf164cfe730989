"""Annotated boxes in any form that people have on disk: `read_boxes(path).of(image_id)`.

Boxes are 0-based half-open pixels here, whatever they are in the files: the box of a whole photo of W x H pixels is
(0, 0, W, H) and has the area 1. Only Flickr30K Entities counts from 1, so only its reader subtracts: subtracting 1 from
COCO's boxes too would give those at the border the coordinate -1, which an array takes for its other end.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from pipeline.datasets.boxes.coco_entities import collect_detections, image_number, is_coco_entities, pack_detections
from pipeline.datasets.boxes.entities import Box, check_entities_folder, read_entity_photo
from pipeline.datasets.captions.captions import CaptionedImage
from pipeline.datasets.coco import collect_instances
from pipeline.datasets.json_file import check_text, read_json
from pipeline.datasets.names import Names
from pipeline.datasets.warnings import Notes
from pipeline.errors import QpertError

MAX_LABEL = 1000
"""Characters of the name of a class."""
_MAX_SIDE = 2**31
"""Pixels of a photo's side that an annotation may state; larger ones are taken for unknown."""

FORMS = (
    "a Flickr30K Entities folder (Annotations/*.xml and Sentences/*.txt), COCO's instances_*.json, "
    "or the release JSON of COCO Entities"
)


@dataclass(frozen=True)
class PhotoBoxes:
    """What is annotated in one photo.

    Attributes:
        size: (width, height) of the photo in pixels, or None where the annotation does not say.
        boxes: (label, (x0, y0, x1, y1)) within the photo, "" for no label; boxes that are equal are kept once.
        skipped: boxes left out: not finite, inverted or empty, or outside the photo.
    """

    size: tuple[int, int] | None
    boxes: tuple[tuple[str, Box], ...]
    skipped: int

    @classmethod
    def place(
        cls, size: tuple[int, int] | None, boxes: Iterable[tuple[str, Sequence[float]]], skipped: int = 0
    ) -> PhotoBoxes:
        """Cut boxes off at the edges of the photo, and leave out those of which nothing remains."""
        width, height = size or (math.inf, math.inf)
        placed: dict[Box, str] = {}
        for label, (x0, y0, x1, y1) in boxes:
            box = (max(float(x0), 0.0), max(float(y0), 0.0), min(float(x1), width), min(float(y1), height))
            if all(map(math.isfinite, (x0, y0, x1, y1))) and box[0] < box[2] and box[1] < box[3]:
                placed.setdefault(box, label)
            else:
                skipped += 1
        return cls(size, tuple((label, box) for box, label in placed.items()), skipped)

    def within(self, size: tuple[int, int]) -> PhotoBoxes:
        """The same in a photo of `size` (width, height), if the annotation does not say its size itself."""
        return self if self.size else PhotoBoxes.place(size, self.boxes, self.skipped)


class Boxes(Protocol):
    """The annotated boxes of a set of photos."""

    @property
    def source(self) -> Path:
        """The file or folder they come from."""
        ...

    def of(self, image_id: str) -> PhotoBoxes | None:
        """What is annotated in a photo; None where it is not annotated at all.

        Args:
            image_id: file name of the photo, with or without folders; the suffix plays no part, nor
                does the Unicode normal form.

        Raises:
            QpertError: its annotation is not readable.
        """
        ...


def read_boxes(path: str | Path) -> Boxes:
    """Open annotations. A folder costs nothing to open: its files are read when they are asked for.

    Args:
        path: a Flickr30K Entities folder, COCO's `instances_*.json` or the release JSON of COCO Entities, told apart by
            their content. COCO Entities does not say how large the photos are: see `PhotoBoxes.within`.

    Raises:
        QpertError: it is none of these, or an entry lacks something or is of the wrong type; the message names it.
    """
    path = Path(path).expanduser()
    if not path.is_file() and path.suffix.lower() != ".json":
        return EntitiesFolder(path)
    data = read_json(path, pack_detections)
    if isinstance(data, dict) and "images" in data and "annotations" in data:
        found = BoxCollector(path, lambda name: PurePosixPath(name).stem)
        collect_instances(data, found)
    elif is_coco_entities(data):
        found = BoxCollector(path, image_number)
        collect_detections(data, found)
    else:
        raise QpertError(f"{path} is in none of the forms of boxes: {FORMS}")
    return found.boxes()


def largest_areas(
    boxes: Boxes,
    captions: Sequence[CaptionedImage],
    size_of: Callable[[str], tuple[int, int] | None] | None = None,
) -> dict[str, float]:
    """Area of the largest box (fraction of the photo, exactly 1 for all of it) by image id.

    Images without a usable box are left out: no object is not an object of size 0. Warns, with counts, of images
    without an annotation, of skipped boxes and of photos of unknown size.

    Args:
        boxes: the annotations.
        captions: the images that are asked for.
        size_of: (width, height) by image id, for annotations that do not say (COCO Entities).

    Raises:
        QpertError: an annotation cannot be read, or none of the images is annotated.
    """
    areas: dict[str, float] = {}
    notes = Notes(boxes.source)
    for image in captions:
        photo = boxes.of(image.image_id)
        if photo is None:
            notes.add("captioned images are not annotated", image.image_id)
            continue
        size = photo.size or (size_of(image.image_id) if size_of else None)
        photo = photo.within(size) if size else photo
        if photo.skipped:
            notes.add("boxes are not finite, inverted, empty or outside their photo", image.image_id, photo.skipped)
        if photo.boxes and size is None:
            notes.add("images have boxes, but are of unknown size, so these have no area", image.image_id)
        elif photo.boxes and size:
            areas[image.image_id] = (
                max((x1 - x0) * (y1 - y0) for _, (x0, y0, x1, y1) in photo.boxes) / size[0] / size[1]
            )
    if captions and notes.count("captioned images are not annotated") == len(captions):
        raise QpertError(f"{boxes.source} annotates none of the captioned images, such as {captions[0].image_id}")
    notes.warn()
    return areas


class EntitiesFolder:
    """Flickr30K Entities as `Boxes`."""

    def __init__(self, folder: Path) -> None:
        self.source = check_entities_folder(folder)

    def of(self, image_id: str) -> PhotoBoxes | None:
        """See `Boxes.of`."""
        photo = read_entity_photo(self.source, PurePosixPath(image_id).stem)
        return None if photo is None else PhotoBoxes(photo.size, photo.boxes, photo.skipped)


class BoxCollector:
    """Photos and boxes as a reader finds them in a JSON file. They are packed: 48 bytes a box, not Python's 500."""

    def __init__(self, path: Path, key: Callable[[str], str]) -> None:
        """Start with no photos.

        Args:
            path: the file.
            key: what photos are known by, of an image id.
        """
        self.path = path
        self._key = key
        self._photos: dict[str, int] = {}
        self._sizes: list[tuple[int, int] | None] = []
        self._labels: dict[str, int] = {}
        self._owners, self._names, self._corners = array("q"), array("q"), array("d")
        self._notes = Notes(path)

    def add_photo(self, name: str, size: tuple[float | None, float | None] = (None, None), where: str = "") -> int:
        """Add a photo and return its number.

        Raises:
            QpertError: there is one of that name already, or there is no name.
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
        """Add a box (x0, y0, x1, y1) in 0-based half-open pixels, as it stands in the file.

        Raises:
            QpertError: the label is far too long, or not valid Unicode.
        """
        if label not in self._labels:
            check_text(label, self.path, f"the label {label[:40]!a}", MAX_LABEL)
        self._owners.append(photo)
        self._names.append(self._labels.setdefault(label, len(self._labels)))
        self._corners.extend(box)

    def note(self, what: str, where: str) -> None:
        """Count something that will be said once, with the place where it was first seen."""
        self._notes.add(what, where)

    def boxes(self) -> PackedBoxes:
        """All of it; warns of what was noted."""
        self._notes.warn()
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
        )


@dataclass(frozen=True, eq=False)
class PackedBoxes:
    """The boxes of a JSON file as `Boxes`; those of photo n are rows starts[n] to starts[n + 1]."""

    source: Path
    key: Callable[[str], str]
    photos: dict[str, int]
    sizes: list[tuple[int, int] | None]
    labels: list[str]
    starts: np.ndarray
    names: np.ndarray
    corners: np.ndarray

    @cached_property
    def known(self) -> Names:
        """What photos are known by, in any Unicode normal form."""
        return Names(self.photos)

    def of(self, image_id: str) -> PhotoBoxes | None:
        """See `Boxes.of`."""
        name = self.known.find(self.key(image_id))
        if name is None:
            return None
        photo = self.photos[name]
        rows = slice(self.starts[photo], self.starts[photo + 1])
        labels = (self.labels[name] for name in self.names[rows])
        return PhotoBoxes.place(self.sizes[photo], zip(labels, self.corners[rows].tolist(), strict=True))
