"""What COCO's `captions_*.json` and `instances_*.json` have in common: ids and the list of images.

Both have `images` (`id`, `file_name`, `width`, `height`) and `annotations` that refer to them by `image_id`. Each file
is one split. Other keys are ignored. LVIS has `coco_url` in place of `file_name`; REIRCOCO has an entry of `images` for
each object, with its `expressions`, so that photos occur several times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from pipeline.datasets.bad_entries import BadEntries
from pipeline.datasets.json_file import entries, member
from pipeline.errors import QpertError

CocoId = int | str
Value = TypeVar("Value")


class CocoImage(BaseModel, strict=True):
    """An entry of `images`; width and height in pixels."""

    id: CocoId
    file_name: str = Field(default="", validate_default=False, min_length=1)
    coco_url: str | None = None
    width: float | None = None
    height: float | None = None
    neg_category_ids: list[CocoId] | None = None
    """LVIS: the categories that the annotators looked for in vain; of the others without a box nothing is known."""
    expressions: Any = None

    @property
    def name(self) -> str:
        """The file's name or path; "" if the entry has neither a name nor a URL."""
        return self.file_name or urlsplit(self.coco_url or "").path.lstrip("/")


class ById(Generic[Value]):
    """Values by id, which one list may write as a number and another as text: 139 and "139" are the same unless both
    are ids of their own.
    """

    def __init__(self, values: Mapping[CocoId, Value]) -> None:
        self._values = values
        self._as_text: dict[str, CocoId | None] = {}
        for key in values:
            text = str(key)
            self._as_text[text] = None if text in self._as_text else key

    def get(self, key: CocoId) -> Value | None:
        """The value of an id; None if there is none."""
        if key in self._values:
            return self._values[key]
        other = self._as_text.get(str(key))
        return None if other is None else self._values[other]


def is_coco(data: Any) -> bool:
    """Whether this is a JSON object with the two lists that COCO's files share."""
    return isinstance(data, dict) and "images" in data and "annotations" in data


def has_expressions(data: Any) -> bool:
    """Whether entries of `images` have REIRCOCO's expressions."""
    images = data.get("images") if isinstance(data, dict) else None
    return isinstance(images, list) and any(
        isinstance(image, dict) and "expressions" in image for image in images[:100]
    )


def read_coco_images(data: Any, form: str, bad: BadEntries) -> Iterator[tuple[int, CocoImage]]:
    """Check the list `images` of the file `bad.path`.

    Args:
        data: content of the file.
        form: what the file should be, such as "COCO's captions"; named in errors.
        bad: counts entries that are malformed or repeat an id.

    Yields:
        The number of an entry, and the entry.

    Raises:
        QpertError: the list is missing; or an entry is bad, in strict reading.
    """
    first: dict[CocoId, int] = {}
    for number, image in entries(member(data, "images", bad.path, form), CocoImage, form, bad, "images"):
        repeated = first.setdefault(image.id, number)
        if image.name and repeated == number:
            yield number, image
            continue
        with bad:
            if repeated != number:
                raise QpertError(f"{bad.path}: images[{number}] and images[{repeated}] both have the id {image.id}")
            raise QpertError(f"{bad.path} is not {form}: images[{number}].file_name: Field required")
    bad.check()
