"""Annotated boxes by photo id."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.detectors.annotated import AnnotatedBoxes
from pipeline.errors import QpertError

XML = """<annotation><filename>a.b.jpg</filename><size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>7</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>200</xmax><ymax>100</ymax></bndbox></object>
<object><name>8</name><bndbox><xmin>51</xmin><ymin>26</ymin><xmax>100</xmax><ymax>50</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def boxes(tmp_path: Path) -> AnnotatedBoxes:
    for name, text in {"a.b": XML, "none": "<annotation/>", "broken": "<annotation>"}.items():
        path = tmp_path / "Annotations" / f"{name}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "Sentences").mkdir()
    (tmp_path / "Sentences" / "a.b.txt").write_text("[/EN#7/scene A field] with [/EN#8/animals a small dog] .\n")
    return AnnotatedBoxes(tmp_path)


def test_boxes_are_found_by_stem_and_normalised(boxes: AnnotatedBoxes) -> None:
    objects = boxes.objects_for("some/folder/a.b.jpg", (200, 100))
    torch.testing.assert_close(objects.boxes, torch.tensor([[0.0, 0, 1, 1], [0.25, 0.25, 0.5, 0.5]]))
    torch.testing.assert_close(objects.areas, torch.tensor([1.0, 0.0625]))
    assert objects.labels == ("A field", "a small dog")
    assert objects.scores.tolist() == [1.0, 1.0]


def test_every_photo_of_a_batch_gets_the_boxes_of_its_own_id(boxes: AnnotatedBoxes) -> None:
    images = [Image.new("RGB", size) for size in ((100, 50), (10, 20), (200, 100))]
    batch = boxes.detect(["a.b.png", "none.jpg", "a.b.jpg"], images)
    assert [len(objects) for objects in batch] == [2, 0, 2]
    assert [objects.size for objects in batch] == [image.size for image in images]


def test_a_resized_copy_has_the_same_fractions(boxes: AnnotatedBoxes, caplog: pytest.LogCaptureFixture) -> None:
    half = boxes.objects_for("a.b.png", (100, 50))
    assert half.size == (100, 50)
    torch.testing.assert_close(half.boxes, boxes.objects_for("a.b.jpg", (200, 100)).boxes)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        boxes.objects_for("a.b.jpg", (100, 200))
    assert "its annotation was made on 200x100" in caplog.text


def test_missing_and_boxless_annotations_are_empty(boxes: AnnotatedBoxes) -> None:
    for name in ("unknown.jpg", "none.jpg"):
        objects = boxes.objects_for(name, (10, 20))
        assert len(objects) == 0
        assert objects.size == (10, 20)


def test_instances_of_coco(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "instances.json"
    boxes = [[0, 0, 200, 100], [50, 25, 50, 25], [300, 0, 9, 9]]
    content = {
        "images": [{"id": 1, "file_name": "a.b.jpg", "width": 200, "height": 100}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes],
        "categories": [{"id": 1, "name": "dog"}],
    }
    path.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        objects = AnnotatedBoxes(path).objects_for("some/folder/a.b.jpg", (400, 200))
    assert objects.size == (400, 200)
    assert objects.labels == ("dog", "dog")
    torch.testing.assert_close(objects.boxes, torch.tensor([[0.0, 0, 1, 1], [0.25, 0.25, 0.5, 0.5]]))
    assert "a.b.jpg: 1 boxes are inverted, not numbers or outside" in caplog.text


def test_coco_entities_boxes_are_pixels_of_the_photo_itself(tmp_path: Path) -> None:
    path = tmp_path / "entities.json"
    path.write_text(json.dumps({"12": {"x": {"detections": {"dog": [[1, [0, 0, 50, 30]], [2, [90, 90, 300, 300]]]}}}}))
    objects = AnnotatedBoxes(path).objects_for("COCO_val2014_000000000012.jpg", (100, 120))
    torch.testing.assert_close(objects.boxes, torch.tensor([[0, 0, 0.5, 0.25], [0.9, 0.75, 1, 1]]))
    assert len(AnnotatedBoxes(path).objects_for("COCO_val2014_000000000012.jpg", (20, 10))) == 1
    assert len(AnnotatedBoxes(path).objects_for("COCO_val2014_000000000013.jpg", (20, 10))) == 0


def test_a_broken_annotation_names_its_file(boxes: AnnotatedBoxes) -> None:
    with pytest.raises(QpertError, match=r"broken\.xml: not XML"):
        boxes.objects_for("broken.jpg", (10, 20))


def test_boxes_of_other_photos_are_given_by_seed(write_coco: Callable[..., Path]) -> None:
    path = write_coco({"a": [[0, 0, 10, 10]], "b": [[50, 0, 50, 50]], "c": [[0, 20, 100, 80], [1, 1, 2, 2]], "d": []})
    boxes = AnnotatedBoxes(path, shuffles=(0, 7))
    a, b, c, d = (boxes.objects_for(f"x/{name}.jpg", (200, 200)) for name in "abcd")  # copies of twice the size
    for seed in (0, 7):
        torch.testing.assert_close(a.shuffled[seed], b.boxes)
        torch.testing.assert_close(b.shuffled[seed], a.boxes)
        assert c.shuffled[seed].shape == (2, 4)  # alone with two boxes: it takes those of a and b
        torch.testing.assert_close(c.shuffled[seed].sum(0), a.boxes[0] + b.boxes[0])
    assert (a.photo, len(d)) == ("x/a.jpg", 0)
    assert not AnnotatedBoxes(path).objects_for("a.jpg", (200, 200)).shuffled


def test_boxes_without_sizes_cannot_stand_in_for_others(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"12": {"a dog": {"detections": {"dog": [[0, [1, 2, 4, 6]]]}}}}))
    with pytest.raises(QpertError, match="does not state the size of 12"):
        AnnotatedBoxes(path, shuffles=(0,))


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., Path]:
    def write(photos: dict[str, list[list[float]]]) -> Path:
        images = [{"id": n, "file_name": f"{name}.jpg", "width": 100, "height": 100} for n, name in enumerate(photos)]
        annotations = [
            {"id": n, "image_id": photo, "category_id": 1, "bbox": box}
            for n, (photo, box) in enumerate((n, box) for n, boxes in enumerate(photos.values()) for box in boxes)
        ]
        path = tmp_path / "instances.json"
        data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
        path.write_text(json.dumps(data))
        return path

    return write
