"""Photos that a report names."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from pipeline.datasets.boxes.photo_boxes import PhotoBoxes
from pipeline.errors import QpertError
from pipeline.runs.named_photos import (
    annotation_remarks,
    failure_lines,
    image_ids,
    remarks_on,
    unannotated_text,
)
from tests.datasets.coco_files import instance, instances


def files_of(errors: dict[str, list[str | None]], notes: dict[str, int]) -> Any:
    """Files of features with these errors, whose photos are called after the file and their row."""

    def ids(name: str) -> list[str]:
        return [f"{name}{row}" for row in range(len(errors[name]))]

    def live(name: str, columns: list[str]) -> pa.Table:
        assert columns == ["error"]
        assert notes.get(name) != 0, "a file without failed photos need not be read"
        return pa.table({"image_id": ids(name), "error": pa.array(errors[name], pa.string())})

    def note(name: str) -> Any:
        return SimpleNamespace(failed=notes[name]) if name in notes else None

    return SimpleNamespace(names=tuple(errors), live=live, note=note, ids=lambda: map(ids, errors))


def test_the_first_failed_photos_are_named_with_their_reasons() -> None:
    errors = {"a": [None, None], "b": [None, "not an image"], "c": ["empty file", "x\x1b[2J", "late"], "d": ["later"]}
    lines = failure_lines(files_of(errors, {"a": 0, "b": 1, "c": 3}), 5, "out")
    assert lines == [
        "failed  b1: not an image",
        "        c0: empty file",
        "        c1: x\\x1b[2J",
        "        and 2 more: the column error of out",
    ]


def test_nothing_is_said_or_read_where_nothing_failed() -> None:
    assert failure_lines(files_of({"a": [None]}, {"a": 0}), 0, "out") == []
    assert failure_lines(files_of({"a": ["why"]}, {}), 1, "out") == ["failed  a0: why"]


class Annotated:
    """Annotations of a few photos."""

    source = Path("boxes.json")

    def __init__(self, *known: str) -> None:
        self.known = known

    def of(self, image_id: str) -> PhotoBoxes | None:
        return PhotoBoxes(None, (), 0) if image_id in self.known else None

    def name_of(self, image_id: str) -> str | None:
        return image_id if image_id in self.known else None

    def all(self) -> Iterator[tuple[str, PhotoBoxes]]:
        return ((name, PhotoBoxes(None, (), 0)) for name in sorted(self.known))


def test_photos_without_annotations_are_counted_and_the_first_named() -> None:
    text = "4 of 5 photos are not in the annotations boxes.json: a0, a2, b0, ..."
    assert remarks_on(image_ids(files_of({"a": [None] * 3, "b": [None] * 2}, {})), Annotated("a1")) == [text]
    assert unannotated_text(["a", "b"], Annotated("a")) == "1 of 2 photos are not in the annotations boxes.json: b"
    assert unannotated_text(["a"], Annotated("a")) is None


def test_boxes_that_cannot_be_used_are_counted_and_their_photos_named() -> None:
    class Odd(Annotated):
        """Annotations that have boxes which cannot be used."""

        def of(self, image_id: str) -> PhotoBoxes | None:
            if image_id == "damaged":
                raise QpertError("not XML")
            return PhotoBoxes(None, (), int(image_id)) if image_id in self.known else None

    remarks = remarks_on(["0", "2", "damaged", "x", "3"], Odd("0", "2", "3"))
    assert remarks == [
        "1 of 5 photos are not in the annotations boxes.json: x",
        "5 boxes of 2 photos in boxes.json are not finite, inverted, empty or outside their photo, and left out: 2, 3",
    ]
    assert remarks_on(["0"], Odd("0")) == []


def test_what_is_wrong_with_the_file_is_not_said_again(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(instances(instance([1, 1, 2, 2]), instance([1, 2]), instance([9, 9, -1, 2]))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        remarks = annotation_remarks(files_of({"b.jpg": [None]}, {}), str(path))
    what = "are not finite, inverted, empty or outside their photo, and left out"
    assert remarks == [f"1 boxes of 1 photos in {path} {what}: b.jpg0"]
