"""Karpathy's JSON: what is read, and that a bad file names its entry."""

from __future__ import annotations

import json
import warnings

import pytest

from pipeline.datasets.karpathy import CaptionedImage, read_karpathy
from pipeline.errors import QpertError


def entry(name, split="test", captions=("one", "two"), **more):
    sentences = [{"raw": caption, "tokens": caption.split(), "sentid": i} for i, caption in enumerate(captions)]
    return {"filename": name, "split": split, "sentences": sentences, "imgid": 3, **more}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "dataset.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_reads_one_split_in_order(write):
    path = write({"images": [entry("b.jpg"), entry("t.jpg", "train"), entry("a.jpg", captions=["Ünïcode 星 "])]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = read_karpathy(path)
    assert images == [CaptionedImage("b.jpg", ["one", "two"]), CaptionedImage("a.jpg", ["Ünïcode 星"])]
    assert [image.image_id for image in read_karpathy(path, "train")] == ["t.jpg"]
    assert [image.image_id for image in read_karpathy(str(path), None)] == ["b.jpg", "t.jpg", "a.jpg"]


def test_coco_entries_are_known_by_their_file_name(write):
    path = write({"dataset": "coco", "images": [entry("COCO_val2014_1.jpg", filepath="val2014", cocoid=1)]})
    assert read_karpathy(path)[0].image_id == "COCO_val2014_1.jpg"


def test_any_number_of_captions_and_blank_ones_dropped_aloud(write):
    path = write({"images": [entry("a.jpg", captions=[]), entry("b.jpg", captions=["x", " \n", ""])]})
    with pytest.warns(UserWarning, match=r"2 blank captions.*images\[1\]\.sentences\[1\]"):
        assert read_karpathy(path) == [CaptionedImage("a.jpg", []), CaptionedImage("b.jpg", ["x"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Invalid JSON"),
        ('{"images": [', "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ("[]", "not a Karpathy data set"),
        ("{}", "images: Field required"),
        ({"images": {}}, "images: .*valid"),
        (
            {"images": [entry("a.jpg"), {"filename": "b.jpg", "split": "test"}]},
            r"images\[1\]\.sentences: Field required",
        ),
        ({"images": [{**entry("a.jpg"), "filename": 7}]}, r"images\[0\]\.filename: .*string"),
        ({"images": [{**entry("a.jpg"), "filename": ""}]}, r"images\[0\]\.filename"),
        ({"images": [{**entry("a.jpg"), "sentences": [{"raw": None}]}]}, r"images\[0\]\.sentences\[0\]\.raw"),
        ({"images": [entry("a.jpg"), entry("a.jpg")]}, r"images\[1\] and images\[0\] are both a\.jpg"),
        (
            {"images": [entry("a.jpg", "val"), entry("b.jpg", "val")]},
            r"no image in the split 'test'; it has: val \(2\)",
        ),
        ({"images": []}, "no images at all"),
    ],
)
def test_a_bad_file_is_named_with_its_entry(write, content, message):
    with pytest.raises(QpertError, match=message) as caught:
        read_karpathy(write(content))
    assert "dataset.json" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(QpertError, match=r"nowhere\.json"):
        read_karpathy(tmp_path / "nowhere.json")
