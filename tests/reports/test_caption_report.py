from __future__ import annotations

from pipeline.encoders.emphasis import Captions, Emphasis
from pipeline.method.objects import Objects
from pipeline.reports.caption_report import as_photo, as_row, as_text

OBJECTS = Objects([[0, 0, 0.5, 0.25], [0.5, 0.5, 1, 1]], ["dog", ""], [0.5, 0.25], (64, 48))
CAPTIONS = Captions("a dog", ((Emphasis("object #2", (1,)), "a\nbox"),))


def test_text_is_aligned_numbered_and_printable() -> None:
    assert as_text("a\tb.jpg", OBJECTS, CAPTIONS, "all").splitlines() == [
        "a\\tb.jpg  (#1 dog, #2 object)",
        "  plain      a dog",
        "  object #2  a\\nbox",
    ]


def test_missing_objects_are_reported() -> None:
    assert as_text("a.jpg", OBJECTS, Captions("a dog", ()), "cat").splitlines()[-1] == "  no cat here"
    nothing = Objects.empty((64, 48))
    assert as_text("a.jpg", nothing, Captions("x", ()), "all").splitlines()[-1] == "  no objects here"
    assert as_text("a.jpg", nothing, Captions("x", ()), None).splitlines() == ["a.jpg  (no objects)", "  plain  x"]


def test_rows_and_photos_number_objects_from_one() -> None:
    row = as_row("a.jpg", "/p/a.jpg", OBJECTS, CAPTIONS)
    assert row["objects"][1] == {"number": 2, "label": "", "box": [0.5, 0.5, 1.0, 1.0]}
    assert row["emphasised"] == [{"objects": [2], "name": "object #2", "caption": "a\nbox"}]
    photo = as_photo("a.jpg", "/p/a.jpg", OBJECTS, CAPTIONS)
    assert [thing["label"] for thing in photo.objects] == ["#1 dog", "#2 object"]
    assert photo.objects[0]["x1"] == 0.5
    assert photo.captions == [("plain", "a dog"), ("object #2", "a\nbox")]
