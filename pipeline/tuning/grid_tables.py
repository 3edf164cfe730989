"""The two-way tables made from the findings of a search."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from pipeline.retrieval.metrics import SMALL
from pipeline.tuning.findings import Findings, Grid
from pipeline.tuning.space import Space


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
        grid = findings.table(rows, columns, others)
        if grid is not None and findings.measured:
            yield name, grid


def shown_metrics(metric: str) -> list[str]:
    """The metrics of the tables: the one searched for, and the paper's three."""
    return list(dict.fromkeys([metric, SMALL, "R@1", "mR@1"]))
