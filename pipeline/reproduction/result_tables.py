"""Tables A, C and D, and the one on the switches: our figures, with the printed ones beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.experiments import paper
from pipeline.experiments.variants import CHOSEN, CHOSEN_PLAIN_ITM, PLAIN, PLAIN_ITM, grid_name, grid_points
from pipeline.reports.difference_text import DIFFERENCE_HEADERS, difference_cells, p_text, verdict
from pipeline.reports.text_table import Table, interval_text, percent, points
from pipeline.retrieval.comparison import Comparison, Difference, compare
from pipeline.retrieval.intervals import Interval, bootstrap
from pipeline.retrieval.metrics import pick
from pipeline.retrieval.multiple import holm
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.recall import DirectionRecall, report_of
from pipeline.retrieval.resampling import Figures

KS = (1, 5)
METRICS = ("10%", "R@1", "R@5", "mR@1", "mR@5")
"""Table A's columns: "10%" is R@1 where the largest object covers less than a tenth of the photo."""


class Metric(NamedTuple):
    """One figure (a fraction; None without a query), its interval, and the number of queries behind it."""

    value: float | None
    interval: Interval | None
    queries: int


@dataclass(frozen=True)
class SettingMetrics:
    """The text-to-image figures of every setting, and its comparison with plain.

    Attributes:
        values: setting -> metric -> figure.
        against_plain: setting -> metric -> paired difference.
    """

    values: Mapping[str, Mapping[str, Metric]]
    against_plain: Mapping[str, Mapping[str, Difference]]

    @classmethod
    def of(cls, ranks: Mapping[str, Ranks], *, samples: int, seed: int) -> SettingMetrics:
        """From the ranks of every setting, `PLAIN` included; its size bins are used for all."""
        plain = ranks[PLAIN]
        values, against = {}, {}
        for name, of_setting in ranks.items():
            intervals = bootstrap(of_setting, KS, samples=samples, seed=seed).t2i
            values[name] = _metrics(report_of(of_setting, KS).t2i, intervals)
            against[name] = by_metric(compare(plain, of_setting, KS, samples=samples, seed=seed))
        return cls(values, against)


def table_a(metrics: SettingMetrics, rows: Sequence[str]) -> Table:
    """One line per method and metric: our figure, its interval, the gain over plain, the paper's figure.

    p is corrected for all comparisons of the table.
    """
    headers = ["", "metric", "here", "95 % interval", "over plain", *DIFFERENCE_HEADERS, "paper", "here - paper", "n"]
    cells = [(row, name) for row in rows for name in METRICS]
    changes = [metrics.against_plain[row][name] if row != PLAIN else None for row, name in cells]
    corrected = holm([change.p if change else None for change in changes])
    lines = []
    for (row, name), change, p in zip(cells, changes, corrected, strict=True):
        printed = paper.TABLE_A.get(row, {})
        metric = metrics.values[row][name]
        line = [row, name, percent(metric.value), interval_text(metric.interval), *difference_cells(change, p)]
        line += [f"{printed[name]:.2f}" if name in printed else "-", _gap(metric.value, printed.get(name))]
        lines.append([*line, str(metric.queries)])
    return headers, lines


def table_a_matched(matched: Mapping[str, Ranks], *, samples: int, seed: int) -> Table:
    """Table A with both of its first rows re-ranked by image-text matching without objects, and the paper's figures.

    Args:
        matched: the re-ranked settings.
        samples: bootstrap resamples.
        seed: seed of the resamples.
    """
    metrics = SettingMetrics.of(
        {PLAIN: matched[PLAIN_ITM], CHOSEN: matched[CHOSEN_PLAIN_ITM]}, samples=samples, seed=seed
    )
    headers, lines = table_a(metrics, (PLAIN, CHOSEN))
    headers[headers.index("over plain")] = f"over {PLAIN_ITM}"
    names = {PLAIN: PLAIN_ITM, CHOSEN: CHOSEN_PLAIN_ITM}
    return headers, [[names[line[0]], *line[1:]] for line in lines]


def grid_table(metrics: SettingMetrics, metric: str, table: str, scales: Sequence[float]) -> Table:
    """Table C ("C": weight by scale) or D ("D": weight by threshold) for one metric: `here (paper)` in each cell.

    The paper's figures are shown if its scales are used. They exist for "10%" and for what it calls R@1; the latter is
    shown beside both R@1 and mR@1, since it probably is mR@1.
    """
    columns = list(scales) if table == "C" else list(paper.THRESHOLDS)
    printed = {
        ("C", True): paper.TABLE_C_SMALL,
        ("C", False): paper.TABLE_C_ALL,
        ("D", True): paper.TABLE_D_SMALL,
        ("D", False): paper.TABLE_D_ALL,
    }[table, metric == "10%"]
    compared = tuple(scales) == paper.SCALES
    rows = []
    for weight in paper.WEIGHTS:
        cells: list[str] = [weight]
        for number, column in enumerate(columns):
            point = (weight, column, paper.TABLE_C_THRESHOLD) if table == "C" else (weight, scales[-1], column)
            here = percent(metrics.values[grid_name(*point)][metric].value)
            cells.append(f"{here} ({printed[weight][number]:.2f})" if compared else here)
        rows.append(cells)
    return [f"{metric}: {'scale' if table == 'C' else 'threshold'}", *(f"{column:g}" for column in columns)], rows


def grid_note(metrics: SettingMetrics, metric: str, table: str, scales: Sequence[float]) -> str:
    """How to read a grid: plain, the best cell against it, and how much of that may be chance.

    The p of the best cell is corrected for all cells of the grid.
    """
    names = [grid_name(*point) for point in grid_points(table, scales)]
    best = max(names, key=lambda name: metrics.values[name][metric].value or 0)
    value, change = metrics.values[best][metric], metrics.against_plain[best][metric]
    corrected = dict(zip(names, holm([metrics.against_plain[name][metric].p for name in names]), strict=True))
    better = sum((metrics.against_plain[name][metric].difference or 0) > 0 for name in names)
    return (
        f"plain {percent(metrics.values[PLAIN][metric].value)}; best {percent(value.value)} at {best}:"
        f" {points(change.difference)} over plain, 95 % interval {interval_text(change.interval, signed=True)} (not"
        f" corrected for having looked at {len(names)}; {verdict(change)}), p = {p_text(change.p)}, corrected for"
        f" {len(names)} (Holm) {p_text(corrected[best])}; above plain in {better} of {len(names)}; n = {value.queries}"
    )


def switch_table(
    metrics: SettingMetrics, ranks: Mapping[str, Ranks], names: Sequence[str], samples: int, seed: int
) -> Table:
    """The effect of each switch between the paper's method and the released code, against the chosen setting.

    p is corrected for all comparisons of the table.
    """
    headers = ["switch", "metric", "here", "against Q-Pert.", *DIFFERENCE_HEADERS]
    changes = []
    for name in names:
        of_name = by_metric(compare(ranks[CHOSEN], ranks[name], KS, samples=samples, seed=seed))
        changes += [(name, metric, of_name[metric]) for metric in ("10%", "R@1", "mR@1")]
    corrected = holm([change.p for _, _, change in changes])
    rows = [
        [name, metric, percent(metrics.values[name][metric].value), *difference_cells(change, p)]
        for (name, metric, change), p in zip(changes, corrected, strict=True)
    ]
    return headers, rows


def by_metric(comparison: Comparison) -> dict[str, Difference]:
    """The text-to-image differences of `METRICS`."""
    return {metric: pick(comparison, metric) for metric in METRICS}


def _metrics(recall: DirectionRecall, intervals: Figures[Interval | None]) -> dict[str, Metric]:
    small = recall.bins[0]
    values = {"10%": Metric(small.recall.get(1), intervals.bins[0][1], small.queries)}
    for k in KS:
        values[f"R@{k}"] = Metric(recall.overall.get(k), intervals.overall[k], recall.queries)
        binned = recall.queries - recall.unbinned
        values[f"mR@{k}"] = Metric(recall.mean_recall[k], intervals.mean_recall[k], binned)
    return values


def _gap(here: float | None, printed: float | None) -> str:
    return "-" if here is None or printed is None else f"{100 * here - printed:+.2f}"
