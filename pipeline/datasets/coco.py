"""COCO's `captions_*.json` and `instances_*.json`.

Both have `images` (`id`, `file_name`, `width`, `height`) and `annotations` that point to them by `image_id`. A caption
is `caption`; an instance has a `category_id` and a `bbox` (x, y, width, height) in 0-based pixels, fractions and all.
Each file is one split. Other keys are ignored.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from pipeline.datasets.json_file import entries, member
from pipeline.errors import QpertError

if TYPE_CHECKING:
    from pipeline.datasets.boxes.boxes import BoxCollector
    from pipeline.datasets.captions.captions import CaptionCollector

_CAPTIONS = "COCO's captions"
_INSTANCES = "COCO's instances"

Id = int | str
FourNumbers = Annotated[list[float], Field(min_length=4, max_length=4)]


class _Image(BaseModel, strict=True):
    id: Id
    file_name: str = Field(min_length=1)
    width: float | None = None
    height: float | None = None


class _Caption(BaseModel, strict=True):
    image_id: Id
    caption: str


class _Category(BaseModel, strict=True):
    id: Id
    name: str


class _Instance(BaseModel, strict=True):
    image_id: Id
    category_id: Id
    bbox: FourNumbers
    iscrowd: int | bool = 0


def collect_coco(data: Any, into: CaptionCollector) -> None:
    """Collect the images and captions of `captions_*.json`.

    Raises:
        QpertError: the data is not of this form, or two images have one id or one file name.
    """
    names: dict[Id, str] = {}
    for number, image in enumerate(_images(data, into, _CAPTIONS)):
        names[image.id] = into.add_image(image.file_name, f"images[{number}]")
    annotations = member(data, "annotations", into.path, _CAPTIONS)
    for number, each in enumerate(entries(annotations, _Caption, into.path, _CAPTIONS, "annotations")):
        where = f"annotations[{number}]"
        if each.image_id in names:
            into.add_caption(names[each.image_id], each.caption, where)
        else:
            into.note("captions of images that are not listed are left out", f"{where} of image {each.image_id}")


def collect_instances(data: Any, into: BoxCollector) -> None:
    """Collect the photos and boxes of `instances_*.json`. Crowds are left out: their box is that of no one thing.

    Raises:
        QpertError: the data is not of this form, an instance has an unknown category, or two images have one id or
            one file name.
    """
    photos = {
        image.id: into.add_photo(image.file_name, (image.width, image.height), f"images[{number}]")
        for number, image in enumerate(_images(data, into, _INSTANCES))
    }
    categories = member(data, "categories", into.path, _INSTANCES)
    labels = {each.id: each.name for each in entries(categories, _Category, into.path, _INSTANCES, "categories")}
    annotations = member(data, "annotations", into.path, _INSTANCES)
    for number, each in enumerate(entries(annotations, _Instance, into.path, _INSTANCES, "annotations")):
        where = f"annotations[{number}]"
        if each.category_id not in labels:
            raise QpertError(f"{into.path}: {where}.category_id is {each.category_id}, which is not in categories")
        if each.image_id not in photos:
            into.note("boxes of images that are not listed are left out", f"{where} of image {each.image_id}")
        elif each.iscrowd:
            into.note("boxes of crowds are left out", where)
        else:
            x, y, width, height = each.bbox
            into.add_box(photos[each.image_id], labels[each.category_id], (x, y, x + width, y + height))


def _images(data: Any, into: CaptionCollector | BoxCollector, form: str) -> list[_Image]:
    images = list(entries(member(data, "images", into.path, form), _Image, into.path, form, "images"))
    twice = next((id for id, count in Counter(image.id for image in images).items() if count > 1), None)
    if twice is not None:
        one, other, *_ = [number for number, image in enumerate(images) if image.id == twice]
        raise QpertError(f"{into.path}: images[{other}] and images[{one}] both have the id {twice}")
    return images
