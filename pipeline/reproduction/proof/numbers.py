"""All figures of the table of proof as numbers, for CSV files: fractions, not percent, one figure a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.experiments.variants import PLAIN
from pipeline.reproduction.proof.cost import Costs
from pipeline.reproduction.proof.figure import SIZES
from pipeline.reproduction.proof.quantities import METRICS, Quantity
from pipeline.reproduction.proof.rows import Row
from pipeline.reproduction.proof.tables import COLUMNS
from pipeline.retrieval.comparison import Difference
from pipeline.retrieval.contrasts import Contrasts

Numbers = Iterator[list[Any]]
_DIFFERENCE = ["difference", "difference_low", "difference_high", "standard_error", "p"]


def figure_numbers(by_series: Mapping[str, Contrasts], rows: Sequence[Row]) -> Numbers:
    """Every figure of every row, with its interval, and its difference to plain; p is not corrected.

    The metrics are those of the table, and Recall@1 by size: "bin 1" is 10-20 %.
    """
    yield ["photos", "row", "metric", "captions", "value", "low", "high", *_DIFFERENCE]
    for series, contrasts in by_series.items():
        for row in rows:
            for metric in dict.fromkeys([*COLUMNS, *SIZES]):
                figure = contrasts.figure(row.name, metric)
                low, high = figure.interval or (None, None)
                against: list[float | None] = [None] * len(_DIFFERENCE)
                if row.name != PLAIN:
                    against = _difference(contrasts.contrast(PLAIN, row.name, metric))
                yield [series, row.name, metric, figure.queries, figure.value, low, high, *against]


def quantity_numbers(by_series: Mapping[str, Contrasts], quantities: Sequence[Quantity]) -> Numbers:
    """Every quantity; p is not corrected."""
    yield ["photos", "quantity", "row", "metric", *_DIFFERENCE]
    for series, contrasts in by_series.items():
        for quantity in quantities:
            for metric in METRICS:
                change = contrasts.contrast(quantity.first, quantity.second, metric)
                yield [series, quantity.name, quantity.row, metric, *_difference(change)]


def cost_numbers(costs: Costs) -> Numbers:
    """Per photo: vectors, passes of the tower, milliseconds over plain, bytes of the index."""
    yield ["row", "vectors", "tower_passes", "extra_ms", "bytes"]
    for name, cost in costs.rows.items():
        yield [name, cost.vectors, cost.passes, cost.extra, cost.bytes]


def _difference(change: Difference) -> list[float | None]:
    low, high = change.interval or (None, None)
    return [change.difference, low, high, change.standard_error, change.p]
