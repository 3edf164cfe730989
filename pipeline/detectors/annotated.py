"""Annotated boxes in place of detected ones: Flickr30K Entities, or anything written in its form."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath

from pipeline.datasets.entities import check_entities_folder, read_entity_photo
from pipeline.objects import Objects

_log = logging.getLogger(__name__)


class AnnotatedBoxes:
    """Boxes by the photo's id. Files are read when they are asked for, so a large folder costs nothing to open."""

    def __init__(self, folder: str | Path) -> None:
        """Check the folder.

        Args:
            folder: has `Annotations/*.xml` and mostly `Sentences/*.txt`.

        Raises:
            QpertError: there are no annotations in it.
        """
        self._folder = check_entities_folder(folder)

    def objects_for(self, image_id: str, size: tuple[int, int]) -> Objects:
        """All annotated objects of a photo, labelled by the phrase that names them, with score 1.

        Args:
            image_id: the photo's id; the annotation is the one with the same file name without folder and suffix.
            size: (width, height) of the photo in pixels. The annotation may stem from a smaller or larger copy.

        Returns:
            Empty where there is no annotation or it has no boxes.

        Raises:
            QpertError: the annotation is not readable.
        """
        photo = read_entity_photo(self._folder, PurePosixPath(image_id).stem)
        if photo is None or not photo.boxes:
            return Objects.empty(size)
        annotated = photo.size or size
        if (annotated[0] > annotated[1]) != (size[0] > size[1]) and annotated[0] * size[1] != annotated[1] * size[0]:
            _log.warning("%s is %dx%d, but its annotation was made on %dx%d", image_id, *size, *annotated)
        boxes = [box for _, box in photo.boxes]
        placed = Objects.from_pixels(boxes, [label for label, _ in photo.boxes], [1.0] * len(boxes), annotated)
        return Objects(placed.boxes, placed.labels, placed.scores, size)
