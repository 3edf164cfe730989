"""The quantities that tell what is the object's: own minus shuffled boxes, and direction alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.experiments.variants import PLAIN
from pipeline.reproduction.proof.rows import CHOSEN, NORM, Row, partner_of

METRICS = ("R@1", "10%")
"""Of every quantity: Recall@1 of all queries, and of those with the largest object below a tenth of the photo."""


class Quantity(NamedTuple):
    """A difference between two rows, `second` minus `first`.

    Attributes:
        name: what it is.
        row: the row of the table that it belongs to.
    """

    name: str
    row: str
    first: str
    second: str


OWN = "own minus shuffled boxes"
DIRECTION = "direction alone: norm kept minus plain"
DIRECTION_OWN = "direction alone: norm kept, own minus shuffled boxes"


def quantities(rows: Sequence[Row]) -> list[Quantity]:
    """Own minus shuffled boxes of every row that was measured with both, then direction alone.

    A chosen setting that keeps the norm is itself direction alone.
    """
    present = {row.name for row in rows}
    kept = NORM if NORM in present else CHOSEN
    found = [
        Quantity(OWN, row.of, row.name, row.of) for row in sorted(rows, key=lambda row: row.of != CHOSEN) if row.of
    ]
    if kept == CHOSEN:
        return [*found, Quantity(DIRECTION, kept, PLAIN, kept)]
    return [
        *(quantity for quantity in found if quantity.row != kept),
        Quantity(DIRECTION, kept, PLAIN, kept),
        Quantity(DIRECTION_OWN, kept, partner_of(kept), kept),
    ]
