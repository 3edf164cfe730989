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


def test_bad_entries_are_left_out_and_named(write):
    good = [instance([n, n, 2, 2]) for n in range(6)]
    bad = [instance([1, 2, 3]), instance([1, 2, 3, "4"]), instance([1, 1, 2, 2], category_id=5), "x"]
    path = write(instances(*good, *bad, images=[*IMAGES, {"id": 9}, {"id": 7, "file_name": "c.jpg"}]))
    with pytest.warns(UserWarning, match="6 entries cannot be read and are left out") as caught:
        boxes = read_boxes(path)
    assert len(boxes.of("b.jpg").boxes) == 6
    assert boxes.of("c.jpg") is None
    text = str(caught[0].message)
    assert "left out: not COCO's instances: images[2].file_name: Field required; images[3] and images[0] both" in text


def test_a_file_of_which_most_boxes_are_bad_is_refused(write):
    path = write(instances(instance([1, 1, 2, 2]), *[instance([1, 2])] * 5))
    with pytest.raises(QpertError, match=r"annotations\[1\]\.bbox: .*\(5 of 6 entries cannot be read\)"):
        read_boxes(path)


@pytest.mark.parametrize("box", [[5, 5, -2, 3], [1, 1, 0, 3], [float("nan"), 1, 2, 2], [200, 1, 2, 2]])
def test_boxes_that_cannot_be_used_are_errors_in_strict_reading(write, box):
    path = write(instances(instance([1, 1, 2, 2]), instance(box)))
    assert read_boxes(path).of("b.jpg").skipped == 1
    with pytest.raises(
        QpertError, match=r"the photo b\.jpg has 1 boxes that are not finite, inverted, empty or outside"
    ):
        read_boxes(path, strict=True)


def test_boxes_of_unknown_images_are_errors_in_strict_reading(write):
    with pytest.raises(QpertError, match=r"annotations\[0\] of image 9 has an image_id that is not in images"):
        read_boxes(write(instances(instance([1, 1, 2, 2], image_id=9))), strict=True)


def test_ids_of_two_types(write):
    boxes = read_boxes(write(instances(instance([1, 1, 2, 2], image_id="7", category_id="1001"))), strict=True)
    assert boxes.of("b.jpg").boxes == (("tripod", (1, 1, 3, 3)),)


def test_lvis_has_urls_in_place_of_names_and_words_joined_by_underscores(write):
    content = {
        "images": [
            {
                "id": 397133,
                "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
                "width": 64,
                "height": 42,
            }
        ],
        "categories": [
            {"id": 1, "name": "bow_(weapon)", "synset": "bow.n.04", "synonyms": ["bow_(weapon)"], "def": "a weapon"},
            {
                "id": 2,
                "name": "aerosol_can",
                "synset": "aerosol.n.02",
                "synonyms": ["aerosol_can", "spray_can"],
                "def": "x",
            },
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 397133,
                "category_id": 2,
                "bbox": [1.5, 2, 3, 4],
                "area": 12,
                "segmentation": [[1, 2]],
            },
            {
                "id": 2,
                "image_id": 397133,
                "category_id": 1,
                "bbox": [0, 0, 64, 42],
                "area": 12,
                "segmentation": [[1, 2]],
            },
        ],
    }
    photo = read_boxes(write(content), strict=True).of("COCO_train2014_000000397133.jpg")
    assert photo == PhotoBoxes((64, 42), (("aerosol can", (1.5, 2, 4.5, 6)), ("bow (weapon)", (0, 0, 64, 42))), 0)


def test_names_of_2014_and_2017_are_joined(write):
    images = [
        {"id": 1, "file_name": "000000000139.jpg"},
        {"id": 2, "file_name": "val2014/COCO_val2014_000000000285.jpg"},
    ]
    boxes = read_boxes(write(instances(instance([1, 1, 2, 2], 1), instance([1, 1, 3, 3], 2), images=images)))
    assert boxes.of("val2014/COCO_val2014_000000000139.jpg").boxes == (("dog", (1, 1, 3, 3)),)
    assert boxes.of("000000000285.jpg").boxes == (("dog", (1, 1, 4, 4)),)
    assert boxes.name_of("000000000285") == "val2014/COCO_val2014_000000000285.jpg"


def test_two_photos_with_one_stem(write):
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.png"}]
    boxes = read_boxes(write(instances(instance([0, 0, 1, 1], 1), instance([0, 0, 2, 2], 2), images=images)))
    assert [boxes.of(name).boxes[0][1][2] for name in ("a.jpg", "x/a.png")] == [1, 2]
    assert boxes.of("a") is boxes.of("a.webp") is None


def test_all_objects_of_reircoco_belong_to_their_photo(write):
    images = [
        {"id": n, "file_name": f"{name}.jpg", "width": 9, "height": 9, "expressions": ["x"]}
        for n, name in enumerate("aba")
    ]
    annotations = [instance([n, n, 2, 2], n) for n in range(3)]
    boxes = read_boxes(write(instances(*annotations, images=images)), strict=True)
    assert [box for _, box in boxes.of("a.jpg").boxes] == [(0, 0, 2, 2), (2, 2, 4, 4)]
    assert [name for name, _ in boxes.all()] == ["a.jpg", "b.jpg"]


def test_descriptions_of_d3_are_labels(write):
    content = instances(instance([1, 1, 2, 2]), instance([3, 3, 2, 2]), instance([1, 1, 2, 2], image_id=3))
    content["categories"] = [{"id": 1, "name": "a dog not being held by a leash", "supercategory": "DOG"}]
    boxes = read_boxes(write(content), strict=True)
    assert {label for _, photo in boxes.all() for label, _ in photo.boxes} == {"a dog not being held by a leash"}
