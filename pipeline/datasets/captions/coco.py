"""Captions in COCO's format: `captions_*.json`, whose `annotations` are `{"image_id", "caption"}`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.coco import CocoId, read_coco_images
from pipeline.datasets.json_file import entries, member

_FORM = "COCO's captions"


class _Caption(BaseModel, strict=True):
    image_id: CocoId
    caption: str


def collect_coco(data: Any, into: CaptionCollector) -> None:
    """Collect the images and captions of `captions_*.json`.

    Raises:
        QpertError: the data is not in this format, or two images have the same id or file name.
    """
    names: dict[CocoId, str] = {}
    for number, image in enumerate(read_coco_images(data, into.path, _FORM)):
        names[image.id] = into.add_image(image.file_name, f"images[{number}]")
    annotations = member(data, "annotations", into.path, _FORM)
    for number, caption in enumerate(entries(annotations, _Caption, into.path, _FORM, "annotations")):
        where = f"annotations[{number}]"
        if caption.image_id in names:
            into.add_caption(names[caption.image_id], caption.caption, where)
        else:
            into.warnings.add(
                "captions of images that are not listed are left out", f"{where} of image {caption.image_id}"
            )
