"""COCO's captions: joined to images by id, and errors name the bad entry."""

from __future__ import annotations

import json

import pytest

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError
from tests.datasets.coco_files import IMAGES, captions, instance, instances


def test_captions_are_joined_by_id(write):
    path = write(captions((3, "x"), (7, "one"), (3, "y "), (7, "two")))
    expected = [CaptionedImage("b.jpg", ["one", "two"]), CaptionedImage("a.jpg", ["x", "y"])]
    assert read_captions(path) == read_captions(path, "val") == expected


def test_captions_without_images_and_images_without_captions_cause_warnings(write):
    with pytest.warns(UserWarning, match=r"dataset\.json: ") as caught:
        images = read_captions(write(captions((7, "one"), (9, "x"), ("9", "y"), (7, " "))))
    assert images == [CaptionedImage("b.jpg", ["one"]), CaptionedImage("a.jpg", [])]
    text = " | ".join(str(warning.message) for warning in caught)
    assert "2 captions of images that are not listed are left out; the first: annotations[1] of image 9" in text
    assert "1 blank captions are left out; the first: annotations[3]" in text
    assert "1 images have no captions and are only distractors; the first: a.jpg" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": IMAGES, "annotations": [{"image_id": 7}]}, r"annotations\[0\]\.caption: Field required"),
        ({"images": IMAGES, "annotations": [{"caption": "x"}]}, r"annotations\[0\]\.image_id: Field required"),
        ({"images": IMAGES, "annotations": [{"image_id": 7, "caption": 5}]}, r"annotations\[0\]\.caption: .*string"),
        ({"images": IMAGES, "annotations": {}}, r"annotations: .*list"),
        ({"images": [{"id": 7}], "annotations": []}, r"images\[0\]\.file_name: Field required"),
        ({"images": [{"file_name": "a.jpg"}], "annotations": []}, r"images\[0\]\.id: Field required"),
        (
            captions(images=[IMAGES[0], {"id": 7, "file_name": "c.jpg"}]),
            r"images\[1\] and images\[0\] both have the id 7",
        ),
        (captions(images=[IMAGES[0], {"id": 8, "file_name": "b.jpg"}]), r"images\[1\] and images\[0\] are both b\.jpg"),
    ],
)
def test_bad_captions_are_named_with_their_entry(write, content, message):
    with pytest.raises(QpertError, match=message) as caught:
        read_captions(write(content), strict=True)
    assert "dataset.json" in str(caught.value)


def test_instances_are_not_captions(write):
    with pytest.raises(QpertError, match=r"not COCO's captions: annotations\[0\]\.caption: Field required"):
        read_captions(write(json.dumps(instances(instance([1, 2, 3, 4])))))
