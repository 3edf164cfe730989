"""Tables: aligned and escaped."""

from __future__ import annotations

from pipeline.reports import markdown, printable, terminal


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
