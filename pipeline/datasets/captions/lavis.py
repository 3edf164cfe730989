"""Captions in LAVIS's format: `flickr30k_test.json`, `coco_karpathy_val.json`, `coco_karpathy_train.json`.

A file is one split: a list of `{"image": "folder/name.jpg", "caption": ["one", "two"]}`, or in training files one entry
per caption, `{"image", "caption": "one"}`, so that an image occurs several times. Lists of DCI have `extra_caption` in
place of `caption`. Other keys are ignored.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.json_file import entries


class _Entry(BaseModel, strict=True):
    image: str = Field(min_length=1)
    caption: str | list[Any]


class _DciEntry(BaseModel, strict=True):
    image: str = Field(min_length=1)
    extra_caption: str


def collect_lavis(data: list[Any], into: CaptionCollector) -> None:
    """Collect all images; entries of the same image are merged.

    Raises:
        QpertError: in strict reading, an entry is bad, or two images in different folders have the same file name.
    """
    for number, entry in entries(data, _Entry, "a LAVIS list of captions", into.bad):
        with into.bad:
            image_id = into.add_image(entry.image, f"[{number}]", merge=True)
            captions = [entry.caption] if isinstance(entry.caption, str) else entry.caption
            for position, caption in enumerate(captions):
                suffix = f"[{position}]" if len(captions) > 1 else ""
                into.add_any_caption(image_id, caption, f"[{number}].caption{suffix}")


def is_dci(data: list[Any]) -> bool:
    """Whether the first entries are those of DCI."""
    return any(isinstance(entry, dict) and "extra_caption" in entry for entry in data[:100])


def collect_dci(data: list[Any], into: CaptionCollector) -> None:
    """Collect the images of a list of DCI, each with its long caption.

    Raises:
        QpertError: in strict reading, an entry is bad.
    """
    for number, entry in entries(data, _DciEntry, "a list of DCI", into.bad):
        with into.bad:
            image_id = into.add_image(entry.image, f"[{number}]", merge=True)
            into.add_caption(image_id, entry.extra_caption, f"[{number}].extra_caption")
