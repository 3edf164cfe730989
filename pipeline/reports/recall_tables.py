"""Tables of recall: overall, by object size, and two sets side by side. Figures in percent, differences in points."""

from __future__ import annotations

from pipeline.reports.difference_text import short_p, shown_text
from pipeline.reports.text_table import Table, percent, points
from pipeline.retrieval.comparison import Comparison, Difference
from pipeline.retrieval.intervals import Interval, Intervals
from pipeline.retrieval.multiple import holm
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
    p is that of the sign flips over photos, `Holm` the same corrected for all figures of the tables of both directions.
    """
    first, second = (getattr(report, direction) for report in reports)
    ks = reports[0].ks
    corrected = corrected_p(comparison, ks)
    listed = {label: (change, corrected[direction, label]) for label, change in _listed(comparison, direction, ks)}
    binned = first.queries - first.unbinned
    rows = [_difference_row(label, *listed[label], first.queries) for label in (f"R@{k}" for k in ks)]
    rows += [_difference_row(label, *listed[label], binned) for label in (f"mR@{k}" for k in ks)]
    for name in ("median_rank", "mean_rank"):
        before, after = getattr(first, name), getattr(second, name)
        change = "-" if before is None else f"{after - before:+.4g}"
        rows.append([name.replace("_", " "), rank(before), rank(after), change, *[""] * 4, str(first.queries)])
    for number, size_bin in enumerate(first.bins):
        label = f"R@{ks[0]}, {bin_name(number)}"
        rows.append(_difference_row(label, *listed[label], size_bin.queries))
    return ["", *names, "difference", "shown", "only", "p", "Holm", "queries"], rows


def corrected_p(comparison: Comparison, ks: tuple[int, ...]) -> dict[tuple[str, str], float | None]:
    """Holm's adjusted p by direction and row, over all rows of the comparison tables of both directions."""
    listed = [(name, label, change) for name in DIRECTIONS for label, change in _listed(comparison, name, ks)]
    adjusted = holm([change.p for _, _, change in listed])
    return {(name, label): p for (name, label, _), p in zip(listed, adjusted, strict=True)}


def _listed(comparison: Comparison, direction: str, ks: tuple[int, ...]) -> list[tuple[str, Difference]]:
    """The rows of a comparison table with a difference: recalls, mean recalls, and each bin's recall at the first K."""
    differences: Figures[Difference] = getattr(comparison, direction)
    rows = [(f"R@{k}", differences.overall[k]) for k in ks]
    rows += [(f"mR@{k}", differences.mean_recall[k]) for k in ks]
    return rows + [(f"R@{ks[0]}, {bin_name(number)}", by_k[ks[0]]) for number, by_k in enumerate(differences.bins)]


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


def _difference_row(label: str, change: Difference, corrected: float | None, queries: int) -> list[str]:
    only = "" if change.gained is None else f"{change.lost} / {change.gained}"
    values = [percent(change.first), percent(change.second), points_with_interval(change.difference, change.interval)]
    return [label, *values, shown_text(change), only, short_p(change.p), short_p(corrected), str(queries)]
