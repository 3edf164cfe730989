"""Which two-way tables to make of what a search found."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from pipeline.retrieval.metrics import SMALL
from pipeline.tuning.findings import Findings, Grid
from pipeline.tuning.space import Space


def grids(found: Findings, space: Space) -> Iterator[tuple[str, Grid]]:
    """Two-way tables with a name for their files.

    Tables C and D where these were searched; else one for each two fields, the others where the best has them.
    """
    best = found.best.chosen
    wanted: list[tuple[str, str, str, dict[str, object]]] = []
    if space.tables is not None:
        wanted = [
            ("table_c", "weight", "scale", {"threshold": space.tables.threshold}),
            ("table_d", "weight", "threshold", {"scale": space.tables.scale}),
        ]
    else:
        for rows, columns in itertools.combinations(space.names, 2):
            fixed = {name: best[name] for name in best if name not in (rows, columns)}
            wanted.append((f"{rows}_by_{columns}", rows, columns, dict(fixed)))
    for name, rows, columns, at in wanted:
        grid = found.table(rows, columns, at)
        if grid is not None and any(each.metrics[found.metric] == each.metrics[found.metric] for each in found.all):
            yield name, grid


def shown(metric: str) -> list[str]:
    """The metrics that tables are made of: the one searched for, and the paper's three."""
    return list(dict.fromkeys([metric, SMALL, "R@1", "mR@1"]))
