"""Tables of recall: overall, by object size, and two sets side by side. Figures in percent, differences in points."""

from __future__ import annotations

from pipeline.reports.text_table import Table, percent, points
from pipeline.retrieval.comparison import Comparison, Difference
from pipeline.retrieval.intervals import Interval, Intervals
from pipeline.retrieval.ranks import BINS
from pipeline.retrieval.recall import DirectionRecall, RecallReport
from pipeline.retrieval.resampling import Figures

DIRECTIONS = {"t2i": "text to image", "i2t": "image to text"}


def bin_name(number: int) -> str:
    """`0-10 %`: the share of the photo that its largest object covers."""
    return f"{100 * number // BINS}-{100 * (number + 1) // BINS} %"


def overall_table(report: RecallReport, intervals: Intervals | None = None) -> Table:
    """Recall@K and mR@K with their intervals, ranks and queries; a column for each direction."""
    columns = [_overall_column(report, name, intervals) for name in DIRECTIONS]
    labels = [f"R@{k}" for k in report.ks] + [f"mR@{k}" for k in report.ks] + ["median rank", "mean rank", "queries"]
    return ["", *DIRECTIONS.values()], [list(row) for row in zip(labels, *columns, strict=True)]


def bins_table(report: RecallReport, direction: str, intervals: Intervals | None = None) -> Table:
    """Recall@K of the ten bins of the largest object's area, and the number of queries in each.

    Args:
        report: the figures.
        direction: "t2i" or "i2t".
        intervals: those of the same figures.
    """
    part: DirectionRecall = getattr(report, direction)
    spans: Figures[Interval | None] | None = getattr(intervals, direction) if intervals else None
    rows = []
    for number, size_bin in enumerate(part.bins):
        cells = [with_interval(size_bin.recall.get(k), spans.bins[number][k] if spans else None) for k in report.ks]
        rows.append([bin_name(number), *cells, str(size_bin.queries)])
    return ["largest object", *(f"R@{k}" for k in report.ks), "queries"], rows


def comparison_table(
    names: tuple[str, str], reports: tuple[RecallReport, RecallReport], comparison: Comparison, direction: str
) -> Table:
    """Every overall figure and each bin's Recall at the first K, of both sets, in one direction.

    The difference has its paired interval. `only` counts the queries that one set alone gets right, first and second;
    p is McNemar's.
    """
    first, second = (getattr(report, direction) for report in reports)
    differences: Figures[Difference] = getattr(comparison, direction)
    ks = reports[0].ks
    rows = [_difference_row(f"R@{k}", differences.overall[k], first.queries) for k in ks]
    rows += [_difference_row(f"mR@{k}", differences.mean_recall[k], first.queries - first.unbinned) for k in ks]
    for name in ("median_rank", "mean_rank"):
        before, after = getattr(first, name), getattr(second, name)
        change = "-" if before is None else f"{after - before:+.4g}"
        rows.append([name.replace("_", " "), rank(before), rank(after), change, "", "", str(first.queries)])
    for number, by_k in enumerate(differences.bins):
        rows.append(_difference_row(f"R@{ks[0]}, {bin_name(number)}", by_k[ks[0]], first.bins[number].queries))
    return ["", *names, "difference", "only", "p", "queries"], rows


def difference_table(names: tuple[str, str], reports: tuple[RecallReport, RecallReport]) -> Table:
    """Two reports of the same queries side by side, in percent, and what the second adds, in points.

    Recall@K of both directions, and Recall at the first K for the smallest objects, with the number of queries.
    """
    headers = ["", *names, "difference", "queries"]
    rows = []
    for name, title in DIRECTIONS.items():
        first, second = (getattr(report, name) for report in reports)
        for k in reports[0].ks:
            rows.append(_difference(f"{title}, R@{k}", first.overall.get(k), second.overall.get(k), first.queries))
        small, other, k = first.bins[0], second.bins[0], reports[0].ks[0]
        label = f"{title}, R@{k}, largest object < 10 %"
        rows.append(_difference(label, small.recall.get(k), other.recall.get(k), small.queries))
    return headers, rows


def _difference(label: str, first: float | None, second: float | None, queries: int) -> list[str]:
    change = None if first is None or second is None else second - first
    return [label, percent(first), percent(second), points(change), str(queries)]


def with_interval(value: float | None, interval: Interval | None) -> str:
    """`65.56 (64.1-67.0)`, or the figure alone."""
    span = f" ({percent(interval.low, 1)}-{percent(interval.high, 1)})" if interval else ""
    return percent(value) + span


def points_with_interval(value: float | None, interval: Interval | None) -> str:
    """A difference in points: `-0.16 (-0.88 to +0.56)`."""
    span = f" ({points(interval.low)} to {points(interval.high)})" if value is not None and interval else ""
    return points(value) + span


def rank(value: float | None) -> str:
    """A median or mean rank; `-` for None."""
    return "-" if value is None else f"{value:.4g}"


def _overall_column(report: RecallReport, direction: str, intervals: Intervals | None) -> list[str]:
    part: DirectionRecall = getattr(report, direction)
    spans: Figures[Interval | None] | None = getattr(intervals, direction) if intervals else None
    cells = [with_interval(part.overall.get(k), spans.overall[k] if spans else None) for k in report.ks]
    cells += [with_interval(part.mean_recall[k], spans.mean_recall[k] if spans else None) for k in report.ks]
    return [*cells, rank(part.median_rank), rank(part.mean_rank), str(part.queries)]


def _difference_row(label: str, change: Difference, queries: int) -> list[str]:
    only = "" if change.gained is None else f"{change.lost} / {change.gained}"
    p = "" if change.p is None else f"{change.p:.3f}" if change.p >= 0.001 else "< 0.001"
    difference = points_with_interval(change.difference, change.interval)
    return [label, percent(change.first), percent(change.second), difference, only, p, str(queries)]
