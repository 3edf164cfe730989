"""The release JSON of COCO Entities."""

from __future__ import annotations

import pytest

from pipeline.datasets.boxes.coco_entities import image_number
from pipeline.datasets.boxes.photo_boxes import PhotoBoxes
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.errors import QpertError


def caption(**detections):
    return {
        "detections": detections,
        "noun_chunks": [["a man", "man"]],
        "det_sequences": [None, "man"],
        "split": "test",
    }


RELEASE = {
    "391895": {
        "a man on a bike": caption(man=[[3, [0, 0, 10.5, 20]]], bicycle=[[4, [5, 5, 30, 640]], [5, [-2.5, 1, 3, 2]]]),
        "someone cycles": caption(person=[[3, [0, 0, 10.5, 20]], [9, [600, 0, 640, 480]]]),
    },
    "42": {"nothing": caption()},
}


def test_a_photo_has_the_boxes_of_all_its_captions_once(write):
    boxes = read_boxes(write(RELEASE))
    photo = boxes.of("val2014/COCO_val2014_000000391895.jpg")
    assert photo == PhotoBoxes(
        None,
        (
            ("man", (0, 0, 10.5, 20)),
            ("bicycle", (5, 5, 30, 640)),
            ("bicycle", (0, 1, 3, 2)),
            ("person", (600, 0, 640, 480)),
        ),
        0,
        also=(("person", (0, 0, 10.5, 20)),),  # an equal box with another label
    )
    assert boxes.of("000000391895.png") == boxes.of("391895") == photo
    assert boxes.of("COCO_val2014_000000000042.jpg") == PhotoBoxes(None, (), 0)
    assert boxes.of("000000391896.jpg") is boxes.of("photo.jpg") is None


def test_boxes_are_clipped_to_the_size_of_the_photo(write):
    photo = read_boxes(write(RELEASE)).of("391895").within((600, 400))
    assert [box for _, box in photo.boxes] == [(0, 0, 10.5, 20), (5, 5, 30, 400), (0, 1, 3, 2)]
    assert photo.skipped == 1


def test_invalid_boxes_are_skipped_and_counted(write):
    wrong = [[9, 9, 3, 12], [1, 5, 9, 5], [float("nan"), 0, 1, 1], [0, 0, float("inf"), 1], [-9, -9, 0, -1]]
    release = {"1": {"x": caption(dog=[[n, box] for n, box in enumerate(wrong)], cat=[[0, [0, 0, 1, 1]]])}}
    assert read_boxes(write(release)).of("1") == PhotoBoxes(None, (("cat", (0, 0, 1, 1)),), 5)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("COCO_val2014_000000391895.jpg", "391895"),
        ("a/b/000000000001.png", "1"),
        ("7", "7"),
        ("x_000.jpg", "0"),
        ("12_x.jpg", ""),
        ("1" * 10_000 + "x.jpg", ""),
    ],
)
def test_the_number_at_the_end_of_the_stem(name, number):
    assert image_number(name) == number


@pytest.mark.parametrize(
    ("release", "message"),
    [
        ({"1": []}, r"\[1\]: should be an object"),
        ({"1": {"x": {}}}, r"\[1\]\['x'\]\.detections: Field required"),
        ({"1": {"x": []}}, r"\[1\]\['x'\]\.detections: Field required"),
        ({"1": {"x": {"detections": []}}}, r"\[1\]\['x'\]\.detections: "),
        ({"1": {"x": caption(dog=[[1, [0, 0, 1]]])}}, r"\[1\]\['x'\]\.detections\.dog\[0\]\[1\]: .*at least 4"),
        ({"1": {"x": caption(dog=[[1, [0, 0, 1, "2"]]])}}, r"detections\.dog\[0\]\[1\]\[3\]: .*number"),
        ({"1": {"x": caption(dog=[[0, 0, 1, 1]])}}, r"detections\.dog\[0\]"),
        ({"1": {"x": caption(dog=[[1, [0, 0, 1, 10**400]]])}}, r"detections\.dog\[0\]\[1\]\[3\]"),
        ({"1": {"x": caption()}, "12a3": {"x": caption()}}, r"'12a3'\] is not the number of an image"),
        ({"1": {"x": caption()}, "001": {"x": caption()}}, "both 001"),
    ],
)
def test_a_bad_entry_is_named(write, release, message):
    with pytest.raises(QpertError, match=message) as caught:
        read_boxes(write(release), strict=True)
    assert "dataset.json" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_bad_entries_are_left_out_and_named(write):
    release = {str(n): {"x": caption(dog=[[0, [0, 0, n, n]]])} for n in range(1, 9)}
    release |= {"20": [], "21": {"x": {}, "y": caption(cat=[[0, [0, 0, 1, 1]]])}, "12a3": {}, "022": {}, "22": {}}
    with pytest.warns(UserWarning, match=r"4 entries .*: not a release of COCO Entities: \[20\]: should be an object"):
        boxes = read_boxes(write(release))
    assert boxes.of("3.jpg").boxes == (("dog", (0, 0, 3, 3)),)
    assert boxes.of("21.jpg").boxes == (("cat", (0, 0, 1, 1)),)
