"""The table on image-text matching: the effect of re-ranking, and of objects in contrast and in matching."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.experiments.variants import PLAIN, PLAIN_ITM
from pipeline.reports.text_table import Table, interval_text, percent, points
from pipeline.reproduction.result_tables import KS, METRICS, SettingMetrics, by_metric, p_text
from pipeline.retrieval.comparison import compare
from pipeline.retrieval.ranks import Ranks


def matching_table(plain: Ranks, matched: Mapping[str, Ranks], *, samples: int, seed: int) -> Table:
    """Text to image: contrast alone, and re-ranked settings compared with both plain contrast and plain matching.

    Args:
        plain: contrast without objects.
        matched: the re-ranked settings, `PLAIN_ITM` among them.
        samples: bootstrap resamples.
        seed: seed of the resamples.
    """
    metrics = SettingMetrics.of({PLAIN: plain, **matched}, samples=samples, seed=seed)
    headers = ["", "metric", "here", "95 % interval", "over contrast", "95 % interval", "p"]
    headers += ["over plain ITM", "95 % interval", "p"]
    rows = []
    for name in (PLAIN, *matched):
        further = name not in (PLAIN, PLAIN_ITM)
        above = by_metric(compare(matched[PLAIN_ITM], matched[name], KS, samples=samples, seed=seed)) if further else {}
        for metric in METRICS:
            value = metrics.values[name][metric]
            title = "contrast alone" if name == PLAIN else name
            row = [title, metric, percent(value.value), interval_text(value.interval)]
            for change in (metrics.against_plain[name][metric] if name != PLAIN else None, above.get(metric)):
                if change is None:
                    row += ["", "", ""]
                else:
                    row += [points(change.difference), interval_text(change.interval, signed=True), p_text(change.p)]
            rows.append(row)
    return headers, rows
