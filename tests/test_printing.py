from __future__ import annotations

import json

import pytest

from pipeline.printing import csv_cell, duration, printable, printable_json, printable_lines, size_text

HOSTILE = {
    "an ANSI sequence": "a\x1b[2Jb",
    "a window title": "\x1b]0;title\x07",
    "the clipboard": "\x1b]52;c;ZXZpbA==\x1b\\",
    "a C1 control": "a\x9b2Jb",
    "right to left": "photo\u202egpj.exe",
    "an isolate": "a\u2066b\u2069",
    "zero width": "a\u200bb\u200d\ufeff",
    "a line break": "a.jpg\nerror: all is lost",
    "other line breaks": "a\r\x0b\x0c\x85\u2028\u2029b",
    "a lone surrogate": "caf\udce9.jpg",
    "tags": "a\U000e0041\U000e007f",
    "delete and null": "a\x7f\x00",
    "backspaces": "evil\b\b\b\bgood",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_in_a_name_acts_on_a_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown != text
    shown.encode("utf-8")


def test_escapes_name_the_character() -> None:
    assert printable("a\x1b[2Jb\nc\u202ed\u2028\udce9") == "a\\x1b[2Jb\\nc\\u202ed\\u2028\\udce9"


@pytest.mark.parametrize("text", ["caf\u00e9", "cafe\u0301", "星\u3000星", "👍🏽", "a b_c-d.jpg", ""])
def test_ordinary_names_are_unchanged(text: str) -> None:
    assert printable(text) == text


def test_a_line_break_in_a_name_does_not_begin_a_message() -> None:
    shown = printable_lines("there is no x\nerror: y\x1b[1A\n       z")
    assert shown.splitlines() == ["there is no x", "       error: y\\x1b[1A", "       z"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", None])
def test_printable_json_has_the_same_content(text: str, encoding: str | None) -> None:
    shown = printable_json([{"name": text + "é👍"}], encoding)
    assert json.loads(shown) == [{"name": text + "é👍"}]
    assert shown.replace("\n", "").isprintable()
    shown.encode(encoding or "utf-8")


@pytest.mark.parametrize(
    "cell", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "\t=1", "\r=1", "-x", "=", "\n=1"]
)
def test_formulas_become_text_in_a_spreadsheet(cell: str) -> None:
    assert csv_cell(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["-", "+1.25", "-0.5 [-1.0, +2.0]", "1e-5", "-1e-5", "a=b", "", "R@1", -0.5, None, 3])
def test_numbers_are_unchanged(cell: object) -> None:
    assert csv_cell(cell) == cell


def test_duration() -> None:
    assert [duration(seconds) for seconds in (0.4, 65, 3661)] == ["0:00", "1:05", "1:01:01"]


def test_sizes_have_the_unit_that_shows_them() -> None:
    assert [size_text(size) for size in (0, 512, 2048, 3.2e6, 16.4e9, 2e12)] == [
        "0 bytes",
        "512 bytes",
        "2.0 kB",
        "3.2 MB",
        "16.4 GB",
        "2.0 TB",
    ]
