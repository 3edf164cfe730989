"""The settings of a search: a grid of values for each field of a perturbation, or ranges to draw from."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import QpertError
from pipeline.experiments import paper
from pipeline.method.settings import Perturbation

ALL_SITES = "all"
TABLE_FIELDS = ("weight", "scale", "threshold")
RANGED = ("scale", "threshold", "background")
Value = str | float | int


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, uniform or log-uniform."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def parse(cls, text: str) -> Range:
        """Parses `LOW:HIGH` or `LOW:HIGH:log`.

        Raises:
            QpertError: the text has another form, or the range is empty.
        """
        low, _, rest = text.partition(":")
        high, _, how = rest.partition(":")
        try:
            parsed = cls(float(low), float(high), how == "log")
        except ValueError as error:
            raise QpertError(f"{text!r} is not a range: write LOW:HIGH, or LOW:HIGH:log") from error
        if how not in ("", "log") or not parsed.low < parsed.high or (parsed.log and parsed.low <= 0):
            raise QpertError(f"{text!r} is not a range: write LOW:HIGH, or LOW:HIGH:log with LOW above 0")
        return parsed


@dataclass(frozen=True)
class Tables:
    """Tables C and D: weight by scale, and weight by threshold.

    Attributes:
        scales: columns of Table C.
        thresholds: columns of Table D.
        threshold: the threshold of Table C.
        scale: the scale of Table D.
    """

    scales: tuple[float, ...]
    thresholds: tuple[float, ...]
    threshold: float
    scale: float

    def cells(self) -> list[dict[str, Value]]:
        """The distinct settings of all cells; the tables share one column."""
        c = [(weight, scale, self.threshold) for weight in paper.WEIGHTS for scale in self.scales]
        d = [(weight, self.scale, threshold) for weight in paper.WEIGHTS for threshold in self.thresholds]
        return [dict(zip(TABLE_FIELDS, point, strict=True)) for point in dict.fromkeys([*c, *d])]


PAPER = Tables(paper.SCALES, paper.THRESHOLDS, paper.TABLE_C_THRESHOLD, paper.TABLE_D_SCALE)
FINER = Tables((0.25, 0.5, 1.0, 2.0, 4.0), paper.THRESHOLDS, paper.TABLE_C_THRESHOLD, 1.0)
"""For the miniatures, for which the paper's scales are too strong."""


@dataclass(frozen=True)
class Space:
    """The settings to search.

    Attributes:
        base: the fields that are not searched.
        fields: the searched fields, with their values or their range. `sites` are texts, "all" or "0,2,pool*".
        tables: search the cells of tables C and D instead.
    """

    base: Perturbation
    fields: Mapping[str, Sequence[Value] | Range]
    tables: Tables | None = None

    def grid(self) -> list[dict[str, Value]]:
        """Every distinct combination; the last field changes fastest.

        Raises:
            QpertError: a field has a range, which is infinite.
        """
        if self.tables is not None:
            return self.tables.cells()
        ranges = [name for name, values in self.fields.items() if isinstance(values, Range)]
        if ranges:
            raise QpertError(
                f"a grid needs values, and --{ranges[0]} is a range: name values, or choose --search random"
            )
        lists = [[*dict.fromkeys(values)] for values in self.fields.values() if not isinstance(values, Range)]
        return [dict(zip(self.fields, values, strict=True)) for values in itertools.product(*lists)]

    def samples(self) -> list[dict[str, Value]]:
        """A few settings that together contain every value; ranges are represented by their ends."""
        if self.tables is not None:
            return self.tables.cells()
        return [
            {name: value}
            for name, values in self.fields.items()
            for value in ([values.low, values.high] if isinstance(values, Range) else values)
        ]

    def setting(self, chosen: Mapping[str, Value]) -> Perturbation:
        """The perturbation with some fields chosen.

        Raises:
            QpertError: a value that a perturbation does not have.
        """
        values: dict[str, Any] = dict(chosen)
        if "sites" in values:
            text = str(values["sites"])
            values["sites"] = None if text == ALL_SITES else tuple(text.split(","))
        return dataclasses.replace(self.base, **values)

    @property
    def names(self) -> list[str]:
        """The names of the searched fields."""
        return [*self.fields] if self.tables is None else [*TABLE_FIELDS]

    def check(self) -> None:
        """Raises a QpertError for a value that a perturbation does not have, before any work starts."""
        for name, values in self.fields.items():
            if isinstance(values, Range) and name not in RANGED:
                raise QpertError(f"--{name.replace('_', '-')} takes values, not a range")
        for chosen in self.samples():
            self.setting(chosen)


def short(setting: Perturbation, fields: Sequence[str]) -> str:
    """A readable name with the searched fields only: "weight constant, scale 4"."""
    values = {name: getattr(setting, name) for name in fields}
    if values.get("sites", ()) is None:
        values["sites"] = ALL_SITES
    return ", ".join(
        f"{name} {','.join(map(str, value)) if isinstance(value, tuple) else value}" for name, value in values.items()
    )
