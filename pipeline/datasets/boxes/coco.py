"""Boxes in COCO's format: `instances_*.json`.

An entry of `annotations` has an `image_id`, a `category_id` and a `bbox` (x, y, width, height) in 0-based pixels,
fractions included.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from pipeline.datasets.boxes.collector import BoxCollector
from pipeline.datasets.coco import CocoId, read_coco_images
from pipeline.datasets.json_file import entries, member
from pipeline.errors import QpertError

_FORM = "COCO's instances"


class _Category(BaseModel, strict=True):
    id: CocoId
    name: str


class _Instance(BaseModel, strict=True):
    image_id: CocoId
    category_id: CocoId
    bbox: Annotated[list[float], Field(min_length=4, max_length=4)]
    iscrowd: int | bool = 0


def collect_instances(data: Any, into: BoxCollector) -> None:
    """Collect the photos and boxes of `instances_*.json`. Crowds are left out: their box is not that of one object.

    LVIS looked for some categories in each photo only: those with boxes, and the `neg_category_ids`, of which the photo
    shows nothing.

    Raises:
        QpertError: the data is not in this format, an instance has an unknown category, or two images have the same id
            or file name.
    """
    photos: dict[CocoId, int] = {}
    absent: dict[int, list[CocoId]] = {}
    for number, image in enumerate(read_coco_images(data, into.path, _FORM)):
        photos[image.id] = into.add_photo(image.file_name, (image.width, image.height), f"images[{number}]")
        if image.neg_category_ids is not None:
            absent[photos[image.id]] = image.neg_category_ids
    categories = entries(member(data, "categories", into.path, _FORM), _Category, into.path, _FORM, "categories")
    labels = {category.id: category.name for category in categories}
    for photo, ids in absent.items():
        into.add_absent(photo, (labels[category] for category in ids if category in labels))
    annotations = member(data, "annotations", into.path, _FORM)
    for number, instance in enumerate(entries(annotations, _Instance, into.path, _FORM, "annotations")):
        where = f"annotations[{number}]"
        if instance.category_id not in labels:
            raise QpertError(f"{into.path}: {where}.category_id is {instance.category_id}, which is not in categories")
        if instance.image_id not in photos:
            into.warnings.add(
                "boxes of images that are not listed are left out", f"{where} of image {instance.image_id}"
            )
        elif instance.iscrowd:
            into.warnings.add("boxes of crowds are left out", where)
            into.add_unboxed(photos[instance.image_id], labels[instance.category_id])
        else:
            x, y, width, height = instance.bbox
            into.add_box(photos[instance.image_id], labels[instance.category_id], (x, y, x + width, y + height))
