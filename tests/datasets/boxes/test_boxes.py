"""Boxes in any form, and the area of the largest."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest

from pipeline.datasets.boxes.boxes import PhotoBoxes, largest_areas, read_boxes
from pipeline.datasets.captions.captions import CaptionedImage
from pipeline.errors import QpertError

IMAGES = [CaptionedImage(f"{name}.jpg", ["x"]) for name in "abcd"]


def xml(*boxes, size=(100, 80)):
    corners = ("xmin", "ymin", "xmax", "ymax")
    things = "".join(
        "<object><name>1</name><bndbox>"
        + "".join(f"<{name}>{value}</{name}>" for name, value in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{things}</annotation>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    annotations = {
        "a": xml((1, 1, 100, 80), (5, 5, 9, 9)),
        "b": xml((1, 1, 10, 8), (50, 50, 20, 60), ("nan", 1, 2, 3)),
        "c": xml((200, 1, 220, 9)),
        "broken": "<annotation>",
    }
    for name, text in annotations.items():
        path = tmp_path / "entities" / "Annotations" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "entities"


def instances(*boxes, size=(100, 80)):
    width, height = size
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": width, "height": height}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes],
        "categories": [{"id": 1, "name": "dog"}],
    }


def test_a_folder_is_read_photo_by_photo(folder):
    boxes = read_boxes(folder)
    assert boxes.of("x/a.png") == PhotoBoxes((100, 80), (("", (0, 0, 100, 80)), ("", (4, 4, 9, 9))), 0)
    assert boxes.of("b.jpg") == PhotoBoxes((100, 80), (("", (0, 0, 10, 8)),), 2)
    assert boxes.of("d.jpg") is None
    with pytest.raises(QpertError, match=r"broken\.xml: not XML"):
        boxes.of("broken.jpg")


def test_areas_of_the_largest_boxes(folder):
    with pytest.warns(UserWarning, match="entities: ") as said:
        areas = largest_areas(read_boxes(folder), IMAGES)
    assert areas == {"a.jpg": 1.0, "b.jpg": 0.01}  # c has a box, but not within the photo: no object, not one of size 0
    text = " | ".join(str(each.message) for each in said)
    assert "3 boxes are not finite, inverted, empty or outside their photo; the first: b.jpg" in text
    assert "1 captioned images are not annotated; the first: d.jpg" in text


@pytest.mark.parametrize("size", [(640, 427), (333, 500), (1, 1), (4999, 3001), (7, 3)])
def test_a_box_of_the_whole_photo_has_area_one_exactly(write, folder, size):
    (folder / "Annotations" / "a.xml").write_text(xml((1, 1, *size), size=size))
    coco = write(instances([0, 0, *size], size=size))
    beyond = write(instances([-0.5, -3, size[0] + 9, size[1] + 5.5], size=size), "beyond.json")
    release = write({"12": {"x": {"detections": {"dog": [[1, [-1, 0, size[0] + 3, size[1]]]]}}}}, "release.json")
    for path in (folder, coco, beyond):
        assert largest_areas(read_boxes(path), IMAGES[:1]) == {"a.jpg": 1.0}
    numbered = [CaptionedImage("a_12.jpg", ["x"])]
    assert largest_areas(read_boxes(release), numbered, lambda name: size) == {"a_12.jpg": 1.0}


def test_photos_of_unknown_size_have_no_area_and_this_is_said(write):
    boxes = read_boxes(write({"12": {"x": {"detections": {"dog": [[1, [0, 0, 10, 8]]]}}}}))
    images = [CaptionedImage("12.jpg", ["x"])]
    with pytest.warns(UserWarning, match="1 images have boxes, but are of unknown size"):
        assert largest_areas(boxes, images) == {}
    with pytest.warns(UserWarning, match="unknown size"):
        assert largest_areas(boxes, images, lambda name: None) == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert largest_areas(boxes, images, {"12.jpg": (100, 80)}.get) == {"12.jpg": 0.01}


def test_annotations_of_other_photos(folder):
    with pytest.raises(QpertError, match=r"entities annotates none of the captioned images, such as x\.jpg"):
        largest_areas(read_boxes(folder), [CaptionedImage("x.jpg", ["x"])])
    assert largest_areas(read_boxes(folder), []) == {}


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ({"images": []}, "x.json", "none of the forms of boxes: a Flickr30K Entities folder"),
        ([], "x.json", "none of the forms of boxes"),
        ({}, "x.json", "none of the forms of boxes"),
        ("<annotation/>", "x.xml", "Invalid JSON"),
        ("", "x.json", "Invalid JSON"),
        ('{"1": ' + "[" * 10_000_000, "x.json", "Invalid JSON"),
        ('{"1": "' + "x" * 10_000_000 + '"}', "x.json", "should be an object"),
        ('{"1": {"' + "x" * 10_000_000 + '": 7}}', "x.json", "Field required"),
    ],
)
def test_what_is_in_no_form_is_refused_soon(write, content, name, message):
    path = write(content, name)
    started = time.process_time()
    with pytest.raises(QpertError, match=message) as caught:
        read_boxes(path)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 500
    assert time.process_time() - started < 10


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(QpertError, match=r"cannot read .*nowhere\.json"):
        read_boxes(tmp_path / "nowhere.json")
    with pytest.raises(QpertError, match=r"no annotations in .*nowhere: expected"):
        read_boxes(tmp_path / "nowhere")
