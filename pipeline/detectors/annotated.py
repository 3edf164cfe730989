"""Annotated boxes in place of detected ones: from Flickr30K Entities, COCO's instances, a feature set, or the like."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pipeline.datasets.boxes.photo_boxes import Boxes
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from pipeline.method.other_photos import OtherPhotos
from pipeline.printing import printable

_log = logging.getLogger(__name__)


class AnnotatedBoxes:
    """Looks the boxes of a photo up by its id."""

    def __init__(self, path: str | Path, shuffles: Sequence[int] = ()) -> None:
        """Opens the annotations.

        Args:
            path: anything that `read_boxes` takes, such as a Flickr30K Entities folder or a COCO JSON file.
            shuffles: seeds with which every photo is given boxes of other photos as well (`Objects.shuffled`). All
                annotated photos take part, whether or not they are looked at.

        Raises:
            QpertError: it holds no annotations; or, for `shuffles`, it does not state the size of a photo.
        """
        self._boxes, self._shuffles = read_boxes(path), tuple(shuffles)
        self._others = OtherPhotos(_fractions(self._boxes)) if shuffles else None

    @classmethod
    def load(
        cls,
        config: DetectorConfig,
        device: str = "cpu",
        *,
        photos: int | None = None,
        prompts: bytes | None = None,
        shuffles: Sequence[int] = (),
    ) -> AnnotatedBoxes:
        """See `pipeline.detectors.registry.DetectorClass`."""
        if config.annotations is None:
            raise QpertError(
                "--detector annotated needs a folder or file: --detector.annotations PATH (Flickr30K Entities, COCO,"
                " or a feature set)"
            )
        return cls(config.annotations, shuffles)

    @classmethod
    def check(cls, config: DetectorConfig, *, fetch: bool = True) -> None:
        """See `pipeline.detectors.registry.DetectorClass`."""
        cls.load(config)

    def detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
        """The annotated objects of each photo; see `objects_for`."""
        return [self.objects_for(image_id, image.size) for image_id, image in zip(ids, images, strict=True)]

    def objects_for(self, image_id: str, size: tuple[int, int]) -> Objects:
        """All annotated objects of a photo, labelled by the phrase or category that names them, with score 1.

        Args:
            image_id: the photo's id; its annotation has the same file name without folder and suffix.
            size: (width, height) of the photo in pixels. The annotation may have been made on a smaller or larger copy
                if it states that copy's size.

        Returns:
            Empty if there is no annotation, or if it has no boxes.

        Raises:
            QpertError: the annotation cannot be read.
        """
        annotation = self._boxes.of(image_id)
        if annotation is None:
            return Objects.empty(size)
        annotation = annotation.within(size)
        if annotation.skipped:
            _log.warning(
                "%s: %d boxes are inverted, not numbers or outside the photo", printable(image_id), annotation.skipped
            )
        if not annotation.boxes:
            return Objects.empty(size)
        annotated = annotation.size or size
        if (annotated[0] > annotated[1]) != (size[0] > size[1]) and annotated[0] * size[1] != annotated[1] * size[0]:
            _log.warning("%s is %dx%d, but its annotation was made on %dx%d", printable(image_id), *size, *annotated)
        boxes = [box for _, box in annotation.boxes]
        placed = Objects.from_pixels(boxes, [label for label, _ in annotation.boxes], [1.0] * len(boxes), annotated)
        return Objects(placed.boxes, placed.labels, placed.scores, size, image_id, self._shuffled(image_id))

    def _shuffled(self, image_id: str) -> dict[int, Tensor]:
        """Boxes of other photos by seed."""
        if self._others is None:
            return {}
        name = self._boxes.name_of(image_id) or ""
        return {seed: torch.from_numpy(self._others.of(name, seed)) for seed in self._shuffles}


def _fractions(boxes: Boxes) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """The name and the boxes [n, 4] of every annotated photo, as fractions of its width and height."""
    for name, photo in boxes.all():
        if photo.size is None and photo.boxes:
            raise QpertError(
                f"{boxes.source} does not state the size of {name}, so its boxes cannot stand in for another photo's:"
                " --perturbation.boxes shuffled needs annotations with sizes, or an indexed feature set in their place"
            )
        edges = np.array([box for _, box in photo.boxes], np.float64).reshape(-1, 4)
        yield name, edges / [*(photo.size or (1, 1)), *(photo.size or (1, 1))]
