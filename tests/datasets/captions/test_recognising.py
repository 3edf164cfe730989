"""Formats of captions are recognised by their content, whatever the suffix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.datasets.captions.recognising import form_of
from pipeline.errors import QpertError

ROWS = [{"image": "a.jpg", "caption": "x"}, {"image": "b.jpg", "caption": "y"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
IMAGES = [CaptionedImage("a.jpg", ["x"]), CaptionedImage("b.jpg", ["y"])]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.ndjson", "x.jsonlines", "x.txt", "x"])
@pytest.mark.parametrize("content", [LINES, "\n" + LINES, json.dumps(ROWS), json.dumps(ROWS, indent=2)])
def test_json_and_lines_of_json(write: Callable[..., Path], content: str, name: str) -> None:
    assert read_captions(write(content, name)) == IMAGES


@pytest.mark.parametrize("name", ["x.jsonl", "x.txt"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_of_images_is_not_a_line(write: Callable[..., Path], name: str, indent: int | None) -> None:
    data = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "x"}]}
    assert read_captions(write(json.dumps(data, indent=indent), name)) == IMAGES[:1]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv"])
def test_strictly_the_suffix_decides(write: Callable[..., Path], name: str) -> None:
    wrong = json.dumps(ROWS) if name == "x.jsonl" else LINES
    with pytest.raises(QpertError, match=name.replace(".", r"\.")):
        read_captions(write(wrong, name), strict=True)


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("", None),
        ("\n \n", None),
        ("just words\n", None),
        ("image,words\na.jpg,x\n", None),
        ("image,caption\n", "delimited"),
        ("image_name| comment_number| comment\n", "delimited"),
        ("a.jpg#0\tx\n", "tokens"),
        ('{"image": "a.jpg", "caption": "x"}\n{', "lines"),
        ('{"image": "a.jpg"', "json"),
        ("[", "json"),
        ("{" * 100_000, "json"),
    ],
)
def test_files_without_a_telling_suffix(write: Callable[..., Path], content: str, form: str | None) -> None:
    assert form_of(write(content, "x.txt"), None, None, strict=False) == form


def test_named_columns_make_a_table_of_any_header(write: Callable[..., Path]) -> None:
    path = write("photo,alt\na.jpg,x\n", "x.txt")
    assert form_of(path, None, None, strict=False) is None
    assert read_captions(path, image_column="photo", caption_column="alt") == IMAGES[:1]


@pytest.mark.parametrize(
    "entry",
    [
        {"filename": "a.jpg", "raw": ["x"]},
        {"file_name": "a.jpg", "captions": ["x"]},
        {"image_id": 7, "file_name": "z/a.jpg", "text": "x"},
    ],
)
def test_a_json_list_with_other_names_of_columns(write: Callable[..., Path], entry: dict[str, Any]) -> None:
    assert read_captions(write([entry])) == IMAGES[:1]
    assert read_captions(write([{**entry, "split": "test"}, {**entry, "split": "train"}])) == IMAGES[:1]
    with pytest.raises(QpertError, match="no row in the split 'val'"):
        read_captions(write([{**entry, "split": "test"}]), "val")


def test_docci_has_its_splits_in_one_file(write: Callable[..., Path]) -> None:
    splits = ("train", "test", "qual_dev", "qual_test", "test")
    rows = [
        {
            "example_id": f"{split}_{number:05d}",
            "split": split,
            "image_file": f"{number}.jpg",
            "description": "A long text.",
        }
        for number, split in enumerate(splits)
    ]
    path = write("".join(json.dumps(row) + "\n" for row in rows), "docci_descriptions.jsonlines")
    assert [image.image_id for image in read_captions(path, strict=True)] == ["1.jpg", "4.jpg"]
    assert read_captions(path, "qual_dev") == [CaptionedImage("2.jpg", ["A long text."])]
    assert len(read_captions(path, None)) == 5
