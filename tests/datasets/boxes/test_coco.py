"""COCO's instances: boxes are 0-based and labelled, and errors name the bad entry."""

from __future__ import annotations

import warnings

import pytest

from pipeline.datasets.boxes.photo_boxes import PhotoBoxes
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.errors import QpertError
from tests.datasets.coco_files import IMAGES, captions, instance, instances


def test_instances_are_zero_based_and_labelled(write):
    path = write(
        instances(
            instance([0, 0, 100, 80]),
            instance([0.5, 10, 20.25, 30], category_id=1001),
            instance([5, 5, 10, 10], image_id=3),
        )
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        boxes = read_boxes(path)
    assert boxes.of("folder/b.png") == PhotoBoxes(
        (100, 80), (("dog", (0, 0, 100, 80)), ("tripod", (0.5, 10, 20.75, 40))), 0
    )
    assert boxes.of("a.jpg") == PhotoBoxes((50, 50), (("dog", (5, 5, 15, 15)),), 0)
    assert boxes.of("c.jpg") is None


def test_boxes_keep_the_order_of_the_file(write):
    """Annotations of different images may alternate, and the first of equal boxes gives the label."""
    many = [instance([n, 0, 1, 1], image_id=(7, 3)[n % 2]) for n in range(50)] * 2
    boxes = read_boxes(write(instances(*many)))
    assert [box[0] for _, box in boxes.of("b.jpg").boxes] == list(range(0, 50, 2))
    assert [box[0] for _, box in boxes.of("a.jpg").boxes] == list(range(1, 50, 2))


def test_boxes_at_the_border_survive(write):
    """An x or y of 0 must not become -1, which indexes the far end of an array."""
    boxes = read_boxes(write(instances(instance([0, 0, 1, 1]), instance([-0.6, 70, 30, 20]), instance([99, 0, 1, 80]))))
    assert [box for _, box in boxes.of("b.jpg").boxes] == [(0, 0, 1, 1), (0, 70, 29.4, 80), (99, 0, 100, 80)]
    assert boxes.of("a.jpg") == PhotoBoxes((50, 50), (), 0)


def test_invalid_boxes_are_skipped_and_counted(write):
    nan, inf = float("nan"), float("inf")
    wrong = [
        [50, 50, -20, 10],
        [5, 5, 0, 9],
        [nan, 1, 5, 5],
        [1, 1, inf, 5],
        [-inf, 1, 5, 5],
        [100, 1, 9, 9],
        [1, -9, 5, 9],
    ]
    path = write(instances(*map(instance, wrong), instance([1, 1, 2, 2]), instance([1, 1, 2, 2], category_id=1001)))
    assert "NaN" in path.read_text()
    assert "-Infinity" in path.read_text()
    photo = read_boxes(path).of("b.jpg")
    assert photo.boxes == (("dog", (1, 1, 3, 3)),)
    assert photo.skipped == len(wrong)


def test_crowds_and_boxes_of_unknown_images_are_left_out_and_counted(write):
    crowd = instance([0, 0, 90, 80], iscrowd=1, segmentation={"counts": [1, 2], "size": [3, 4]})
    path = write(instances(instance([1, 1, 2, 2], iscrowd=0), crowd, crowd, instance([1, 1, 2, 2], image_id=9)))
    with pytest.warns(UserWarning, match=r"dataset\.json: ") as caught:
        boxes = read_boxes(path)
    text = " | ".join(str(warning.message) for warning in caught)
    assert "2 boxes of crowds are left out; the first: annotations[1]" in text
    assert "1 boxes of images that are not listed are left out; the first: annotations[3] of image 9" in text
    assert boxes.of("b.jpg").boxes == (("dog", (1, 1, 3, 3)),)


@pytest.mark.parametrize("size", [{}, {"width": 100}, {"width": 100, "height": 0}, {"width": -1, "height": 80}])
def test_photos_of_unknown_size(write, size):
    photo = read_boxes(
        write(instances(instance([-5, 0, 500, 40]), images=[{"id": 7, "file_name": "b.jpg", **size}]))
    ).of("b")
    assert photo == PhotoBoxes(None, (("dog", (0, 0, 495, 40)),), 0)
    assert photo.within((100, 80)) == PhotoBoxes((100, 80), (("dog", (0, 0, 100, 40)),), 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (instances({"image_id": 7, "category_id": 1}), r"annotations\[0\]\.bbox: Field required"),
        (instances(instance([1, 2, 3])), r"annotations\[0\]\.bbox: .*at least 4"),
        (instances(instance([1, 2, 3, 4, 5])), r"annotations\[0\]\.bbox: .*at most 4"),
        (instances(instance([1, 2, 3, "4"])), r"annotations\[0\]\.bbox\[3\]: .*number"),
        (instances(instance([1, 2, 3, None])), r"annotations\[0\]\.bbox\[3\]: .*number"),
        (instances(instance([1, 2, 3, 10**400])), r"annotations\[0\]\.bbox\[3\]: "),
        (
            instances(instance([1, 2, 3, 4]), instance([1, 2, 3, 4], category_id=5)),
            r"annotations\[1\]\.category_id is 5",
        ),
        (instances([]), r"annotations\[0\]: "),
        ({"images": IMAGES, "annotations": []}, "categories: Field required"),
        (instances(images=[*IMAGES, {"id": 8, "file_name": "b.png"}]), r"images\[0\] and images\[2\] are both b\.png"),
        (
            instances(images=[*IMAGES, {"id": 7, "file_name": "c.png"}]),
            r"images\[2\] and images\[0\] both have the id 7",
        ),
        (captions((7, "x")), r"categories: Field required"),
    ],
)
def test_bad_instances_are_named_with_their_entry(write, content, message):
    with pytest.raises(QpertError, match=message) as caught:
        read_boxes(write(content), strict=True)
    assert "dataset.json" in str(caught.value)
