"""The findings of a search: every setting with its figures and its gain over plain, the best one, two-way tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.method.settings import Perturbation
from pipeline.reports.difference_text import p_text, verdict
from pipeline.reports.heat_map import HeatMap
from pipeline.reports.text_table import Table, interval_text, percent, points
from pipeline.retrieval.comparison import Difference, compare
from pipeline.retrieval.intervals import Interval, bootstrap
from pipeline.retrieval.metrics import KS, metrics_of, pick
from pipeline.retrieval.multiple import holm
from pipeline.retrieval.ranks import Ranks
from pipeline.tuning.space import Value


@dataclass(frozen=True)
class Finding:
    """One setting.

    Attributes:
        chosen: the values of the searched fields.
        setting: the whole perturbation.
        metrics: figures in fractions, see `pipeline.retrieval.metrics`.
        interval: interval of the metric that is searched for.
        gain: gain of that metric over plain.
    """

    chosen: Mapping[str, Value]
    setting: Perturbation
    metrics: Mapping[str, float]
    interval: Interval | None
    gain: Difference


@dataclass(frozen=True)
class Findings:
    """All settings, in the order of their trials.

    Attributes:
        metric: the metric that was searched for.
        plain: the figures without objects.
        plain_interval: interval of the metric without objects.
        all: the settings.
        queries: number of queries in the metric's direction.
    """

    metric: str
    plain: Mapping[str, float]
    plain_interval: Interval | None
    all: tuple[Finding, ...]
    queries: int

    @classmethod
    def of(
        cls,
        settings: Sequence[tuple[Mapping[str, Value], Perturbation, Ranks]],
        plain: Ranks,
        metric: str,
        *,
        samples: int,
        seed: int,
    ) -> Findings:
        """Compares all settings with plain, with bootstrap intervals over photos."""
        findings = []
        for chosen, setting, ranks in settings:
            interval = pick(bootstrap(ranks, KS, samples=samples, seed=seed), metric)
            gain = pick(compare(plain, ranks, KS, samples=samples, seed=seed), metric)
            findings.append(Finding(chosen, setting, metrics_of(ranks), interval, gain))
        interval = pick(bootstrap(plain, KS, samples=samples, seed=seed), metric)
        queries = len(plain.image_ranks if metric.startswith("i2t ") else plain.text_ranks)
        return cls(metric, metrics_of(plain), interval, tuple(findings), queries)

    @property
    def best(self) -> Finding:
        """The setting with the highest metric, the first among equals; one without a figure is never the best."""
        return max(self.measured or self.all, key=lambda finding: finding.metrics[self.metric])

    @property
    def measured(self) -> list[Finding]:
        """The settings with a figure for the metric."""
        return [finding for finding in self.all if not math.isnan(finding.metrics[self.metric])]

    @property
    def corrected(self) -> list[float | None]:
        """P of each setting's gain, corrected for all settings (Holm)."""
        return holm([finding.gain.p for finding in self.all])

    def table(self, rows: str, columns: str, fixed: Mapping[str, object]) -> Grid | None:
        """The metric by two fields, with the others at `fixed`; None unless both fields have two values or more."""
        findings = [
            finding for finding in self.all if fixed.items() <= {**finding.setting.as_dict(), **finding.chosen}.items()
        ]
        across, down = (_ordered(finding.chosen[name] for finding in findings) for name in (columns, rows))
        if len(across) < 2 or len(down) < 2:
            return None
        cells = {(finding.chosen[rows], finding.chosen[columns]): finding for finding in findings}
        return Grid(rows, columns, self.metric, down, across, cells, dict(fixed))

    def summary(self) -> str:
        """Plain, the best, and how much of that may be chance."""
        best = self.best
        better = sum((finding.gain.difference or 0) > 0 for finding in self.all)
        corrected = self.corrected[self.all.index(best)]
        return (
            f"{self.metric}: plain {percent(self.plain[self.metric])} ({interval_text(self.plain_interval)}); best"
            f" {percent(best.metrics[self.metric])} ({interval_text(best.interval)}),"
            f" {points(best.gain.difference)} over plain, 95 % interval"
            f" {interval_text(best.gain.interval, signed=True)}, not corrected for having looked at"
            f" {len(self.all)} ({verdict(best.gain)}), p = {p_text(best.gain.p)}, corrected for {len(self.all)} (Holm)"
            f" {p_text(corrected)}; above plain in {better} of {len(self.all)}"
        )

    def rows(self) -> pa.Table:
        """Every setting with all its fields and figures, and the interval and gain of the metric searched for."""
        lines: list[dict[str, Any]] = []
        for finding, corrected in zip(self.all, self.corrected, strict=True):
            fields = {name: _plain(value) for name, value in finding.setting.as_dict().items()}
            fields["sites"] = fields.get("sites", "all")
            # Those that `as_dict` leaves out at their defaults have a column as well if they were searched.
            fields |= {name: getattr(finding.setting, name) for name in finding.chosen if name not in fields}
            gain = finding.gain
            ends = dict(zip(("low", "high"), finding.interval or (None, None), strict=True))
            gain_ends = dict(zip(("gain_low", "gain_high"), gain.interval or (None, None), strict=True))
            tests = {"p": gain.p, "p_holm": corrected, "detectable": gain.detectable}
            lines.append({**fields, **finding.metrics, **ends, "gain": gain.difference, **gain_ends, **tests})
        return pa.Table.from_pylist(lines)


@dataclass(frozen=True)
class Grid:
    """One metric by two fields.

    Attributes:
        rows: the field down the side.
        columns: the field across.
        metric: the metric in the cells.
        down: values of `rows`.
        across: values of `columns`.
        cells: the findings by both values.
        fixed: the fields with one value in the whole grid.
    """

    rows: str
    columns: str
    metric: str
    down: Sequence[Value]
    across: Sequence[Value]
    cells: Mapping[tuple[Value, Value], Finding]
    fixed: Mapping[str, object]

    @property
    def best(self) -> tuple[Value, Value]:
        """The cell with the highest metric."""
        return max(self.cells, key=lambda place: self.cells[place].metrics[self.metric])

    @property
    def title(self) -> str:
        """Heading of the grid."""
        fixed = "".join(f", {name} {value}" for name, value in self.fixed.items())
        return f"{self.metric} by {self.rows} and {self.columns}{fixed}"

    def text(self) -> Table:
        """Percent in each cell; a star marks the best one."""
        lines = []
        for row in self.down:
            cells = [self._cell((row, column)) for column in self.across]
            lines.append([str(row), *cells])
        return [f"{self.rows} \\ {self.columns}", *map(str, self.across)], lines

    def draw(self, path: str | Path, plain: float) -> None:
        """Draws a heat map, with the best cell marked and its interval in the title."""
        best = self.cells[self.best]
        gain = f"{points(best.gain.difference)}, {interval_text(best.gain.interval, signed=True)}"
        title = (
            f"{self.title}\nplain {percent(plain)}; best {percent(best.metrics[self.metric])}, 95 % interval"
            f" {interval_text(best.interval)},\nover plain {gain}"
        )
        HeatMap(
            [[self._value((row, column)) for column in self.across] for row in self.down],
            list(map(str, self.down)),
            list(map(str, self.across)),
            (self.rows, self.columns),
            f"{self.metric}, %",
            title,
            (list(self.down).index(self.best[0]), list(self.across).index(self.best[1])),
        ).draw(path)

    def _value(self, place: tuple[Value, Value]) -> float:
        return 100 * self.cells[place].metrics[self.metric] if place in self.cells else math.nan

    def _cell(self, place: tuple[Value, Value]) -> str:
        if place not in self.cells:
            return ""
        return percent(self.cells[place].metrics[self.metric]) + ("*" if place == self.best else "")


def _ordered(values: Iterable[Value]) -> list[Value]:
    """Distinct values: numbers sorted, words in their original order."""
    distinct = list(dict.fromkeys(values))
    return distinct if any(isinstance(value, str) for value in distinct) else sorted(distinct)


def _plain(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, tuple) else value
