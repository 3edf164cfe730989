"""Hostile and malformed JSON always causes an error that names file and place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.boxes.collector import MAX_LABEL
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.datasets.captions.reading import read_captions
from pipeline.datasets.json_file import parse_json, read_json
from pipeline.errors import QpertError

COCO = (
    '{"images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}],'
    ' "categories": [{"id": 2, "name": "dog"}],'
    ' "annotations": [{"image_id": 1, "category_id": 2, "bbox": [1, 1, 2, 2]}]}'
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 10**6, "nested too deeply"),
        ('{"a":' * 10**6, "nested too deeply"),
        ('[{"image": ' + "9" * 5000 + "}]", "Invalid JSON: Exceeds the limit"),
        ('[{"image": "a", "image": "b"}]', "Invalid JSON: an object has the key 'image' twice"),
        ('{"a": {"x\\u001b[31m": 1, "x\\u001b[31m": 2}}', r"the key 'x\\x1b\[31m' twice"),
        (COCO.encode("utf-16"), "byte 0 is not UTF-8"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        ("\0", "Invalid JSON"),
        ('{"a": 1} {"b": 2}', r"a file of JSON lines must be named \.jsonl"),
        ("", "Invalid JSON"),
    ],
)
def test_invalid_json_is_refused(write: Callable[..., Path], content: str | bytes, message: str) -> None:
    with pytest.raises(QpertError, match=rf"(?s)cannot read .*dataset\.json.*{message}"):
        read_json(write(content))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"dog"', '"\\ud800"', r"the label '\\ud800' is not valid Unicode"),
        ('"dog"', f'"{"x" * (MAX_LABEL + 1)}"', f"has {MAX_LABEL + 1} characters, limit {MAX_LABEL}"),
        ("[1, 1, 2, 2]", f"[1{'0' * 400}, 1, 2, 2]", r"annotations\[0\]\.bbox\[0\]"),
        ("[1, 1, 2, 2]", '"1122"', r"annotations\[0\]\.bbox"),
        ('"a.jpg"', '"\\ud800.jpg"', r"images\[0\]\.file_name"),
        ('"a.jpg"', '"/"', r"images\[0\] names no image"),
    ],
)
def test_malformed_annotations_are_named(write: Callable[..., Path], old: str, new: str, message: str) -> None:
    with pytest.raises(QpertError, match=rf"dataset\.json.*{message}"):
        read_boxes(write(COCO.replace(old, new)), strict=True)


def test_class_names_of_coco_entities_must_be_text(write: Callable[..., Path]) -> None:
    content = '{"1": {"a": {"detections": {"\\udfff": [[0, [0, 1, 2, 3]]]}}}}'
    with pytest.raises(QpertError, match=r"dataset\.json: the label '\\udfff' is not valid Unicode"):
        read_boxes(write(content))


@pytest.mark.parametrize("side", ["1e308", "Infinity", "NaN", "-5", "0", "null"])
def test_impossible_sizes_count_as_unknown(write: Callable[..., Path], side: str) -> None:
    photo = read_boxes(write(COCO.replace('"width": 9', f'"width": {side}'))).of("a.jpg")
    assert photo is not None
    assert photo.size is None
    assert photo.boxes == (("dog", (1.0, 1.0, 3.0, 3.0)),)


def test_a_byte_order_mark_is_accepted(write: Callable[..., Path]) -> None:
    assert read_boxes(write("\ufeff" + COCO)).of("a.jpg") is not None
    assert len(read_captions(write('\ufeff[{"image": "a.jpg", "caption": "x"}]'))) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('[{"a": "x, ]",}, ]', [{"a": "x, ]"}]),
        ('{"a": [1, 2,\n], "b": "\\",]",}', {"a": [1, 2], "b": '",]'}),
        ('[{"a": 1, "b": 2, "a": 3}]', [{"a": None, "b": 2}]),
        ('{"n": ' + "9" * 5000 + ', "m": 7}', {"n": float("inf"), "m": 7}),
    ],
)
def test_what_is_meant_is_read_unless_strict(write: Callable[..., Path], text: str, value: object) -> None:
    path = write(text)
    assert read_json(path, strict=False) == value
    with pytest.raises(QpertError, match="Invalid JSON"):
        read_json(path)


@given(json_values)
def test_forgiving_changes_nothing_of_valid_json(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text, strict=False) == parse_json(text, strict=True) == value


@given(json_values)
def test_commas_before_closing_brackets_are_ignored(value: object) -> None:
    text = json.dumps([value, {"a": value}])
    assert parse_json(text[:-2] + ", } ,\n]", strict=False) == [value, {"a": value}]
