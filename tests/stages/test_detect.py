"""The detect stage, called as Ray Data calls it but without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from pipeline.stages.columns import SHUFFLED, objects_from_row
from pipeline.stages.detect import DETECTED, DetectStage
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker


def test_detection_adds_sizes_and_objects(photos: pa.Table, tiny_detector: Any) -> None:
    table = DetectStage(tiny_detector, Worker(micro_batch=2), Reporter())(photos)
    assert table.column_names == [*photos.column_names, *DETECTED]
    assert {name: table.schema.field(name).type for name in DETECTED} == DETECTED
    rows = table.to_pylist()
    assert [row["error"] for row in rows] == [None, "empty file", None, "file not found", None, "not an image"]
    assert [row["width"] for row in rows] == [64, None, 64, None, 30, None]
    assert [row["objects"] and len(row["objects"]) for row in rows] == [1, None, [], None, 1, None]
    assert rows[0]["objects"][0]["label"] == "left"
    assert rows[4]["objects"][0]["x1"] == pytest.approx(0.5, abs=0.02)
    assert all((row["seconds"] or 0) > 0 for row in rows if row["error"] is None)


def test_annotated_boxes_are_looked_up_by_id(photos: pa.Table) -> None:
    class Annotated:
        def detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
            if "2.jpg" in ids:
                raise QpertError("the annotation is damaged")
            return [
                Objects.from_pixels([[0, 0, image.width / 2, image.height]], [image_id], [1.0], image.size)
                for image_id, image in zip(ids, images, strict=True)
            ]

    rows = DetectStage(lambda device: Annotated(), Worker(), Reporter())(photos).to_pylist()
    assert rows[4]["objects"] == [{"x0": 0, "y0": 0, "x1": 0.5, "y1": 1, "label": "4.jpg", "score": 1}]
    assert rows[2]["error"] == "detector: the annotation is damaged"


def test_boxes_of_other_photos_travel_in_a_column_of_their_own(photos: pa.Table) -> None:
    class Annotated:
        def detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
            others = {4: torch.tensor([[0.0, 0.25, 1.0, 1.0]])}
            return [Objects([[0, 0, 0.5, 1]], ["dog"], [1.0], image.size, "", others) for image in images]

    table = DetectStage(lambda device: Annotated(), Worker(), Reporter(), shuffled=True)(photos)
    assert table.schema.field("shuffled").type == SHUFFLED
    row = table.to_pylist()[0]
    objects = objects_from_row(row["objects"], (64, 48), "0.jpg", row["shuffled"])
    assert objects.photo == "0.jpg"
    assert objects.shuffled[4].tolist() == [[0, 0.25, 1, 1]]
    assert table["shuffled"][1].as_py() is None  # failed before
    assert "shuffled" not in DetectStage(lambda device: Annotated(), Worker(), Reporter())(photos).column_names
