"""The table of proof, the differences of its rows to plain, and the derived quantities, as tables of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.experiments.variants import PLAIN
from pipeline.reports.recall_tables import points_with_interval
from pipeline.reports.text_table import Table, interval_text, percent, points
from pipeline.reproduction.proof.cost import Costs
from pipeline.reproduction.proof.quantities import METRICS, Quantity
from pipeline.reproduction.proof.rows import Row
from pipeline.reproduction.result_tables import p_text
from pipeline.retrieval.contrasts import Contrast, Contrasts
from pipeline.retrieval.multiple import holm

COLUMNS: Final = {
    "R@1": "R@1",
    "R@5": "R@5",
    "10%": "R@1 < 10 %",
    "3%": "R@1 < 3 %",
    "1%": "R@1 < 1 %",
    "mR@1": "mR@1",
}
"""Metrics with their headings: Recall of all captions, of those whose photo has its largest object below a share of the
area, and the harmonic mean over the ten sizes."""
_POWER = 1.959964 + 0.841621
"""Standard errors of the smallest difference that a two-sided test at 5 % finds with 80 % power."""


def figures_table(contrasts: Contrasts, rows: Sequence[Row], costs: Costs) -> Table:
    """Every row's recall in percent and its cost per photo."""
    lines = []
    for row in rows:
        cost = costs.rows[row.name]
        extra = "" if row.name == PLAIN else "-" if cost.extra is None else f"{cost.extra:+.2f}"
        recall = [percent(contrasts.figure(row.name, metric).value) for metric in COLUMNS]
        lines.append([row.name, *recall, f"{cost.vectors:.4g}", f"{cost.passes:.4g}", extra, f"{cost.bytes:,.0f}"])
    counts = [f"{contrasts.figure(PLAIN, metric).queries:,}" for metric in COLUMNS]
    lines.append(["captions", *counts, "", "", "", ""])
    return ["", *COLUMNS.values(), "vectors", "tower passes", "extra ms", "bytes per photo"], lines


def differences_table(contrasts: Contrasts, rows: Sequence[Row]) -> Table:
    """Every row minus plain, in points with intervals, and its p values corrected by Holm over the rows."""
    others = [row.name for row in rows if row.name != PLAIN]
    found = {(name, metric): contrasts.contrast(PLAIN, name, metric) for name in others for metric in COLUMNS}
    adjusted = {
        metric: dict(zip(others, holm([found[name, metric].p for name in others]), strict=True)) for metric in METRICS
    }
    lines = []
    for name in others:
        changes = [points_with_interval(found[name, metric].value, found[name, metric].interval) for metric in COLUMNS]
        lines.append([name, *changes, *(p_text(adjusted[metric][name]) for metric in METRICS)])
    headings = [f"p (Holm), {COLUMNS[metric]}" for metric in METRICS]
    return ["minus plain", *COLUMNS.values(), *headings], lines


def quantities_table(by_series: Mapping[str, Contrasts], quantities: Sequence[Quantity]) -> Table:
    """Every quantity in every series and pooled, with what it would have to be to show."""
    lines = []
    for series, contrasts in by_series.items():
        for metric in METRICS:
            found = [contrasts.contrast(quantity.first, quantity.second, metric) for quantity in quantities]
            for quantity, contrast, p in zip(quantities, found, holm([one.p for one in found]), strict=True):
                lines.append(
                    [
                        quantity.name,
                        quantity.row,
                        series,
                        COLUMNS[metric],
                        points(contrast.value),
                        interval_text(contrast.interval, signed=True),
                        p_text(p),
                        verdict(contrast),
                    ]
                )
    order = {(quantity.name, quantity.row): number for number, quantity in enumerate(quantities)}
    lines.sort(key=lambda line: order[line[0], line[1]])
    return ["quantity", "setting", "photos", "metric", "points", "95 % interval", "p (Holm)", "shown"], lines


def verdict(contrast: Contrast) -> str:
    """Whether the interval excludes zero; else the difference that would most likely have been found."""
    if contrast.side:
        return "above 0" if contrast.side > 0 else "below 0"
    if contrast.error is None:
        return "not shown"
    return f"not shown (detectable: {100 * _POWER * contrast.error:.2f})"


def by_size_table(contrasts: Contrasts, rows: Sequence[Row], sizes: Mapping[str, str]) -> Table:
    """Recall@1 minus plain by the size of the largest object, in points: the numbers of the figure.

    Args:
        contrasts: of the photos.
        rows: plain is left out.
        sizes: heading by metric.
    """
    others = [row.name for row in rows if row.name != PLAIN]
    lines = [[name, *(points(contrasts.contrast(PLAIN, name, metric).value) for metric in sizes)] for name in others]
    lines.append(["captions", *(f"{contrasts.figure(PLAIN, metric).queries:,}" for metric in sizes)])
    return ["minus plain", *sizes.values()], lines
