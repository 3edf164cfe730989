"""What COCO's `captions_*.json` and `instances_*.json` have in common: ids and the list of images.

Both have `images` (`id`, `file_name`, `width`, `height`) and `annotations` that refer to them by `image_id`. Each file
is one split. Other keys are ignored.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from pipeline.datasets.json_file import entries, member
from pipeline.errors import QpertError

CocoId = int | str


class CocoImage(BaseModel, strict=True):
    """An entry of `images`; width and height in pixels."""

    id: CocoId
    file_name: str = Field(min_length=1)
    width: float | None = None
    height: float | None = None
    neg_category_ids: list[CocoId] | None = None
    """LVIS: the categories that the annotators looked for in vain; of the others without a box nothing is known."""


def is_coco(data: Any) -> bool:
    """Whether this is a JSON object with the two lists that COCO's files share."""
    return isinstance(data, dict) and "images" in data and "annotations" in data


def read_coco_images(data: Any, path: Path, form: str) -> list[CocoImage]:
    """Check the list `images` of the file `path`.

    Args:
        data: content of the file.
        path: named in errors.
        form: what the file should be, such as "COCO's captions"; named in errors.

    Raises:
        QpertError: the list is missing or malformed, or two images have the same id.
    """
    images = list(entries(member(data, "images", path, form), CocoImage, path, form, "images"))
    repeated = next((id for id, count in Counter(image.id for image in images).items() if count > 1), None)
    if repeated is not None:
        first, second, *_ = [number for number, image in enumerate(images) if image.id == repeated]
        raise QpertError(f"{path}: images[{second}] and images[{first}] both have the id {repeated}")
    return images
