"""The figures of a setting by the names that options and tables use."""

from __future__ import annotations

from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.recall import DirectionRecall, report_of

KS = (1, 5, 10)
SMALL = "10%"
"""Recall@1 of the queries whose photo has its largest object below a tenth of the area (Tables A, C and D)."""
METRICS = (SMALL, *(f"R@{k}" for k in KS), *(f"mR@{k}" for k in KS))
"""Text to image; image to text are these with `i2t ` before them."""
ALL_METRICS = (*METRICS, *(f"i2t {name}" for name in METRICS))


def metrics_of(ranks: Ranks) -> dict[str, float]:
    """Fractions 0 to 1 by `ALL_METRICS`; NaN where there is no query to measure by."""
    report = report_of(ranks, KS)
    found = _of(report.t2i) | {f"i2t {name}": value for name, value in _of(report.i2t).items()}
    return {name: float("nan") if value is None else value for name, value in found.items()}


def _of(recall: DirectionRecall) -> dict[str, float | None]:
    found = {SMALL: recall.bins[0].recall.get(1)}
    found |= {f"R@{k}": recall.overall.get(k) for k in KS}
    return found | {f"mR@{k}": recall.mean_recall[k] for k in KS}
