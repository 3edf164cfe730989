"""LAVIS's lists: a list of captions per entry, or one entry per caption."""

from __future__ import annotations

import pytest

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError


def test_files_for_testing_and_for_training(write):
    test = [{"image": "val2014/b.jpg", "caption": ["one", " two "]}, {"image": "val2014/a.jpg", "caption": ["x"]}]
    assert read_captions(write(test)) == [CaptionedImage("b.jpg", ["one", "two"]), CaptionedImage("a.jpg", ["x"])]
    train = [
        {"caption": "one", "image": "train2014/b.jpg", "image_id": "coco_2"},
        {"caption": "x", "image": "train2014/a.jpg", "image_id": "coco_1"},
        {"caption": "two", "image": "train2014/b.jpg", "image_id": "coco_2"},
    ]
    assert read_captions(write(train)) == read_captions(write(test))


def test_the_file_is_the_split(write):
    path = write([{"image": "a.jpg", "caption": "x"}])
    assert read_captions(path, "train") == read_captions(path, "test") == read_captions(path, None)


def test_blank_and_missing_captions_cause_warnings(write):
    with pytest.warns(UserWarning, match=r"dataset\.json: ") as caught:
        read_captions(write([{"image": "a.jpg", "caption": []}, {"image": "b.jpg", "caption": ["x", ""]}]))
    messages = " | ".join(str(warning.message) for warning in caught)
    assert "1 blank captions are left out; the first: [1].caption[1]" in messages
    assert "1 images have no captions and are only distractors; the first: a.jpg" in messages


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no images"),
        ([{"image": "a.jpg", "caption": "x"}, {"image": "b.jpg"}], r"\[1\]\.caption: Field required"),
        ([{"caption": "x"}], r"\[0\]\.image: Field required"),
        ([{"image": 7, "caption": "x"}], r"\[0\]\.image: .*string"),
        ([{"image": "a.jpg", "caption": 7}], r"\[0\]\.caption"),
        ([{"image": "a.jpg", "caption": ["x", None]}], r"\[0\]\.caption"),
        (["a.jpg"], r"\[0\]: "),
        (
            [{"image": "x/a.jpg", "caption": "x"}, {"image": "y/a.jpg", "caption": "x"}],
            r"\[1\] and \[0\] are y/a\.jpg and x/a\.jpg: two images with one file name",
        ),
    ],
)
def test_a_bad_file_is_named_with_its_entry(write, content, message):
    with pytest.raises(QpertError, match=message) as caught:
        read_captions(write(content), strict=True)
    assert "dataset.json" in str(caught.value)


def test_bad_entries_are_left_out_and_named(write):
    good = [{"image": f"{n}.jpg", "caption": ["x", "y"]} for n in range(4)]
    bad = [
        {"image": "a.jpg", "caption": ["one", None, "two"]},
        {"image": "b.jpg"},
        7,
        {"image": "p/0.jpg", "caption": "z"},
    ]
    with pytest.warns(UserWarning, match="cannot be read and are left out") as caught:
        images = read_captions(write([*good, *bad]))
    assert images[4:] == [CaptionedImage("a.jpg", ["one", "two"])]
    text = str(caught[0].message)
    assert "4 entries cannot be read and are left out: [4].caption[1] is not a caption: 'None' is not text; " in text
    assert text.endswith("; ...")


def test_a_bad_byte_spoils_its_own_caption(write):
    text = b'[{"image": "a.jpg", "caption": ["caf\xe9", "ok"]}, {"image": "b.jpg", "caption": "y"}]'
    with pytest.warns(UserWarning, match=r"1 entries .* left out: \[0\]\.caption\[0\] is not valid Unicode"):
        assert read_captions(write(text)) == [CaptionedImage("a.jpg", ["ok"]), CaptionedImage("b.jpg", ["y"])]
