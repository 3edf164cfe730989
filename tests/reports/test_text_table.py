"""Tables: aligned and escaped."""

from __future__ import annotations

import pytest

from pipeline.printing import printable
from pipeline.reports import markdown, terminal
from pipeline.reports.text_table import csv_text, markdown_text


def test_terminal_columns_line_up():
    table = terminal(["", "plain", "R"], [["a", "1.00", "x"], ["longer name", "22.00", "yy"]])
    assert table.splitlines() == [
        "             plain   R",
        "───────────  ─────  ──",
        "a             1.00   x",
        "longer name  22.00  yy",
    ]


def test_wide_and_combining_characters_keep_the_columns():
    lines = terminal(["name", "n"], [["星星", "1"], ["e\u0301", "2"], ["abcd", "3"]]).splitlines()
    assert lines[2:] == ["星星  1", "e\u0301     2", "abcd  3"]


def test_control_characters_never_reach_the_terminal():
    assert printable("a\x1b[2Jb\nc\u202ed\u2028") == "a\\x1b[2Jb\\nc\\u202ed\\u2028"
    assert "\x1b" not in terminal(["x"], [["\x1b[31m"]])
    assert len(terminal(["x", "y"], [["a\nb", "c"]]).splitlines()) == 3


def test_markdown_escapes_its_own_signs():
    assert markdown(["a|b", "n"], [["x\ny|", "1"]]) == "| a\\|b | n |\n| :-- | --: |\n| x\\ny\\| | 1 |"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<img src=x onerror=alert(1)>", "\\<img src=x onerror=alert(1)>"),
        ("![x](http://a/b.png)", "![x]\\(http://a/b.png)"),
        ("`code` a|b", "\\`code\\` a\\|b"),
        ("a\\|b", "a\\\\\\|b"),
        ("&lt;b&gt;", "\\&lt;b\\&gt;"),
        ("1.0 [0.5, 1.5]", "1.0 [0.5, 1.5]"),
        ("plain_old name & more", "plain_old name & more"),
        ("a\x1b[2J\u202e", "a\\x1b[2J\\u202e"),
    ],
)
def test_names_in_markdown_stay_names(text, escaped):
    assert markdown_text(text) == escaped


def test_csv_cells_are_not_formulas():
    rows = [["set", "value"], ["=cmd|' /C calc'!A0", -0.5], ["-", "+0.5 [-1.0, 2.0]"], ["a,b", None]]
    assert csv_text(rows) == 'set,value\n\'=cmd|\' /C calc\'!A0,-0.5\n-,"+0.5 [-1.0, 2.0]"\n"a,b",\n'
