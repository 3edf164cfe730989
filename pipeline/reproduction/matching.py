"""The table on image-text matching: what re-ranking adds, and what objects add to it where."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.experiments.result_tables import KS, METRICS, Measures, Table, by_metric, points, span
from pipeline.experiments.settings import PLAIN, PLAIN_ITM
from pipeline.reports.text_table import percent
from pipeline.retrieval.comparison import compare
from pipeline.retrieval.ranks import Ranks


def matching_table(plain: Ranks, matched: Mapping[str, Ranks], *, samples: int, seed: int) -> Table:
    """Text to image: contrast alone, and re-ranked settings beside it, against both plain contrast and plain matching.

    Args:
        plain: contrast without objects.
        matched: the re-ranked settings, `PLAIN_ITM` among them.
        samples: bootstrap resamples.
        seed: of the resamples.
    """
    measures = Measures.of({PLAIN: plain, **matched}, samples=samples, seed=seed)
    headers = ["", "metric", "here", "95 % interval", "over contrast", "95 % interval", "p"]
    headers += ["over plain ITM", "95 % interval", "p"]
    rows = []
    for name in (PLAIN, *matched):
        further = name not in (PLAIN, PLAIN_ITM)
        above = by_metric(compare(matched[PLAIN_ITM], matched[name], KS, samples=samples, seed=seed)) if further else {}
        for metric in METRICS:
            figure = measures.figures[name][metric]
            row = ["contrast alone" if name == PLAIN else name, metric, percent(figure.value), span(figure.interval)]
            for change in (measures.against_plain[name][metric] if name != PLAIN else None, above.get(metric)):
                if change is None:
                    row += ["", "", ""]
                else:
                    p = "" if change.p is None else f"{change.p:.3g}"
                    row += [points(change.difference), span(change.interval, signed=True), p]
            rows.append(row)
    return headers, rows
