"""Tables: aligned, escaped, and with the figures of the report."""

from __future__ import annotations

import numpy as np

from pipeline.reports import bins_table, difference_table, markdown, overall_table, printable, terminal
from pipeline.retrieval import report_from_ranks


def report():
    ranks = np.array([1, 2, 6, 20], np.int64)
    return report_from_ranks(ranks, ranks, image_of_text=range(4), areas=[0.05, 0.15, 0.15, None], ks=(1, 5))


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


def test_the_tables_hold_the_report():
    headers, rows = overall_table(report())
    assert headers == ["", "R@1", "R@5", "mR@1", "mR@5", "median rank", "queries"]
    assert rows[0] == ["text to image", "25.00", "50.00", "0.00", "66.67", "4", "4"]
    assert rows[1] == ["image to text", *rows[0][1:]]
    headers, rows = bins_table(report())
    assert headers == ["largest object", "T2I R@1", "T2I R@5", "queries", "I2T R@1", "I2T R@5", "queries"]
    assert len(rows) == 10
    assert rows[0] == ["0-10 %", "100.00", "100.00", "1", "100.00", "100.00", "1"]
    assert rows[1] == ["10-20 %", "0.00", "50.00", "2", "0.00", "50.00", "2"]
    assert rows[9] == ["90-100 %", "-", "-", "0", "-", "-", "0"]


def test_the_difference_is_of_the_same_queries():
    better = np.array([1, 1, 6, 20], np.int64)
    areas = [0.05, 0.05, 0.15, None]
    first, second = (
        report_from_ranks(ranks, ranks, image_of_text=range(4), areas=areas, ks=(1, 5))
        for ranks in (np.array([2, 1, 1, 20], np.int64), better)
    )
    headers, rows = difference_table(("plain", "new"), (first, second))
    assert headers == ["", "plain", "new", "difference", "queries"]
    assert rows[:3] == [
        ["text to image, R@1", "50.00", "50.00", "+0.00", "4"],
        ["text to image, R@5", "75.00", "50.00", "-25.00", "4"],
        ["text to image, R@1, largest object < 10 %", "50.00", "100.00", "+50.00", "2"],
    ]
    nothing = report_from_ranks(better, better, image_of_text=range(4), ks=(1,))
    assert difference_table(("a", "b"), (nothing, nothing))[1][1][1:] == ["-", "-", "-", "0"]
