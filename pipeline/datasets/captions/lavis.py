"""Captions in LAVIS' form: `flickr30k_test.json`, `coco_karpathy_val.json`, `coco_karpathy_train.json`.

A file is one split: a list of `{"image": "folder/name.jpg", "caption": ["one", "two"]}`, or in training files one entry
per caption, `{"image", "caption": "one"}`, so that an image comes several times. Other keys are ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from pipeline.datasets.json_file import entries

if TYPE_CHECKING:
    from pipeline.datasets.captions.captions import CaptionCollector


class _Entry(BaseModel, strict=True):
    image: str = Field(min_length=1)
    caption: str | list[str]


def collect_lavis(data: list[Any], into: CaptionCollector) -> None:
    """Collect all images; entries of the same image are merged.

    Raises:
        QpertError: the data is not of this form, or two images in different folders have one file name.
    """
    for number, entry in enumerate(entries(data, _Entry, into.path, "a LAVIS list of captions")):
        image_id = into.add_image(entry.image, f"[{number}]", merge=True)
        captions = [entry.caption] if isinstance(entry.caption, str) else entry.caption
        for at, caption in enumerate(captions):
            into.add_caption(image_id, caption, f"[{number}].caption" + (f"[{at}]" if len(captions) > 1 else ""))
