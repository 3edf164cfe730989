"""Karpathy's JSON: reading one split, and errors that name the bad entry."""

from __future__ import annotations

import warnings

import pytest

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError


def entry(name, split="test", captions=("one", "two"), **more):
    sentences = [{"raw": caption, "tokens": caption.split(), "sentid": i} for i, caption in enumerate(captions)]
    return {"filename": name, "split": split, "sentences": sentences, "imgid": 3, **more}


def test_reads_one_split_in_order(write):
    path = write({"images": [entry("b.jpg"), entry("t.jpg", "train"), entry("a.jpg", captions=["Ünïcode 星 "])]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = read_captions(path)
    assert images == [CaptionedImage("b.jpg", ["one", "two"]), CaptionedImage("a.jpg", ["Ünïcode 星"])]
    assert [image.image_id for image in read_captions(path, "train")] == ["t.jpg"]
    assert [image.image_id for image in read_captions(str(path), None)] == ["b.jpg", "t.jpg", "a.jpg"]


def test_coco_entries_are_known_by_their_file_name(write):
    path = write({"dataset": "coco", "images": [entry("COCO_val2014_1.jpg", filepath="val2014", cocoid=1)]})
    assert read_captions(path)[0].image_id == "COCO_val2014_1.jpg"


def test_any_number_of_captions_and_a_warning_about_blank_ones(write):
    path = write({"images": [entry("a.jpg", captions=[]), entry("b.jpg", captions=["x", " \n", ""])]})
    with pytest.warns(UserWarning, match=r"dataset\.json: ") as caught:
        assert read_captions(path) == [CaptionedImage("a.jpg", []), CaptionedImage("b.jpg", ["x"])]
    assert [str(warning.message) for warning in caught] == [
        f"{path}: 2 blank captions are left out; the first: images[1].sentences[1]",
        f"{path}: 1 images have no captions and are only distractors; the first: a.jpg",
    ]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Invalid JSON"),
        ('{"images": [', "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ("{}", "none of the supported caption formats: Karpathy .* LAVIS .* COCO .* table"),
        ({"images": {}}, "images: .*valid"),
        (
            {"images": [entry("a.jpg"), {"filename": "b.jpg", "split": "test"}]},
            r"images\[1\]\.sentences: Field required",
        ),
        ({"images": [entry("a.jpg"), "b.jpg"]}, r"images\[1\]: "),
        ({"images": [{**entry("a.jpg"), "filename": 7}]}, r"images\[0\]\.filename: .*string"),
        ({"images": [{**entry("a.jpg"), "filename": ""}]}, r"images\[0\]\.filename"),
        ({"images": [{**entry("a.jpg"), "filename": "/"}]}, r"images\[0\] names no image"),
        ({"images": [{**entry("a.jpg"), "sentences": [{"raw": None}]}]}, r"images\[0\]\.sentences\[0\]\.raw"),
        ({"images": [entry("a.jpg"), entry("a.jpg")]}, r"images\[1\] and images\[0\] are both a\.jpg"),
        ({"images": [entry("a.jpg"), entry("a.jpg", "train")]}, r"images\[1\] and images\[0\] are both a\.jpg"),
        ({"images": [entry("x/a.jpg"), entry("y/a.jpg")]}, r"y/a\.jpg and x/a\.jpg: two images with one file name"),
        (
            {"images": [entry("a.jpg", "val"), entry("b.jpg", "val")]},
            r"no image in the split 'test'; it has: val \(2\)",
        ),
        ({"images": []}, "no images at all"),
    ],
)
def test_a_bad_file_is_named_with_its_entry(write, content, message):
    with pytest.raises(QpertError, match=message) as caught:
        read_captions(write(content), strict=True)
    assert "dataset.json" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(QpertError, match=r"nowhere\.json"):
        read_captions(tmp_path / "nowhere.json")


def test_bad_entries_are_left_out_and_named(write):
    broken = {**entry("c.jpg"), "sentences": [{"raw": "ok"}, {"raw": None}, "x", {}]}
    path = write({"images": [entry("a.jpg"), {"filename": "b.jpg"}, broken, entry("a.jpg", "train"), entry("d.jpg")]})
    with pytest.warns(UserWarning, match="cannot be read and are left out") as caught:
        images = read_captions(path)
    assert images == [
        CaptionedImage("a.jpg", ["one", "two"]),
        CaptionedImage("c.jpg", ["ok"]),
        CaptionedImage("d.jpg", ["one", "two"]),
    ]
    text = str(caught[0].message)
    assert "5 entries cannot be read and are left out: not a Karpathy data set: images[1].split: Field required" in text
    assert "images[2].sentences[1].raw: Input should be a valid string; " in text


def test_a_file_of_which_most_entries_are_bad_is_refused(write):
    path = write({"images": [entry("a.jpg", captions=["x"]), *[{"filename": "b.jpg"}] * 9]})
    with pytest.raises(QpertError, match=r"images\[1\]\.split: Field required .*\(9 of 11 entries cannot be read\)"):
        read_captions(path)
