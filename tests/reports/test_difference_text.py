"""Words for a difference: shown, or not and what would have been."""

from __future__ import annotations

from pipeline.reports.difference_text import p_text, short_p, shown_text, verdict
from pipeline.retrieval import Difference, Interval


def change(low: float, high: float, error: float | None = 0.01) -> Difference:
    return Difference(0.5, 0.51, 0.01, Interval(low, high), 1, 0, 0.5, error)


def test_what_is_not_shown_has_the_size_that_would_have_been() -> None:
    assert shown_text(change(0.001, 0.02)) == "yes"
    assert shown_text(change(-0.01, 0.03)) == "not shown (2.80)"
    assert shown_text(change(0.0, 0.0, 0.0)) == "not shown"
    assert shown_text(Difference(None, None, None, None, None, None, None)) == ""
    assert verdict(change(0.001, 0.02)) == "shown"
    assert verdict(change(-0.01, 0.03)) == "not shown; would have seen 2.80 points or more"
    assert verdict(change(0.0, 0.0, 0.0)) == "not shown"


def test_p_values_in_two_lengths() -> None:
    assert [p_text(p) for p in (None, 0.0000123, 0.5)] == ["", "1.23e-05", "0.5"]
    assert [short_p(p) for p in (None, 0.0000123, 0.5)] == ["", "< 0.001", "0.500"]
