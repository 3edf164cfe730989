"""Photos by the classes that they show: crowds, equal boxes, sizes, and annotators who looked for some classes only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.datasets.boxes.classes import photos_by_class
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.errors import QpertError


def instances(images: int, *annotations: dict[str, Any], **of_images: list[Any]) -> dict[str, Any]:
    """Photos of 100 x 100 pixels, 0.jpg and so on, and the categories cat (1), dog (2) and bow tie (3)."""
    listed = [{"id": n, "file_name": f"{n}.jpg", "width": 100, "height": 100} for n in range(images)]
    for key, values in of_images.items():
        for image, value in zip(listed, values, strict=True):
            image[key] = value
    names = {1: "cat", 2: "dog", 3: "bow tie"}
    categories = [{"id": number, "name": name} for number, name in names.items()]
    return {"images": listed, "categories": categories, "annotations": list(annotations)}


def thing(image: int, category: int, *box: float, **rest: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(box or (0, 0, 10, 10)), **rest}


def no_size(image_id: str) -> None:
    return None


def test_a_class_is_shown_by_the_photos_that_have_a_box_of_it(write: Any) -> None:
    boxes = read_boxes(
        write(instances(4, thing(1, 2, 0, 0, 20, 50), thing(1, 2, 0, 0, 5, 5), thing(1, 1), thing(3, 2)))
    )
    found = photos_by_class(boxes, ["x/3.jpg", "0.png", "y/1.jpg", "other.jpg"], no_size)
    assert found.gallery == ("x/3.jpg", "0.png", "y/1.jpg")  # in the order given; the other is not annotated
    assert found.names == ("3.jpg", "0.jpg", "1.jpg")
    assert found.classes == ("cat", "dog")
    assert [photos.tolist() for photos in found.shown] == [[2], [0, 2]]
    assert [areas.tolist() for areas in found.areas] == [[0.01], [0.01, 0.1]]
    assert found.absent is None
    assert [found.others(number) for number in (0, 1)] == [2, 1]


@pytest.mark.filterwarnings("ignore:.*crowds")
def test_a_crowd_is_shown_without_a_size(write: Any) -> None:
    crowd = thing(0, 1, 0, 0, 100, 100, iscrowd=1)
    boxes = read_boxes(write(instances(2, crowd, thing(1, 1), thing(1, 1, 0, 0, 50, 50, iscrowd=1))))
    found = photos_by_class(boxes, ["0.jpg", "1.jpg"], no_size)
    assert found.shown[0].tolist() == [0, 1]
    assert np.isnan(found.areas[0][0])
    assert found.areas[0][1] == 0.01


def test_equal_boxes_of_two_classes_show_both(write: Any) -> None:
    boxes = read_boxes(write(instances(1, thing(0, 1), thing(0, 2), thing(0, 1))))
    found = photos_by_class(boxes, ["0.jpg"], no_size)
    assert (found.classes, [areas.tolist() for areas in found.areas]) == (("cat", "dog"), [[0.01], [0.01]])


def test_sizes_come_from_the_photos_where_the_annotation_has_none(write: Any) -> None:
    boxes = read_boxes(write({"7": {"a caption": {"detections": {"cat": [[0, [0, 0, 10, 10]]]}}}}))
    found = photos_by_class(boxes, ["7.jpg"], lambda image_id: (20, 20))
    assert (found.classes, found.areas[0].tolist()) == (("cat",), [0.25])
    assert np.isnan(photos_by_class(boxes, ["7.jpg"], no_size).areas[0]).all()


def test_of_classes_that_nobody_looked_for_nothing_is_known(write: Any) -> None:
    """LVIS: 1.jpg has no box of a cat, but it is not known to be without; nor is 3.jpg, which is not exhaustive."""
    federated = instances(
        5,
        thing(0, 1),
        thing(3, 2),
        neg_category_ids=[[2], [], [1, 2], [], [1]],
        not_exhaustive_category_ids=[[], [], [], [1, 2], []],
    )
    found = photos_by_class(read_boxes(write(federated)), [f"{n}.jpg" for n in range(5)], no_size)
    assert found.classes == ("cat", "dog")
    assert [photos.tolist() for photos in found.shown] == [[0], [3]]
    assert found.absent is not None
    assert [photos.tolist() for photos in found.absent] == [[2, 4], [0, 2]]
    assert [found.others(number) for number in (0, 1)] == [2, 2]


def test_what_cannot_be_used_is_refused(write: Any) -> None:
    boxes = read_boxes(write(instances(1, thing(0, 1))))
    with pytest.raises(QpertError, match=r"0.jpg of .* fits two photos of the features: a/0.jpg and b/0.jpg"):
        photos_by_class(boxes, ["a/0.jpg", "b/0.jpg"], no_size)
    with pytest.raises(QpertError, match=r"annotates none of the photos, such as 5.jpg"):
        photos_by_class(boxes, ["5.jpg"], no_size)
    with pytest.raises(QpertError, match="have no labels"):
        photos_by_class(read_boxes(write(instances(1))), ["0.jpg"], no_size)
