"""Tables of recall: the figures of the report, their intervals, and differences."""

from __future__ import annotations

import numpy as np

from pipeline.reports import bins_table, comparison_table, difference_table, overall_table
from pipeline.reports.recall_tables import points_with_interval, with_interval
from pipeline.retrieval import Interval, Ranks, bootstrap, compare, report_from_ranks, report_of

RANKS = Ranks(*(np.array([1, 2, 6, 20]),) * 2, np.arange(4), np.array([0, 1, 1, -1]), tuple("abcd"))
KS = (1, 5)


def test_figures_with_and_without_intervals():
    assert with_interval(0.6556, Interval(0.6412, 0.67)) == "65.56 (64.1-67.0)"
    assert with_interval(0.6556, None) == "65.56"
    assert with_interval(None, None) == "-"
    assert points_with_interval(-0.0016, Interval(-0.0088, 0.00001)) == "-0.16 (-0.88 to +0.00)"
    assert points_with_interval(-1e-9, None) == "+0.00"
    assert points_with_interval(None, None) == "-"


def test_the_overall_table_holds_the_report():
    headers, rows = overall_table(report_of(RANKS, KS))
    assert headers == ["", "text to image", "image to text"]
    assert [row[0] for row in rows] == ["R@1", "R@5", "mR@1", "mR@5", "median rank", "mean rank", "queries"]
    assert [row[1] for row in rows] == ["25.00", "50.00", "0.00", "66.67", "4", "7.25", "4"]
    assert all(row[1] == row[2] for row in rows)
    intervals = bootstrap(RANKS, KS)
    _, rows = overall_table(report_of(RANKS, KS), intervals)
    low, high = intervals.t2i.overall[1]
    assert rows[0][1] == f"25.00 ({100 * low:.1f}-{100 * high:.1f})"


def test_the_bins_table_has_samples_and_gaps():
    headers, rows = bins_table(report_of(RANKS, KS), "t2i", bootstrap(RANKS, KS))
    assert headers == ["largest object", "R@1", "R@5", "queries"]
    assert len(rows) == 10
    assert rows[0] == ["0-10 %", "100.00", "100.00", "1"]  # a single photo: no interval
    assert rows[1] == ["10-20 %", "0.00 (0.0-0.0)", "50.00 (0.0-100.0)", "2"]
    assert rows[9] == ["90-100 %", "-", "-", "0"]


def test_two_sets_side_by_side():
    other = Ranks(np.array([1, 1, 9, 1]), RANKS.image_ranks, RANKS.image_of_text, RANKS.bins, RANKS.image_ids)
    reports = (report_of(RANKS, KS), report_of(other, KS))
    headers, rows = comparison_table(("old", "new"), reports, compare(RANKS, other, KS), "t2i")
    assert headers == ["", "old", "new", "difference", "shown", "only", "p", "Holm", "queries"]
    table = {row[0]: row[1:] for row in rows}
    assert table["R@1"][:2] == ["25.00", "75.00"]
    assert table["R@1"][2].startswith("+50.00 (")
    detectable = compare(RANKS, other, KS).t2i.overall[1].detectable
    assert table["R@1"][3:] == [f"not shown ({100 * detectable:.2f})", "0 / 2", "0.500", "1.000", "4"]
    assert table["mR@1"][4:] == ["", "1.000", "1.000", "3"]
    assert table["mean rank"] == ["7.25", "3", "-4.25", "", "", "", "", "4"]
    assert table["R@1, 0-10 %"] == ["100.00", "100.00", "+0.00", "not shown", "0 / 0", "1.000", "1.000", "1"]
    assert table["R@1, 90-100 %"] == ["-", "-", "-", "", "", "", "", "0"]


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
