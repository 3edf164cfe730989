"""Boxes of the masks of DCI: a JSON file per photo in `annotations/`, with `mask_data` and each mask's `bounds`.

The bounds are `{"topLeft": {"x", "y"}, "bottomRight": {"x", "y"}}`, or `[[x0, y0], [x1, y1]]`, in pixels. Masks of the
quality 2 are unusable by DCI's own account, and left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.datasets.boxes.collector import BoxCollector
from pipeline.datasets.json_file import first_problem, read_json
from pipeline.errors import QpertError

_UNUSABLE = 2


class _Point(BaseModel):
    model_config = ConfigDict(strict=True)

    x: float
    y: float


class _Bounds(BaseModel):
    topLeft: _Point
    bottomRight: _Point


class _Mask(BaseModel, strict=True):
    bounds: _Bounds | list[list[float]]
    label: str = ""
    mask_quality: int = 0

    def corners(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) in pixels."""
        if isinstance(self.bounds, _Bounds):
            first, last = self.bounds.topLeft, self.bounds.bottomRight
            return first.x, first.y, last.x, last.y
        (x0, y0), (x1, y1) = self.bounds
        return x0, y0, x1, y1


def collect_masks(files: list[Path], into: BoxCollector) -> None:
    """Collect the boxes of all photos.

    Raises:
        QpertError: in strict reading, a file or a mask is bad.
    """
    for path in files:
        with into.bad:
            data = read_json(path, _without_outlines, strict=into.bad.strict)
            if not isinstance(data, dict) or not isinstance(data.get("image"), str):
                raise QpertError(f"{into.path}: {path.name} names no image")
            photo = into.add_photo(data["image"], where=path.name)
            masks = data.get("mask_data")
            for key, mask in masks.items() if isinstance(masks, dict) else ():
                _add_mask(into, photo, mask, f"{path.name}, mask {key}")


def _add_mask(into: BoxCollector, photo: int, mask: Any, where: str) -> None:
    with into.bad:
        try:
            read = _Mask.model_validate(mask)
            corners = read.corners()
        except ValidationError as error:
            raise QpertError(f"{into.path}: {first_problem(error, where)}") from error
        except ValueError as error:
            raise QpertError(f"{into.path}: {where}: its bounds are not two points") from error
        if read.mask_quality != _UNUSABLE:
            into.add_box(photo, read.label, corners)


def _without_outlines(data: dict[str, Any]) -> dict[str, Any]:
    data.pop("outer_mask", None)
    return data
