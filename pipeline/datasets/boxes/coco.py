"""Boxes in COCO's format: `instances_*.json`, and the sets that use it: LVIS, D3's `d3_*_annotations.json`, REIRCOCO.

An entry of `annotations` has an `image_id`, a `category_id` and a `bbox` (x, y, width, height) in 0-based pixels,
fractions included. Categories of LVIS are words joined by underscores, `bow_(weapon)`, which become spaces; those of D3
are whole descriptions. In REIRCOCO all boxes of a photo count, whichever of its entries they belong to.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from pipeline.datasets.boxes.collector import BoxCollector
from pipeline.datasets.coco import ById, CocoId, has_expressions, read_coco_images
from pipeline.datasets.json_file import entries, member
from pipeline.errors import QpertError

_FORM = "COCO's instances"


class _Category(BaseModel, strict=True):
    id: CocoId
    name: str
    synset: str | None = None

    @property
    def label(self) -> str:
        return self.name if self.synset is None else self.name.replace("_", " ")


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
        QpertError: the data is not in this format; or in strict reading, an entry is bad, an instance has an unknown
            category or image, or two images have the same id or file name.
    """
    bad = into.bad
    merge = has_expressions(data)
    photos: dict[CocoId, int] = {}
    absent: dict[int, list[CocoId]] = {}
    for number, image in read_coco_images(data, _FORM, bad):
        with bad:
            size = (image.width, image.height)
            photos[image.id] = into.add_photo(image.name, size, f"images[{number}]", merge=merge)
            if image.neg_category_ids is not None:
                absent[photos[image.id]] = image.neg_category_ids
    categories = entries(member(data, "categories", bad.path, _FORM), _Category, _FORM, bad, "categories")
    labels = ById({category.id: category.label for _, category in categories})
    for looked_at, ids in absent.items():
        into.add_absent(looked_at, filter(None, map(labels.get, ids)))
    bad.check()
    numbers = ById(photos)
    annotations = member(data, "annotations", bad.path, _FORM)
    for number, instance in entries(annotations, _Instance, _FORM, bad, "annotations"):
        where = f"annotations[{number}]"
        photo = numbers.get(instance.image_id)
        if photo is None:
            into.warnings.add(
                "boxes of images that are not listed are left out",
                f"{where} of image {instance.image_id}",
                error="has an image_id that is not in images",
            )
        elif instance.iscrowd:
            into.warnings.add("boxes of crowds are left out", where)
            if crowded := labels.get(instance.category_id):
                into.add_unboxed(photo, crowded)
        else:
            with bad:
                label = labels.get(instance.category_id)
                if label is None:
                    problem = f"{where}.category_id is {instance.category_id}, which is not in categories"
                    raise QpertError(f"{bad.path}: {problem}")
                x, y, width, height = instance.bbox
                into.add_box(photo, label, (x, y, x + width, y + height))
