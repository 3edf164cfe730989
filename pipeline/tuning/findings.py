"""What a search found: every setting with its figures and its gain over plain, the best of them, and two-way tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.experiments.result_tables import points, span
from pipeline.method.settings import Perturbation
from pipeline.reports.heat_map import HeatMap
from pipeline.reports.text_table import percent
from pipeline.retrieval.comparison import Difference, compare
from pipeline.retrieval.intervals import Interval, bootstrap
from pipeline.retrieval.metrics import KS, metrics_of, pick
from pipeline.retrieval.ranks import Ranks
from pipeline.tuning.space import Value

Table = tuple[list[str], list[list[str]]]


@dataclass(frozen=True)
class Finding:
    """One setting.

    Attributes:
        chosen: the values of the searched fields.
        setting: the whole perturbation.
        metrics: figures, fractions, see `pipeline.retrieval.metrics`.
        interval: of the metric that is searched for.
        gain: of that metric over plain.
    """

    chosen: Mapping[str, Value]
    setting: Perturbation
    metrics: Mapping[str, float]
    interval: Interval | None
    gain: Difference


@dataclass(frozen=True)
class Findings:
    """All settings in the order in which they were asked for.

    Attributes:
        metric: what was searched for.
        plain: the figures without objects.
        plain_interval: of the metric.
        all: the settings.
        queries: of the metric's direction.
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
        """Measure all against plain, with bootstrap intervals over photos."""
        found = []
        for chosen, setting, ranks in settings:
            interval = pick(bootstrap(ranks, KS, samples=samples, seed=seed), metric)
            gain = pick(compare(plain, ranks, KS, samples=samples, seed=seed), metric)
            found.append(Finding(chosen, setting, metrics_of(ranks), interval, gain))
        interval = pick(bootstrap(plain, KS, samples=samples, seed=seed), metric)
        queries = len(plain.image_ranks if metric.startswith("i2t ") else plain.text_ranks)
        return cls(metric, metrics_of(plain), interval, tuple(found), queries)

    @property
    def best(self) -> Finding:
        """The setting with the most; of equals the first. One without a figure is never the best."""
        there = [each for each in self.all if each.metrics[self.metric] == each.metrics[self.metric]]
        return max(there or self.all, key=lambda each: each.metrics[self.metric])

    def table(self, rows: str, columns: str, fixed: Mapping[str, object]) -> Grid | None:
        """The metric by two fields, the others at `fixed`; None where there are not two values of each."""
        chosen = [each for each in self.all if fixed.items() <= {**each.setting.as_dict(), **each.chosen}.items()]
        across, down = (_ordered(each.chosen[name] for each in chosen) for name in (columns, rows))
        if len(across) < 2 or len(down) < 2:
            return None
        cells = {(each.chosen[rows], each.chosen[columns]): each for each in chosen}
        return Grid(rows, columns, self.metric, down, across, cells, dict(fixed))

    def summary(self) -> str:
        """Plain, the best, and how much of that may be chance."""
        best = self.best
        better = sum((each.gain.difference or 0) > 0 for each in self.all)
        return (
            f"{self.metric}: plain {percent(self.plain[self.metric])} ({span(self.plain_interval)}); best"
            f" {percent(best.metrics[self.metric])} ({span(best.interval)}), {points(best.gain.difference)} over plain,"
            f" 95 % interval {span(best.gain.interval, signed=True)}, not corrected for having looked at"
            f" {len(self.all)}; above plain in {better} of {len(self.all)}"
        )

    def rows(self) -> pa.Table:
        """Every setting with all its fields, all figures, and of the metric searched for interval and gain."""
        lines: list[dict[str, Any]] = []
        for each in self.all:
            fields = {name: _plain(value) for name, value in each.setting.as_dict().items()}
            fields["sites"] = fields.get("sites", "all")
            ends = dict(zip(("low", "high"), each.interval or (None, None), strict=True))
            gain = dict(zip(("gain_low", "gain_high"), each.gain.interval or (None, None), strict=True))
            lines.append({**fields, **each.metrics, **ends, "gain": each.gain.difference, **gain, "p": each.gain.p})
        return pa.Table.from_pylist(lines)


@dataclass(frozen=True)
class Grid:
    """One metric by two fields.

    Attributes:
        rows: the field down the side.
        columns: the field across.
        metric: what the cells hold.
        down: values of `rows`.
        across: values of `columns`.
        cells: by both values.
        fixed: the fields that have one value in all of it.
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
        """The cell with the most."""
        return max(self.cells, key=lambda place: self.cells[place].metrics[self.metric])

    @property
    def title(self) -> str:
        """For people."""
        fixed = "".join(f", {name} {value}" for name, value in self.fixed.items())
        return f"{self.metric} by {self.rows} and {self.columns}{fixed}"

    def text(self) -> Table:
        """Percent in each cell, the best one marked by a star."""
        lines = []
        for row in self.down:
            cells = [self._cell((row, column)) for column in self.across]
            lines.append([str(row), *cells])
        return [f"{self.rows} \\ {self.columns}", *map(str, self.across)], lines

    def draw(self, path: str | Path, plain: float) -> None:
        """As a heat map, with the best cell marked and its interval in the title."""
        best = self.cells[self.best]
        over = f"{points(best.gain.difference)}, {span(best.gain.interval, signed=True)}"
        title = (
            f"{self.title}\nplain {percent(plain)}; best {percent(best.metrics[self.metric])}, 95 % interval"
            f" {span(best.interval)},\nover plain {over}"
        )
        HeatMap(
            [[self._value((row, column)) for column in self.across] for row in self.down],
            [str(each) for each in self.down],
            [str(each) for each in self.across],
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
    """Each once: numbers by size, words as they came."""
    distinct = list(dict.fromkeys(values))
    return distinct if any(isinstance(each, str) for each in distinct) else sorted(distinct)


def _plain(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, tuple) else value
