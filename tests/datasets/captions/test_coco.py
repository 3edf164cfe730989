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
    for many in (1, 9):
        content = json.dumps(instances(*[instance([1, 2, 3, 4])] * many))
        with pytest.raises(QpertError, match=r"not COCO's captions: annotations\[0\]\.caption: Field required"):
            read_captions(write(content))


def test_ids_of_two_types_are_the_same_image(write):
    images = [{"id": 139, "file_name": "a.jpg"}, {"id": "140", "file_name": "b.jpg"}]
    path = write(captions(("139", "x"), (140, "y"), (139, "z"), images=images))
    assert read_captions(path, strict=True) == [CaptionedImage("a.jpg", ["x", "z"]), CaptionedImage("b.jpg", ["y"])]


def test_ids_of_two_types_that_are_both_used_stay_apart(write):
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": "7", "file_name": "b.jpg"}]
    path = write(captions((7, "x"), ("7", "y"), images=images))
    assert read_captions(path, strict=True) == [CaptionedImage("a.jpg", ["x"]), CaptionedImage("b.jpg", ["y"])]


def test_bad_entries_are_left_out_and_named(write):
    content = captions(
        (7, "one"), (3, "two"), (7, 5), (3, "three"), images=[*IMAGES, {"id": 5}, {"id": 7, "file_name": "c"}]
    )
    content["annotations"] += [{"caption": "x"}, "nonsense"]
    with pytest.warns(UserWarning, match="cannot be read and are left out") as caught:
        assert read_captions(write(content)) == [
            CaptionedImage("b.jpg", ["one"]),
            CaptionedImage("a.jpg", ["two", "three"]),
        ]
    (message,) = (str(warning.message) for warning in caught)
    assert (
        "5 entries cannot be read and are left out: not COCO's captions: images[2].file_name: Field required; "
        in message
    )
    assert "images[3] and images[0] both have the id 7; not COCO's captions: annotations[2].caption: " in message


def test_unknown_images_and_blank_captions_are_errors_in_strict_reading(write):
    for pair, message in ((("9", "x"), r"annotations\[1\] of image 9 has an image_id that"), ((7, " "), "is blank")):
        with pytest.raises(QpertError, match=message):
            read_captions(write(captions((7, "one"), pair)), strict=True)


def expressions(*pairs):
    """REIRCOCO: an entry of images for each object."""
    images = [
        {"id": number, "file_name": name, "height": 9, "width": 9, "expressions": texts}
        for number, (name, texts) in enumerate(pairs)
    ]
    return {"images": images, "annotations": [], "categories": [{"id": 1, "name": "object"}]}


def test_expressions_of_all_objects_are_captions_of_their_photo(write):
    path = write(expressions(("a.jpg", ["the dog", "a dog"]), ("b.jpg", ["a cat"]), ("a.jpg", ["the left man"])))
    assert read_captions(path, strict=True) == [
        CaptionedImage("a.jpg", ["the dog", "a dog", "the left man"]),
        CaptionedImage("b.jpg", ["a cat"]),
    ]
    path = write(expressions(("a.jpg", ["the dog", None]), ("b.jpg", "x"), ("c.jpg", ["a cat"])))
    with pytest.warns(UserWarning, match=r"2 entries .*: images\[0\]\.expressions\[1\] is not a caption"):
        assert [image.image_id for image in read_captions(path)] == ["a.jpg", "c.jpg"]
