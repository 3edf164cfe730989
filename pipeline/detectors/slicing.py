"""Detection in overlapping tiles of a photo as well as in the whole photo, for objects that are small in a large photo.

The whole photo counts as one more tile. Two tiles see the same object if their boxes of one class agree in the region
that both tiles show. So a box that a border of a tile cuts is recognised as a part of the whole one, parts of an object
that no tile shows whole are joined, and the two boxes that a detector finds in one tile stay apart. A part that agrees
with a whole box of another class, which is more confident, is dropped: the tile alone showed too little to tell.

sahi has the same purpose, and merges by the overlap with the smaller box, which also merges a small object with a large
one of its class in front of or behind it; and it would bring OpenCV, Shapely and a command line of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.detectors.base import Detector
from pipeline.method.objects import Objects

OVERLAP = 0.2
"""Share of its side that a tile has in common with the next one."""
MOST_TILES = 256
"""Of one photo; larger photos are cut into larger tiles."""
PER_TILE = 100
"""Objects per tile that are merged, at most."""
_SAME = 0.5
"""Intersection over union, within what two tiles both show, from which two boxes are one object."""
_CUT = 0.01
"""Distance from the border of a tile, as a share of its side, up to which a box counts as cut by it."""

Box = tuple[float, float, float, float]
Boxes = npt.NDArray[np.float64]
"""[n, 4], x0, y0, x1, y1 in pixels of the photo."""


class SlicedDetector:
    """A detector that also looks at tiles."""

    def __init__(self, detector: Detector, side: int, most: int) -> None:
        """Wraps a detector.

        Args:
            detector: finds at least `PER_TILE` objects in a picture.
            side: of a tile, in pixels of the photo.
            most: objects per photo.
        """
        self._detector, self._side, self._most = detector, side, most

    def detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
        """The objects of each photo, the most confident first; see `pipeline.detectors.base.Detector`.

        The detector is never given more pictures at once than there are photos here, as so many fit into memory.
        """
        return [self._detect(image_id, image, len(images)) for image_id, image in zip(ids, images, strict=True)]

    def _detect(self, image_id: str, image: Image.Image, together: int) -> Objects:
        tiles = list(tiles_of(image.size, self._side))
        found: list[Objects] = []
        for start in range(0, len(tiles), together):
            crops = [image.crop(tile) for tile in tiles[start : start + together]]
            found += self._detector.detect([image_id] * len(crops), crops)
        seen = [
            Seen(number, label, score, np.array(box) * [*objects.size, *objects.size] + [*tile[:2], *tile[:2]])
            for number, (tile, objects) in enumerate(zip(tiles, found, strict=True))
            for box, label, score in zip(
                objects.boxes.double().tolist(), objects.labels, objects.scores.tolist(), strict=True
            )
        ]
        merged = merge(seen, tiles, image.size)[: self._most]
        return Objects.from_pixels(
            [one.box.tolist() for one in merged],
            [one.label for one in merged],
            [one.score for one in merged],
            image.size,
        )


@dataclass(frozen=True)
class Seen:
    """A box that was found in a tile.

    Attributes:
        tile: number of the tile.
        label: name of the class.
        score: confidence in 0..1.
        box: float64 [4] in pixels of the photo.
    """

    tile: int
    label: str
    score: float
    box: Boxes


def tiles_of(size: tuple[int, int], side: int) -> Iterator[tuple[int, int, int, int]]:
    """The whole photo, then square tiles of it if it is larger than one; left, top, right, bottom in pixels.

    Tiles overlap by at least `OVERLAP`, are spread evenly, and are at least `side` wide: wider in a photo that would
    have more than `MOST_TILES`. Along a side of the photo that is shorter they have its length.

    Args:
        size: (width, height) of the photo.
        side: of a tile.
    """
    width, height = size
    yield 0, 0, width, height
    if max(size) <= side:
        return
    across, down = _starts(width, side), _starts(height, side)
    while len(across) * len(down) > MOST_TILES:
        side += side // 4
        across, down = _starts(width, side), _starts(height, side)
    for top in down:
        for left in across:
            yield left, top, min(left + side, width), min(top + side, height)


def merge(seen: Sequence[Seen], tiles: Sequence[tuple[int, int, int, int]], size: tuple[int, int]) -> list[Seen]:
    """One box for each object, the most confident first.

    Args:
        seen: what was found in all tiles.
        tiles: left, top, right and bottom of each.
        size: (width, height) of the photo.

    Returns:
        Of each object the most confident box that no tile cuts, unchanged; if all are cut, the smallest box around
        them. Its score is the highest of them, its tile that of the first.
    """
    if not seen:
        return []
    order = sorted(range(len(seen)), key=lambda row: (-seen[row].score, *seen[row].box.tolist(), seen[row].tile))
    ranked = [seen[row] for row in order]
    boxes = np.stack([one.box for one in ranked])
    regions = np.array([tiles[one.tile] for one in ranked], dtype=float)
    places = np.array([one.tile for one in ranked])
    labels = np.array([one.label for one in ranked])
    cut = _cut(boxes, regions, size)
    free = np.ones(len(ranked), dtype=bool)
    merged: list[Seen] = []
    known: list[int] = []  # boxes of objects that some tile shows whole
    for first, leader in enumerate(ranked):
        if not free[first]:
            continue
        free[first] = False
        group = [first]
        for member in group:  # grows: parts of a long object meet those next to them
            same = free & (labels == labels[member]) & _agree(boxes[member], regions[member], boxes, regions)
            for row in np.flatnonzero(same):
                if places[row] not in places[group]:
                    free[row] = False
                    group.append(int(row))
        whole = [row for row in group if not cut[row]]
        if not whole and known and _agree(boxes[first], regions[first], boxes[known], regions[known]).any():
            continue
        known += whole[:1]
        box = boxes[whole[0]] if whole else np.concatenate([boxes[group, :2].min(0), boxes[group, 2:].max(0)])
        merged.append(Seen(leader.tile, leader.label, leader.score, box))
    return merged


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin along a side of the photo."""
    if length <= side:
        return [0]
    steps = -(-(length - side) // max(1, round(side * (1 - OVERLAP))))
    return [round(step * (length - side) / steps) for step in range(steps + 1)]


def _agree(box: Boxes, region: Boxes, boxes: Boxes, regions: Boxes) -> npt.NDArray[np.bool_]:
    """Whether a box of one tile and each box of other tiles are the same, within what both tiles show."""
    low, high = np.maximum(region[:2], regions[:, :2]), np.minimum(region[2:], regions[:, 2:])
    first = np.clip(box[:2], low, high), np.clip(box[2:], low, high)
    second = np.clip(boxes[:, :2], low, high), np.clip(boxes[:, 2:], low, high)
    shared = np.clip(np.minimum(first[1], second[1]) - np.maximum(first[0], second[0]), 0, None).prod(1)
    union = (first[1] - first[0]).prod(1) + (second[1] - second[0]).prod(1) - shared
    agree: npt.NDArray[np.bool_] = (shared > 0) & (shared >= _SAME * union) & (high > low).all(1)
    return agree


def _cut(boxes: Boxes, regions: Boxes, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Whether each box reaches a border of its tile that is not one of the photo."""
    near = _CUT * (regions[:, 2:] - regions[:, :2])
    before = (boxes[:, :2] <= regions[:, :2] + near) & (regions[:, :2] > 0)
    behind = (boxes[:, 2:] >= regions[:, 2:] - near) & (regions[:, 2:] < np.array(size))
    cut: npt.NDArray[np.bool_] = np.any(before | behind, axis=1)
    return cut
