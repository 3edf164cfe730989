"""Annotated boxes in place of detected ones: from Flickr30K Entities, COCO's instances, COCO Entities, or the like."""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline.datasets.boxes.boxes import read_boxes
from pipeline.method.objects import Objects
from pipeline.printing import printable

_log = logging.getLogger(__name__)


class AnnotatedBoxes:
    """Boxes by the photo's id."""

    def __init__(self, path: str | Path) -> None:
        """Open the annotations.

        Args:
            path: any that `read_boxes` takes: a Flickr30K Entities folder or a COCO JSON file.

        Raises:
            QpertError: there are no annotations in it.
        """
        self._boxes = read_boxes(path)

    def objects_for(self, image_id: str, size: tuple[int, int]) -> Objects:
        """All annotated objects of a photo, labelled by the phrase or category that names them, with score 1.

        Args:
            image_id: the photo's id; the annotation is the one with the same file name without folder and suffix.
            size: (width, height) of the photo in pixels. The annotation may stem from a smaller or larger copy, if
                it says how large that was.

        Returns:
            Empty where there is no annotation or it has no boxes.

        Raises:
            QpertError: the annotation is not readable.
        """
        photo = self._boxes.of(image_id)
        if photo is None:
            return Objects.empty(size)
        photo = photo.within(size)
        if photo.skipped:
            _log.warning(
                "%s: %d boxes are inverted, not numbers or outside the photo", printable(image_id), photo.skipped
            )
        if not photo.boxes:
            return Objects.empty(size)
        annotated = photo.size or size
        if (annotated[0] > annotated[1]) != (size[0] > size[1]) and annotated[0] * size[1] != annotated[1] * size[0]:
            _log.warning("%s is %dx%d, but its annotation was made on %dx%d", printable(image_id), *size, *annotated)
        boxes = [box for _, box in photo.boxes]
        placed = Objects.from_pixels(boxes, [label for label, _ in photo.boxes], [1.0] * len(boxes), annotated)
        return Objects(placed.boxes, placed.labels, placed.scores, size)
