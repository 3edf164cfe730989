"""Photos that a report names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from pipeline.datasets.boxes.photo_boxes import PhotoBoxes
from pipeline.runs.named_photos import failure_lines, unannotated, unannotated_text


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
    assert unannotated(files_of({"a": [None] * 3, "b": [None] * 2}, {}), Annotated("a1")) == text
    assert unannotated_text(["a", "b"], Annotated("a")) == "1 of 2 photos are not in the annotations boxes.json: b"
    assert unannotated_text(["a"], Annotated("a")) is None
