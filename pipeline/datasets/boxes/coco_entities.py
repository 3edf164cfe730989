"""The release JSON of COCO Entities (`coco_entities_release.json`).

A file is `{image number: {caption: {"detections": {class: [[id, [x0, y0, x1, y1]], ...]}, "split", ...}}}` with boxes
in 0-based pixels. Which box goes with which caption plays no part here: a photo has the boxes of all its captions.
Source: Cornia, Baraldi and Cucchiara, "Show, Control and Tell", CVPR 2019.
"""

from __future__ import annotations

from array import array
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, Strict, TypeAdapter, ValidationError

from pipeline.datasets.json_file import drop_bulk, first_problem
from pipeline.errors import QpertError

if TYPE_CHECKING:
    from pipeline.datasets.boxes.boxes import BoxCollector

_Corners = Annotated[list[Annotated[float, Strict()]], Field(min_length=4, max_length=4)]
_DETECTIONS = TypeAdapter(dict[str, list[tuple[Any, _Corners]]])
"""A list passes for a tuple here; a string does not pass for a number."""


def pack_detections(entry: dict[str, Any]) -> dict[str, Any]:
    """Of the entry of a caption keep only the boxes, by class and packed; anything else loses only its bulk.

    Python's lists for the half million captions of a release would take gigabytes. What is not as it should be stays,
    so that `collect_detections`, which knows where it is, can say so.
    """
    if "detections" not in entry:
        return drop_bulk(entry)
    try:
        found = _DETECTIONS.validate_python(entry["detections"])
    except ValidationError:
        return {"detections": entry["detections"]}
    return {"detections": {label: _flat(boxes) for label, boxes in found.items()}}


def is_coco_entities(data: Any) -> bool:
    """Whether this is an object whose keys are image numbers."""
    return isinstance(data, dict) and any(key.isascii() and key.isdecimal() for key in data)


def image_number(name: str) -> str:
    """The number at the end of a file name's stem: COCO_val2014_000000391895.jpg -> 391895; "" if there is none."""
    stem = PurePosixPath(name).stem
    digits = stem[len(stem.rstrip("0123456789")) :]
    return digits.lstrip("0") or digits[:1]


def collect_detections(data: dict[str, Any], into: BoxCollector) -> None:
    """Collect photos and boxes from data that was read through `pack_detections`.

    Raises:
        QpertError: the data is not of this form; the message names image and caption.
    """
    for number, (key, captions) in enumerate(data.items()):
        if not (key.isascii() and key.isdecimal()):
            raise _problem(into, f"[{key[:40]!r}] is not the number of an image")
        if not isinstance(captions, dict):
            raise _problem(into, f"[{key[:40]}]: should be an object of captions")
        photo = into.add_photo(key, where=f"images[{number}]")
        for caption, entry in captions.items():
            where = f"[{key[:40]}][{caption[:60]!r}]"
            if not isinstance(entry, dict) or "detections" not in entry:
                raise _problem(into, f"{where}.detections: Field required")
            for label, boxes in _packed(entry["detections"], into, where).items():
                for start in range(0, len(boxes), 4):
                    into.add_box(photo, label, boxes[start : start + 4])


def _packed(detections: Any, into: BoxCollector, where: str) -> dict[str, array[float]]:
    if isinstance(detections, dict) and all(isinstance(boxes, array) for boxes in detections.values()):
        return detections
    try:
        _DETECTIONS.validate_python(detections)
    except ValidationError as error:
        raise _problem(into, first_problem(error, f"{where}.detections")) from error
    raise AssertionError("what can be validated has been packed")


def _flat(boxes: list[tuple[Any, list[float]]]) -> array[float]:
    return array("d", [edge for _, corners in boxes for edge in corners])


def _problem(into: BoxCollector, what: str) -> QpertError:
    return QpertError(f"{into.path} is not a release of COCO Entities: {what}")
