"""Boxes of DCI's masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.boxes.photo_boxes import PhotoBoxes
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.errors import QpertError


def corners(x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    return {"topLeft": {"x": x0, "y": y0}, "bottomRight": {"x": x1, "y": y1}}


def write(root: Path, masks: dict[str, Any], name: str = "a") -> Path:
    (root / "annotations").mkdir(exist_ok=True)
    content = {"image": f"sa_{name}.jpg", "extra_caption": "long", "short_caption": "short", "mask_data": masks}
    (root / "annotations" / f"{name}.json").write_text(json.dumps(content))
    return root


def test_both_forms_of_bounds(tmp_path: Path) -> None:
    masks = {
        "0": {"bounds": corners(0, 0, 10, 20), "label": "sky", "mask_quality": 0, "outer_mask": "iVBO"},
        "1": {"bounds": [[1, 2], [3, 4.5]], "label": "tree", "mask_quality": 1},
        "2": {"bounds": [[5, 5], [9, 9]], "mask_quality": 2},
    }
    boxes = read_boxes(write(tmp_path, masks), strict=True)
    assert boxes.of("sa_a.jpg") == PhotoBoxes(None, (("sky", (0, 0, 10, 20)), ("tree", (1, 2, 3, 4.5))), 0)
    assert read_boxes(tmp_path / "annotations").of("x/sa_a.png") == boxes.of("sa_a.jpg")


def test_bad_masks_are_left_out(tmp_path: Path) -> None:
    good = {str(number): {"bounds": [[0, 0], [number, 1]], "label": "x"} for number in range(1, 6)}
    bad = {"6": {"label": "y"}, "7": 3, "8": {"bounds": [[0, 0], [1, 1], [2, 2]]}, "9": {"bounds": [[0], [1, 1]]}}
    write(tmp_path, {**good, **bad})
    with pytest.warns(UserWarning, match=r"4 entries .* left out: a\.json, mask 6\.bounds: Field required"):
        photo = read_boxes(tmp_path).of("sa_a")
    assert photo is not None
    assert len(photo.boxes) == 5
    with pytest.raises(QpertError, match=r"a\.json, mask 6\.bounds"):
        read_boxes(tmp_path, strict=True)
