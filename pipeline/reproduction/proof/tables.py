"""The table of proof, the differences of its rows to plain, and the derived quantities, as tables of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.experiments.variants import PLAIN
from pipeline.reports.difference_text import p_text, shown_text
from pipeline.reports.recall_tables import points_with_interval
from pipeline.reports.text_table import Table, percent
from pipeline.reproduction.proof.cost import Costs
from pipeline.reproduction.proof.quantities import METRICS, Quantity
from pipeline.reproduction.proof.rows import Row
from pipeline.retrieval.comparison import Difference
from pipeline.retrieval.contrasts import Contrasts
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
    adjusted = {metric: holm([found[name, metric].p for name in others]) for metric in METRICS}
    lines = []
    for number, name in enumerate(others):
        changes = [with_interval(found[name, metric]) for metric in COLUMNS]
        tested = [
            cell for metric in METRICS for cell in (shown_text(found[name, metric]), p_text(adjusted[metric][number]))
        ]
        lines.append([name, *changes, *tested])
    headings = [f"{what}, {COLUMNS[metric]}" for metric in METRICS for what in ("shown", "Holm")]
    return ["minus plain", *COLUMNS.values(), *headings], lines


def quantities_table(by_series: Mapping[str, Contrasts], quantities: Sequence[Quantity]) -> Table:
    """Every quantity on all photos, whether it is shown there, and on each series by itself.

    Args:
        by_series: the contrasts of all photos first, then, if these are pooled, those of each series.
        quantities: the quantities; p is corrected for them all, metric by metric.
    """
    first, *others = by_series
    adjusted = {
        metric: holm([by_series[first].contrast(one.first, one.second, metric).p for one in quantities])
        for metric in METRICS
    }
    lines = []
    for number, quantity in enumerate(quantities):
        for metric in METRICS:
            found = {name: one.contrast(quantity.first, quantity.second, metric) for name, one in by_series.items()}
            lines.append(
                [
                    quantity.name,
                    quantity.row,
                    COLUMNS[metric],
                    with_interval(found[first]),
                    shown_text(found[first]),
                    p_text(adjusted[metric][number]),
                    *(with_interval(found[name]) for name in others),
                ]
            )
    return ["quantity", "setting", "metric", first, "shown", "Holm", *others], lines


def with_interval(change: Difference) -> str:
    """A difference in points with its interval: `+2.10 (+0.50 to +3.70)`."""
    return points_with_interval(change.difference, change.interval)
