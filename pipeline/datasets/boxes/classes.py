"""Which photos show which class of objects, for queries that are the names of classes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.datasets.boxes.photo_boxes import Boxes
from pipeline.errors import QpertError

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassPhotos:
    """The photos of a gallery by what they show, numbered in the order of the gallery.

    Attributes:
        gallery: ids of the photos that are annotated.
        names: the same photos' names in the annotations.
        classes: the classes of which a photo shows something, sorted.
        shown: for each class, the photos that show it, ascending.
        areas: for each class and each of these photos, the area of its largest box of the class, as a fraction of the
            photo; NaN where there is no box, or the photo has no known size.
        absent: for each class, the photos known not to show it, ascending; None: all that do not show it.
    """

    gallery: tuple[str, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    shown: tuple[Ints, ...]
    areas: tuple[npt.NDArray[np.float64], ...]
    absent: tuple[Ints, ...] | None

    def others(self, number: int) -> int:
        """How many photos are known not to show the class."""
        return len(self.gallery) - len(self.shown[number]) if self.absent is None else len(self.absent[number])


def photos_by_class(
    boxes: Boxes, image_ids: Sequence[str], size_of: Callable[[str], tuple[int, int] | None]
) -> ClassPhotos:
    """Looks every photo up in the annotations.

    Where the annotators looked for some classes only (`PhotoBoxes.absent`), a photo without a box of a class counts as
    one without the class only if they looked for it in vain.

    Args:
        boxes: the annotations.
        image_ids: the photos; those that are not annotated are left out of the gallery.
        size_of: (width, height) by image id, for annotations that do not state it.

    Raises:
        QpertError: no photo is annotated, two photos have the same annotation, an annotation cannot be read, or none
            has a label.
    """
    gallery: list[str] = []
    owners: dict[str, str] = {}
    shown: dict[str, array[int]] = {}
    areas: dict[str, array[float]] = {}
    absent: dict[str, array[int]] = {}
    looked_for_some = False
    for image_id in image_ids:
        photo, name = boxes.of(image_id), boxes.name_of(image_id)
        if photo is None or name is None:
            continue
        if owners.setdefault(name, image_id) != image_id:
            raise QpertError(f"{name} of {boxes.source} fits two photos of the features: {owners[name]} and {image_id}")
        number = len(gallery)
        gallery.append(image_id)
        size = photo.size or size_of(image_id)
        photo = photo.within(size) if size else photo
        for label, area in photo.largest().items():
            if label:
                shown.setdefault(label, array("q")).append(number)
                areas.setdefault(label, array("d")).append(area / (size[0] * size[1]) if size else np.nan)
        looked_for_some |= photo.absent is not None
        for label in photo.absent or ():
            absent.setdefault(label, array("q")).append(number)
    if not gallery:
        raise QpertError(f"{boxes.source} annotates none of the photos, such as {next(iter(image_ids), 'none')}")
    classes = tuple(sorted(shown))
    if not classes:
        raise QpertError(f"the boxes of {boxes.source} have no labels, which could be queries")
    return ClassPhotos(
        tuple(gallery),
        tuple(owners),
        classes,
        tuple(np.array(shown[name], np.int64) for name in classes),
        tuple(np.array(areas[name], np.float64) for name in classes),
        tuple(np.array(absent.get(name, ()), np.int64) for name in classes) if looked_for_some else None,
    )
