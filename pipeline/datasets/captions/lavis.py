"""Captions in LAVIS's format: `flickr30k_test.json`, `coco_karpathy_val.json`, `coco_karpathy_train.json`.

A file is one split: a list of `{"image": "folder/name.jpg", "caption": ["one", "two"]}`, or in training files one entry
per caption, `{"image", "caption": "one"}`, so that an image occurs several times. Other keys are ignored.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.json_file import entries


class _Entry(BaseModel, strict=True):
    image: str = Field(min_length=1)
    caption: str | list[str]


def collect_lavis(data: list[Any], into: CaptionCollector) -> None:
    """Collect all images; entries of the same image are merged.

    Raises:
        QpertError: the data is not in this format, or two images in different folders have the same file name.
    """
    for number, entry in enumerate(entries(data, _Entry, into.path, "a LAVIS list of captions")):
        image_id = into.add_image(entry.image, f"[{number}]", merge=True)
        captions = [entry.caption] if isinstance(entry.caption, str) else entry.caption
        for position, caption in enumerate(captions):
            suffix = f"[{position}]" if len(captions) > 1 else ""
            into.add_caption(image_id, caption, f"[{number}].caption{suffix}")
