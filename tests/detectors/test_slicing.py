"""Tiles, and one box for each object that is seen in several of them, with a detector of known boxes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.detectors import DetectorConfig, check_detector, load_detector
from pipeline.detectors.slicing import MOST_TILES, OVERLAP, Seen, SlicedDetector, merge, tiles_of
from pipeline.errors import QpertError
from pipeline.method.objects import Objects

Drawn = tuple[int, int, int, int, str]
"""A rectangle in pixels of the photo, and its class."""


class KnownBoxes:
    """Finds the drawn rectangles that a picture shows, as far as it shows them; too small ones only in tiles.

    The place of a crop is read from its first pixel, which holds x and y.
    """

    def __init__(self, drawn: Sequence[Drawn], smallest: float = 0.0) -> None:
        self.drawn, self.smallest = drawn, smallest
        self.calls: list[int] = []

    def detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
        self.calls.append(len(images))
        return [self._of(image) for image in images]

    def _of(self, image: Image.Image) -> Objects:
        red, green, blue = image.getpixel((0, 0))  # type: ignore[misc]
        left, top = 10 * red + blue // 16, 10 * green + blue % 16
        boxes, labels, scores = [], [], []
        for x0, y0, x1, y1, label in self.drawn:
            box = [
                max(x0 - left, 0), max(y0 - top, 0), min(x1 - left, image.width), min(y1 - top, image.height),
            ]  # fmt: skip
            shown = max(box[2] - box[0], 0) * max(box[3] - box[1], 0)
            if shown > 0.1 * (x1 - x0) * (y1 - y0) and shown > self.smallest * image.width * image.height:
                boxes.append([float(value) for value in box])
                labels.append(label)
                scores.append(0.5 + 0.4 * shown / ((x1 - x0) * (y1 - y0)))
        return Objects.from_pixels(boxes, labels, scores, image.size)


def photo(width: int, height: int) -> Image.Image:
    """Each pixel tells its place, so that a crop can be recognised."""
    pixels = bytearray()
    for y in range(height):
        for x in range(width):
            pixels += bytes((x // 10, y // 10, x % 10 * 16 + y % 10))
    return Image.frombytes("RGB", (width, height), bytes(pixels))


@pytest.mark.parametrize("size", [(1000, 700), (641, 640), (3000, 200), (640, 1281)])
def test_tiles_cover_the_photo_and_overlap(size: tuple[int, int]) -> None:
    whole, *tiles = tiles_of(size, 640)
    assert whole == (0, 0, *size)
    for axis, length in enumerate(size):
        edges = sorted({(tile[axis], tile[axis + 2]) for tile in tiles})
        assert edges[0][0] == 0
        assert edges[-1][1] == length
        assert all(end - start == min(640, length) for start, end in edges)
        assert all(before[1] - after[0] >= round(640 * OVERLAP) - 1 for before, after in pairwise(edges))


def test_small_photos_have_no_tiles_and_huge_ones_larger_tiles() -> None:
    assert list(tiles_of((640, 480), 640)) == [(0, 0, 640, 480)]
    tiles = list(tiles_of((20000, 20000), 64))
    assert 100 < len(tiles) <= MOST_TILES + 1
    assert tiles[-1][2:] == (20000, 20000)


DRAWN: list[Drawn] = [
    (20, 30, 40, 44, "bird"),  # within one tile
    (150, 20, 170, 50, "bird"),  # in the overlap of two
    (190, 100, 215, 120, "dog"),  # cut by a border of the first, whole in the second
    (10, 150, 390, 190, "train"),  # longer than a tile
    (250, 250, 262, 258, "bird"),  # side by side with the next, within one tile
    (260, 250, 272, 258, "bird"),
    (190, 200, 260, 240, "dog"),  # overlaps the train's tiles, another class than the next
    (195, 205, 255, 238, "cat"),
]


def test_every_object_once_where_it_is() -> None:
    size = (400, 300)
    detector = KnownBoxes(DRAWN)
    (objects,) = SlicedDetector(detector, 200, 50).detect(["a"], [photo(*size)])
    found = sorted(
        (*(box * torch.tensor([*size, *size])).tolist(), label)
        for box, label in zip(objects.boxes, objects.labels, strict=True)
    )
    for seen, drawn in zip(found, sorted(map(tuple, DRAWN)), strict=True):
        assert seen[:4] == pytest.approx(drawn[:4], abs=1e-3)
        assert seen[4] == drawn[4]
    assert objects.scores.tolist() == sorted(objects.scores.tolist(), reverse=True)
    assert objects.size == size


def test_parts_are_joined_where_no_tile_shows_the_whole() -> None:
    """As when a detector overlooks a long thin object in the whole photo."""

    class TilesOnly(KnownBoxes):
        def _of(self, image: Image.Image) -> Objects:
            return Objects.empty(image.size) if image.width == 400 else super()._of(image)

    (objects,) = SlicedDetector(TilesOnly(DRAWN), 200, 50).detect(["a"], [photo(400, 300)])
    train = [box for box, label in zip(objects.boxes.tolist(), objects.labels, strict=True) if label == "train"]
    assert len(train) == 1
    assert train[0] == pytest.approx([10 / 400, 150 / 300, 390 / 400, 190 / 300], abs=1e-5)


def test_a_part_is_not_taken_for_something_else() -> None:
    """A cat, of which the left tile shows a half that passes for a dog; the dog beside it is whole."""
    tiles = [(0, 0, 300, 200), (0, 0, 160, 200), (140, 0, 300, 200)]
    seen = [
        Seen(0, "cat", 0.8, np.array([40.0, 20, 260, 180])),
        Seen(1, "dog", 0.6, np.array([41.0, 20, 160, 178])),
        Seen(1, "dog", 0.5, np.array([5.0, 100, 60, 180])),
        Seen(2, "fox", 0.9, np.array([140.0, 20, 260, 180])),
    ]
    found = [(one.label, one.score) for one in merge(seen, tiles, (300, 200))]
    assert found == [("fox", 0.9), ("cat", 0.8), ("dog", 0.5)]  # what is more confident than the whole stays


def test_small_objects_are_found_by_the_tiles_alone() -> None:
    image = photo(400, 300)
    detector = KnownBoxes(DRAWN, smallest=0.004)  # of 120,000 pixels: 480
    (whole,) = detector.detect(["a"], [image])
    (objects,) = SlicedDetector(detector, 100, 50).detect(["a"], [image])
    assert whole.labels.count("bird") == 1  # the one of 600 pixels
    assert objects.labels.count("bird") == 4


def test_photos_do_not_depend_on_each_other() -> None:
    images = [photo(400, 300), photo(150, 100), photo(300, 500)]
    detector = KnownBoxes(DRAWN)
    sliced = SlicedDetector(detector, 200, 50)
    together = sliced.detect(["a", "b", "c"], images)
    assert max(detector.calls) == 3  # never more pictures at once than photos
    for image, objects in zip(images, together, strict=True):
        (alone,) = sliced.detect(["x"], [image])
        torch.testing.assert_close(objects.boxes, alone.boxes, atol=0, rtol=0)
        assert objects.labels == alone.labels


def test_the_most_confident_are_kept_and_nothing_is_fine() -> None:
    image = photo(400, 300)
    everything = SlicedDetector(KnownBoxes(DRAWN), 200, 50).detect(["a"], [image])[0]
    few = SlicedDetector(KnownBoxes(DRAWN), 200, 3).detect(["a"], [image])[0]
    torch.testing.assert_close(few.boxes, everything.boxes[:3])
    assert len(SlicedDetector(KnownBoxes([]), 200, 3).detect(["a"], [image])[0]) == 0


@pytest.mark.skipif(find_spec("ultralytics") is None, reason="the bundled detector needs it")
def test_slices_of_the_registry() -> None:
    detector = load_detector(DetectorConfig(slices=96, max_objects=2))
    assert isinstance(detector, SlicedDetector)
    (objects,) = detector.detect(["a"], [Image.new("RGB", (300, 200), "navy")])
    assert objects.size == (300, 200)
    for model in ("none", "annotated"):
        with pytest.raises(QpertError, match="--slices is for detection models"):
            check_detector(DetectorConfig(model=model, slices=320))
