"""Captions in COCO's format, `captions_*.json`, whose `annotations` are `{"image_id", "caption"}`; and REIRCOCO's.

COCO-Dense and Flickr-Dense of Dense-Set are files of the first form. REIRCOCO has the `expressions` of each object in
`images`, where a photo has an entry for each of its objects; here they are captions of that photo.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.coco import ById, CocoId, read_coco_images
from pipeline.datasets.json_file import entries, member
from pipeline.errors import QpertError

_FORM = "COCO's captions"
_EXPRESSIONS = "REIRCOCO's expressions"


class _Caption(BaseModel, strict=True):
    image_id: CocoId
    caption: str


def collect_coco(data: Any, into: CaptionCollector) -> None:
    """Collect the images and captions of `captions_*.json`.

    Raises:
        QpertError: the data is not in this format; or in strict reading, an entry is bad, a caption has an unknown
            image, or two images have the same id or file name.
    """
    names: dict[CocoId, str] = {}
    for number, image in read_coco_images(data, _FORM, into.bad):
        with into.bad:
            names[image.id] = into.add_image(image.name, f"images[{number}]")
    by_id = ById(names)
    annotations = member(data, "annotations", into.path, _FORM)
    for number, caption in entries(annotations, _Caption, _FORM, into.bad, "annotations"):
        where = f"annotations[{number}]"
        name = by_id.get(caption.image_id)
        if name is not None:
            with into.bad:
                into.add_caption(name, caption.caption, where)
        else:
            into.warnings.add(
                "captions of images that are not listed are left out",
                f"{where} of image {caption.image_id}",
                error="has an image_id that is not in images",
            )


def collect_expressions(data: Any, into: CaptionCollector) -> None:
    """Collect the photos of REIRCOCO, each with the expressions of all its objects.

    Raises:
        QpertError: the data is not in this format; or in strict reading, an entry is bad.
    """
    for number, image in read_coco_images(data, _EXPRESSIONS, into.bad):
        where = f"images[{number}]"
        with into.bad:
            if not isinstance(image.expressions, list):
                raise QpertError(f"{into.path} is not {_EXPRESSIONS}: {where}.expressions: should be a list")
            name = into.add_image(image.name, where, merge=True)
            for position, expression in enumerate(image.expressions):
                into.add_any_caption(name, expression, f"{where}.expressions[{position}]")
