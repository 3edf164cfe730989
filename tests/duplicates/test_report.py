"""The groups as text, JSON, CSV and in the gallery, with names of files that try to do harm."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.duplicates.finding import Duplicates, find_similar
from pipeline.duplicates.report import FIELDS, as_csv, as_json, as_text, gallery_sections
from pipeline.reports import write_gallery
from pipeline.vectors.opening import open_snapshot
from tests.duplicates.similar_sets import row, similar_photos, write_set

HOSTILE = "=1+\x1b[31m<b>.jpg"


@pytest.fixture
def found(tmp_path: Path) -> Duplicates:
    one, other = similar_photos(1, 2, 1, 8, clusters=2)
    rows = [
        row(0, one, taken=datetime(2021, 1, 1)),
        row(1, one, width=300, size=2_500_000),
        row(2, one, image_id=HOSTILE, taken=datetime(2020, 1, 1, 12, 30), width=None, size=None),
        row(3, other),
        row(4, other),
        row(5, -one),
    ]
    root = write_set(tmp_path / "set", rows, (1, 8))
    return find_similar([open_snapshot(root, cache=False)], 0.98)


def test_text_has_the_facts_that_decide(found: Duplicates) -> None:
    lines = list(as_text(found, 1))
    assert lines[0] == "6 photos: 3 are near-duplicates (0.98) of another, in 2 groups; compared all pairs"
    assert lines[2:] == [
        "group 1: 3 photos",
        "  1.000      300x100    2.5 MB                    0001.jpg  (largest)",
        "  1.000      100x100    1.0 kB  2021-01-01T00:00  0000.jpg",
        r"  1.000                         2020-01-01T12:30  =1+\x1b[31m<b>.jpg  (oldest)",
        "",
        "and 1 more groups: --format json or csv has all, --groups N shows more",
    ]


def test_json_has_all(found: Duplicates) -> None:
    read = json.loads("".join(as_json(found)))
    assert {key: read[key] for key in ("threshold", "compared", "photos", "duplicates", "notes")} == {
        "threshold": 0.98,
        "compared": "all pairs",
        "photos": 6,
        "duplicates": 3,
        "notes": [],
    }
    assert [[photo["image_id"] for photo in group] for group in read["groups"]] == [
        ["0001.jpg", "0000.jpg", HOSTILE],
        ["0003.jpg", "0004.jpg"],
    ]
    assert set(read["groups"][0][0]) == {*FIELDS} - {"group"}
    assert read["groups"][0][2]["taken"] == "2020-01-01T12:30:00"
    assert "\x1b" not in "".join(as_json(found))


def test_csv_is_a_line_per_photo_that_no_spreadsheet_runs(found: Duplicates) -> None:
    read = list(csv.DictReader(io.StringIO("".join(as_csv(found)))))
    assert [line["group"] for line in read] == ["1", "1", "1", "2", "2"]
    assert tuple(read[0]) == FIELDS
    assert read[2]["image_id"] == f"'{HOSTILE}"
    assert [line["largest"] for line in read] == ["true", "false", "false", "true", "false"]


def test_the_gallery_shows_groups(found: Duplicates, tmp_path: Path) -> None:
    sections = gallery_sections(found, 5)
    assert [section.title for section in sections] == ["Group 1: 3 photos", "Group 2: 2 photos"]
    assert "(largest)" in sections[0].photos[0].image_id
    write_gallery(tmp_path / "out.html", "Duplicates", sections)
    html = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "300x100" in html
    assert "no objects" not in html
    assert "<b>.jpg" not in html
