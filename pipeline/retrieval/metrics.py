"""The figures of an evaluation by the names used in options and tables."""

from __future__ import annotations

from typing import Any

from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.recall import DirectionRecall, report_of
from pipeline.retrieval.resampling import Figures

KS = (1, 5, 10)
SMALL = "10%"
"""Recall@1 of the queries whose photo has its largest object below a tenth of the area (Tables A, C and D)."""
METRICS = (SMALL, *(f"R@{k}" for k in KS), *(f"mR@{k}" for k in KS))
"""Text to image; the same names with the prefix `i2t ` are image to text."""
ALL_METRICS = (*METRICS, *(f"i2t {name}" for name in METRICS))


def metrics_of(ranks: Ranks) -> dict[str, float]:
    """Fractions (0 to 1) by the names in `ALL_METRICS`; NaN where there is no query."""
    report = report_of(ranks, KS)
    values = _of(report.t2i) | {f"i2t {name}": value for name, value in _of(report.i2t).items()}
    return {name: float("nan") if value is None else value for name, value in values.items()}


def _of(recall: DirectionRecall) -> dict[str, float | None]:
    values = {SMALL: recall.bins[0].recall.get(1)}
    values |= {f"R@{k}": recall.overall.get(k) for k in KS}
    return values | {f"mR@{k}": recall.mean_recall[k] for k in KS}


def pick(figures: Any, metric: str) -> Any:
    """The entry for `metric` of an `Intervals` or a `Comparison`."""
    which: Figures[Any] = figures.i2t if metric.startswith("i2t ") else figures.t2i
    name = metric.removeprefix("i2t ")
    if name == SMALL:
        return which.bins[0][1]
    kind, _, k = name.partition("@")
    return (which.mean_recall if kind == "mR" else which.overall)[int(k)]
