"""Tables A, C and D, and the one on the switches: what was measured here, and beside it what the paper printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.experiments import paper
from pipeline.experiments.settings import CHOSEN, PLAIN, grid_name, grid_points
from pipeline.reports.text_table import percent
from pipeline.retrieval.comparison import Comparison, Difference, compare
from pipeline.retrieval.intervals import Interval, bootstrap
from pipeline.retrieval.metrics import pick
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.recall import DirectionRecall, report_of
from pipeline.retrieval.resampling import Figures

KS = (1, 5)
METRICS = ("10%", "R@1", "R@5", "mR@1", "mR@5")
"""Table A's columns: "10%" is R@1 where the largest object covers less than a tenth of the photo."""
Table = tuple[list[str], list[list[str]]]


class Figure(NamedTuple):
    """One measured figure (a fraction; None without a query), its interval, and how many queries it is over."""

    value: float | None
    interval: Interval | None
    queries: int


@dataclass(frozen=True)
class Measures:
    """The text-to-image figures of every setting, and the comparison of each with plain.

    Attributes:
        figures: setting -> metric -> figure.
        against_plain: setting -> metric -> paired difference.
    """

    figures: Mapping[str, Mapping[str, Figure]]
    against_plain: Mapping[str, Mapping[str, Difference]]

    @classmethod
    def of(cls, ranks: Mapping[str, Ranks], *, samples: int, seed: int) -> Measures:
        """Measure; `ranks` has `PLAIN`, whose size bins are used for all."""
        plain = ranks[PLAIN]
        figures, against = {}, {}
        for name, each in ranks.items():
            intervals = bootstrap(each, KS, samples=samples, seed=seed).t2i
            figures[name] = _figures(report_of(each, KS).t2i, intervals)
            against[name] = by_metric(compare(plain, each, KS, samples=samples, seed=seed))
        return cls(figures, against)


def table_a(measures: Measures, rows: Sequence[str]) -> Table:
    """Method by metric, one line each: here, interval, paper, here - paper, queries; and the gain over plain."""
    headers = ["", "metric", "here", "95 % interval", "over plain", "95 % interval", "p", "paper", "here - paper", "n"]
    lines = []
    for row in rows:
        printed = paper.TABLE_A.get(row, {})
        for metric in METRICS:
            figure, change = measures.figures[row][metric], measures.against_plain[row][metric]
            lines.append(
                [
                    row,
                    metric,
                    percent(figure.value),
                    span(figure.interval),
                    points(change.difference) if row != PLAIN else "",
                    span(change.interval, signed=True) if row != PLAIN else "",
                    "" if change.p is None or row == PLAIN else f"{change.p:.3g}",
                    f"{printed[metric]:.2f}" if metric in printed else "-",
                    _gap(figure.value, printed.get(metric)),
                    str(figure.queries),
                ]
            )
    return headers, lines


def grid_table(measures: Measures, metric: str, table: str, scales: Sequence[float]) -> Table:
    """Table C ("C": weight by scale) or D ("D": weight by threshold) for one metric: `here (paper)` in each cell.

    The paper's figures stand in it where its scales are used, and the metric is "10%" or the one that it calls R@1;
    that one is beside both R@1 and mR@1, since it probably is the latter.
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
            here = percent(measures.figures[grid_name(*point)][metric].value)
            cells.append(f"{here} ({printed[weight][number]:.2f})" if compared else here)
        rows.append(cells)
    return [f"{metric}: {'scale' if table == 'C' else 'threshold'}", *(f"{each:g}" for each in columns)], rows


def grid_note(measures: Measures, metric: str, table: str, scales: Sequence[float]) -> str:
    """What to know when reading a grid: plain, the best cell against it, and how much of all that may be chance."""
    names = [grid_name(*point) for point in grid_points(table, scales)]
    best = max(names, key=lambda name: measures.figures[name][metric].value or 0)
    figure, change = measures.figures[best][metric], measures.against_plain[best][metric]
    better = sum((measures.against_plain[name][metric].difference or 0) > 0 for name in names)
    return (
        f"plain {percent(measures.figures[PLAIN][metric].value)}; best {percent(figure.value)} at {best}:"
        f" {points(change.difference)} over plain, 95 % interval {span(change.interval, signed=True)} (not corrected"
        f" for having looked at {len(names)}); above plain in {better} of {len(names)}; n = {figure.queries}"
    )


def switch_table(
    measures: Measures, ranks: Mapping[str, Ranks], names: Sequence[str], samples: int, seed: int
) -> Table:
    """What each switch from the paper's method to the released code's moves, against the chosen setting."""
    headers = ["switch", "metric", "here", "against Q-Pert.", "95 % interval", "p", "moves it"]
    rows = []
    for name in names:
        changes = by_metric(compare(ranks[CHOSEN], ranks[name], KS, samples=samples, seed=seed))
        for metric in ("10%", "R@1", "mR@1"):
            change = changes[metric]
            sure = change.interval is not None and (change.interval.low > 0 or change.interval.high < 0)
            p = "" if change.p is None else f"{change.p:.3g}"
            figure = percent(measures.figures[name][metric].value)
            between = span(change.interval, signed=True)
            rows.append([name, metric, figure, points(change.difference), between, p, "yes" if sure else "not shown"])
    return headers, rows


def points(value: float | None) -> str:
    """A difference in percentage points, with its sign."""
    return "-" if value is None else f"{100 * value:+.2f}"


def span(interval: Interval | None, *, signed: bool = False) -> str:
    """`64.10 to 67.00`."""
    if interval is None:
        return "-"
    return " to ".join((points if signed else percent)(end) for end in interval)


def _figures(recall: DirectionRecall, intervals: Figures[Interval | None]) -> dict[str, Figure]:
    small = recall.bins[0]
    found = {"10%": Figure(small.recall.get(1), intervals.bins[0][1], small.queries)}
    for k in KS:
        found[f"R@{k}"] = Figure(recall.overall.get(k), intervals.overall[k], recall.queries)
        binned = recall.queries - recall.unbinned
        found[f"mR@{k}"] = Figure(recall.mean_recall[k], intervals.mean_recall[k], binned)
    return found


def by_metric(comparison: Comparison) -> dict[str, Difference]:
    """The text-to-image differences of `METRICS`."""
    return {metric: pick(comparison, metric) for metric in METRICS}


def _gap(here: float | None, printed: float | None) -> str:
    return "-" if here is None or printed is None else f"{100 * here - printed:+.2f}"
