"""The area of the largest annotated box of each photo, by which retrieval is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pipeline.datasets.boxes.photo_boxes import Boxes
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.warnings import CountedWarnings
from pipeline.errors import QpertError


def any_annotated(boxes: Boxes, image_ids: Iterable[str]) -> bool:
    """Whether one of these photos is annotated, be it by an annotation that cannot be read."""
    for image_id in image_ids:
        try:
            photo = boxes.of(image_id)
        except QpertError:
            return True
        if photo is not None:
            return True
    return False


_NOT_ANNOTATED = "captioned images are not annotated"


def largest_areas(
    boxes: Boxes,
    captions: Sequence[CaptionedImage],
    size_of: Callable[[str], tuple[int, int] | None] | None = None,
    *,
    strict: bool = False,
) -> dict[str, float]:
    """Map image ids to the area of the largest box, as a fraction of the photo (exactly 1 for a box of all of it).

    Images without a usable box are left out: no object is not the same as an object of size 0. Counted warnings tell of
    images without an annotation, of skipped boxes and of photos of unknown size.

    Args:
        boxes: the annotations.
        captions: the images to look up.
        size_of: (width, height) by image id, for annotations that do not state it (COCO Entities).
        strict: an annotation that cannot be read is an error.

    Raises:
        QpertError: none of the images is annotated; or an annotation cannot be read, if `strict`.
    """
    areas: dict[str, float] = {}
    warnings = CountedWarnings(boxes.source, named=3)
    for image in captions:
        try:
            photo = boxes.of(image.image_id)
        except QpertError as error:
            if strict:
                raise
            warnings.add("annotations cannot be read", str(error))
            continue
        if photo is None:
            warnings.add(_NOT_ANNOTATED, image.image_id)
            continue
        size = photo.size or (size_of(image.image_id) if size_of else None)
        photo = photo.within(size) if size else photo
        if photo.skipped:
            warnings.add("boxes are not finite, inverted, empty or outside their photo", image.image_id, photo.skipped)
        if photo.boxes and size is None:
            warnings.add("images have boxes but no known size, so their boxes have no area", image.image_id)
        elif photo.boxes and size:
            areas[image.image_id] = (
                max((x1 - x0) * (y1 - y0) for _, (x0, y0, x1, y1) in photo.boxes) / size[0] / size[1]
            )
    if captions and warnings.count(_NOT_ANNOTATED) == len(captions):
        raise QpertError(f"{boxes.source} annotates none of the captioned images, such as {captions[0].image_id}")
    warnings.warn()
    return areas
