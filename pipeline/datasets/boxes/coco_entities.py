"""The release JSON of COCO Entities (`coco_entities_release.json`).

A file is `{image number: {caption: {"detections": {class: [[id, [x0, y0, x1, y1]], ...]}, "split", ...}}}` with boxes
in 0-based pixels. Which box belongs to which caption is ignored: a photo gets the boxes of all its captions.
Source: Cornia, Baraldi and Cucchiara, "Show, Control and Tell", CVPR 2019.
"""

from __future__ import annotations

from array import array
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import Field, Strict, TypeAdapter, ValidationError

from pipeline.datasets.boxes.collector import BoxCollector
from pipeline.datasets.json_file import drop_bulk, first_problem
from pipeline.errors import QpertError

_Corners = Annotated[list[Annotated[float, Strict()]], Field(min_length=4, max_length=4)]
_DETECTIONS = TypeAdapter(dict[str, list[tuple[Any, _Corners]]])
"""Accepts a list as a tuple, but not a string as a number."""


def pack_detections(entry: dict[str, Any]) -> dict[str, Any]:
    """Reduce a caption's entry to its boxes, packed by class; drop only the bulk of any other object.

    As Python lists, the half million captions of a release would take gigabytes. Malformed entries are kept, so that
    `collect_detections`, which knows their place in the file, can report them.
    """
    if "detections" not in entry:
        return drop_bulk(entry)
    try:
        detections = _DETECTIONS.validate_python(entry["detections"])
    except ValidationError:
        return {"detections": entry["detections"]}
    return {"detections": {label: _flat(boxes) for label, boxes in detections.items()}}


def is_coco_entities(data: Any) -> bool:
    """Whether this is an object whose keys are image numbers."""
    return isinstance(data, dict) and any(key.isascii() and key.isdecimal() for key in data)


def image_number(name: str) -> str:
    """The number at the end of a file name's stem: COCO_val2014_000000391895.jpg -> 391895; "" without a number."""
    stem = PurePosixPath(name).stem
    digits = stem[len(stem.rstrip("0123456789")) :]
    return digits.lstrip("0") or digits[:1]


def collect_detections(data: dict[str, Any], into: BoxCollector) -> None:
    """Collect photos and boxes from data that was read through `pack_detections`.

    Raises:
        QpertError: in strict reading, an entry is bad; the message names image and caption.
    """
    for number, (key, captions) in enumerate(data.items()):
        with into.bad:
            if not (key.isascii() and key.isdecimal()):
                raise _problem(into, f"[{key[:40]!r}] is not the number of an image")
            if not isinstance(captions, dict):
                raise _problem(into, f"[{key[:40]}]: should be an object of captions")
            photo = into.add_photo(key, where=f"images[{number}]")
            for caption, entry in captions.items():
                _add_caption(into, photo, entry, f"[{key[:40]}][{caption[:60]!r}]")


def _add_caption(into: BoxCollector, photo: int, entry: Any, where: str) -> None:
    with into.bad:
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
    raise AssertionError("valid detections have been packed already")


def _flat(boxes: list[tuple[Any, list[float]]]) -> array[float]:
    return array("d", [edge for _, corners in boxes for edge in corners])


def _problem(into: BoxCollector, what: str) -> QpertError:
    return QpertError(f"{into.path} is not a release of COCO Entities: {what}")
