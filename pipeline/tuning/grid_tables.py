"""The two-way tables made from the findings of a search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.reports.heat_map import HeatMap
from pipeline.reports.text_table import Table, interval_text, percent, points
from pipeline.retrieval.metrics import SMALL
from pipeline.tuning.findings import Finding, Findings
from pipeline.tuning.objective import Objective
from pipeline.tuning.space import Space, Value


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
        objective: what was searched for.
    """

    rows: str
    columns: str
    metric: str
    down: Sequence[Value]
    across: Sequence[Value]
    cells: Mapping[tuple[Value, Value], Finding]
    fixed: Mapping[str, object]
    objective: Objective

    @property
    def best(self) -> tuple[Value, Value]:
        """The cell with the highest metric, among those that do not lose more than they may, if there are any."""
        allowed = [place for place, finding in self.cells.items() if not finding.loss] or list(self.cells)
        return max(allowed, key=lambda place: self.cells[place].metrics[self.metric])

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
            f" {interval_text(best.interval)},\n{self.objective.gain} {gain}"
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


def grids(findings: Findings, space: Space) -> Iterator[tuple[str, Grid]]:
    """Two-way tables with the names of their files.

    Tables C and D if these were searched; otherwise one for every two fields, with the others at their best values.
    """
    best = findings.best.chosen
    planned: list[tuple[str, str, str, dict[str, object]]] = []
    if space.tables is not None:
        planned = [
            ("table_c", "weight", "scale", {"threshold": space.tables.threshold}),
            ("table_d", "weight", "threshold", {"scale": space.tables.scale}),
        ]
    else:
        for rows, columns in itertools.combinations(space.names, 2):
            fixed = {name: best[name] for name in best if name not in (rows, columns)}
            planned.append((f"{rows}_by_{columns}", rows, columns, dict(fixed)))
    for name, rows, columns, others in planned:
        grid = two_way(findings, rows, columns, others)
        if grid is not None and findings.measured:
            yield name, grid


def shown_metrics(metric: str) -> list[str]:
    """The metrics of the tables: the one searched for, and the paper's three."""
    return list(dict.fromkeys([metric, SMALL, "R@1", "mR@1"]))


def two_way(findings: Findings, rows: str, columns: str, fixed: Mapping[str, object]) -> Grid | None:
    """The metric by two fields, with the others at `fixed`; None unless both fields have two values or more."""
    those = [
        finding for finding in findings.all if fixed.items() <= {**finding.setting.as_dict(), **finding.chosen}.items()
    ]
    across, down = (_ordered(finding.chosen[name] for finding in those) for name in (columns, rows))
    if len(across) < 2 or len(down) < 2:
        return None
    cells = {(finding.chosen[rows], finding.chosen[columns]): finding for finding in those}
    return Grid(rows, columns, findings.metric, down, across, cells, dict(fixed), findings.objective)


def _ordered(values: Iterable[Value]) -> list[Value]:
    """Distinct values: numbers sorted, words in their original order."""
    distinct = list(dict.fromkeys(values))
    return distinct if any(isinstance(value, str) for value in distinct) else sorted(distinct)
