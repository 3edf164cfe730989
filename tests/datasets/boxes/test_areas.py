"""The area of the largest box of each photo."""

from __future__ import annotations

import warnings

import pytest

from pipeline.datasets.boxes.areas import any_annotated, largest_areas
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.errors import QpertError
from tests.datasets.boxes.entity_xml import xml

IMAGES = [CaptionedImage(f"{name}.jpg", ["x"]) for name in "abcd"]


def instances(*boxes, size=(100, 80)):
    width, height = size
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": width, "height": height}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes],
        "categories": [{"id": 1, "name": "dog"}],
    }


def test_area_of_the_largest_box(folder):
    with pytest.warns(UserWarning, match="entities: ") as caught:
        areas = largest_areas(read_boxes(folder), IMAGES)
    assert areas == {"a.jpg": 1.0, "b.jpg": 0.01}  # the box of c lies outside of the photo: it has no object
    text = " | ".join(str(warning.message) for warning in caught)
    assert "3 boxes are not finite, inverted, empty or outside their photo; the first: b.jpg" in text
    assert "1 captioned images are not annotated; the first: d.jpg" in text


@pytest.mark.parametrize("size", [(640, 427), (333, 500), (1, 1), (4999, 3001), (7, 3)])
def test_a_box_of_the_whole_photo_has_exactly_area_one(write, folder, size):
    (folder / "Annotations" / "a.xml").write_text(xml((1, 1, *size), size=size))
    coco = write(instances([0, 0, *size], size=size))
    beyond = write(instances([-0.5, -3, size[0] + 9, size[1] + 5.5], size=size), "beyond.json")
    release = write({"12": {"x": {"detections": {"dog": [[1, [-1, 0, size[0] + 3, size[1]]]]}}}}, "release.json")
    for path in (folder, coco, beyond):
        assert largest_areas(read_boxes(path), IMAGES[:1]) == {"a.jpg": 1.0}
    numbered = [CaptionedImage("a_12.jpg", ["x"])]
    assert largest_areas(read_boxes(release), numbered, lambda name: size) == {"a_12.jpg": 1.0}


def test_photos_of_unknown_size_have_no_area_and_cause_a_warning(write):
    boxes = read_boxes(write({"12": {"x": {"detections": {"dog": [[1, [0, 0, 10, 8]]]}}}}))
    images = [CaptionedImage("12.jpg", ["x"])]
    with pytest.warns(UserWarning, match="1 images have boxes but no known size"):
        assert largest_areas(boxes, images) == {}
    with pytest.warns(UserWarning, match="no known size"):
        assert largest_areas(boxes, images, lambda name: None) == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert largest_areas(boxes, images, {"12.jpg": (100, 80)}.get) == {"12.jpg": 0.01}


def test_annotations_of_other_photos_are_refused(folder):
    with pytest.raises(QpertError, match=r"entities annotates none of the captioned images, such as x\.jpg"):
        largest_areas(read_boxes(folder), [CaptionedImage("x.jpg", ["x"])])
    assert largest_areas(read_boxes(folder), []) == {}


def test_an_annotation_that_cannot_be_read_does_not_lose_the_others(folder):
    images = [*IMAGES, CaptionedImage("broken.jpg", ["x"])]
    with pytest.warns(UserWarning, match=r"1 annotations cannot be read; the first: .*broken\.xml: not XML"):
        assert largest_areas(read_boxes(folder), images) == {"a.jpg": 1.0, "b.jpg": 0.01}
    with pytest.raises(QpertError, match=r"broken\.xml: not XML"):
        largest_areas(read_boxes(folder), images, strict=True)


def test_whether_one_of_many_photos_is_annotated(folder):
    boxes = read_boxes(folder)
    assert any_annotated(boxes, ["d.jpg", "a.jpg"])
    assert any_annotated(boxes, ["broken.jpg"])
    assert not any_annotated(boxes, ["d.jpg"])
