"""The table on image-text matching: the effect of re-ranking, and of objects in contrast and in matching."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.experiments.variants import PLAIN, PLAIN_ITM
from pipeline.reports.difference_text import DIFFERENCE_HEADERS, difference_cells
from pipeline.reports.text_table import Table, interval_text, percent
from pipeline.reproduction.result_tables import KS, METRICS, SettingMetrics, by_metric
from pipeline.retrieval.comparison import Difference, compare
from pipeline.retrieval.multiple import holm
from pipeline.retrieval.ranks import Ranks


def matching_table(plain: Ranks, matched: Mapping[str, Ranks], *, samples: int, seed: int) -> Table:
    """Text to image: contrast alone, and re-ranked settings compared with both plain contrast and plain matching.

    p is corrected for all comparisons of the table, in both columns.

    Args:
        plain: contrast without objects.
        matched: the re-ranked settings, `PLAIN_ITM` among them.
        samples: bootstrap resamples.
        seed: seed of the resamples.
    """
    metrics = SettingMetrics.of({PLAIN: plain, **matched}, samples=samples, seed=seed)
    headers = ["", "metric", "here", "95 % interval", "over contrast", *DIFFERENCE_HEADERS]
    headers += ["over plain ITM", *DIFFERENCE_HEADERS]
    rows: list[list[str]] = []
    changes: list[tuple[Difference | None, Difference | None]] = []
    for name in (PLAIN, *matched):
        further = name not in (PLAIN, PLAIN_ITM)
        above = by_metric(compare(matched[PLAIN_ITM], matched[name], KS, samples=samples, seed=seed)) if further else {}
        for metric in METRICS:
            value = metrics.values[name][metric]
            title = "contrast alone" if name == PLAIN else name
            rows.append([title, metric, percent(value.value), interval_text(value.interval)])
            over_contrast = metrics.against_plain[name][metric] if name != PLAIN else None
            changes.append((over_contrast, above.get(metric)))
    corrected = iter(holm([change.p if change else None for pair in changes for change in pair]))
    for row, pair in zip(rows, changes, strict=True):
        for change in pair:
            row += difference_cells(change, next(corrected))
    return headers, rows
