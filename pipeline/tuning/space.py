"""Which settings are searched: a grid of values for each field of a perturbation, or ranges to draw from."""

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
RANGED = ("scale", "threshold")
Value = str | float | int


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, drawn evenly, or evenly in their logarithm."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def parse(cls, text: str) -> Range:
        """From `LOW:HIGH` or `LOW:HIGH:log`.

        Raises:
            QpertError: something else, or nothing between the two.
        """
        low, _, rest = text.partition(":")
        high, _, how = rest.partition(":")
        try:
            found = cls(float(low), float(high), how == "log")
        except ValueError as error:
            raise QpertError(f"{text!r} is no range: write LOW:HIGH, or LOW:HIGH:log") from error
        if how not in ("", "log") or not found.low < found.high or (found.log and found.low <= 0):
            raise QpertError(f"{text!r} is no range: write LOW:HIGH, or LOW:HIGH:log with LOW above 0")
        return found


@dataclass(frozen=True)
class Tables:
    """Tables C and D: weight by scale, and weight by threshold.

    Attributes:
        scales: columns of Table C.
        thresholds: columns of Table D.
        threshold: of all of Table C.
        scale: of all of Table D.
    """

    scales: tuple[float, ...]
    thresholds: tuple[float, ...]
    threshold: float
    scale: float

    def cells(self) -> list[dict[str, Value]]:
        """The settings of all cells, each once: of fifty, those are the same in which the tables meet."""
        c = [(weight, scale, self.threshold) for weight in paper.WEIGHTS for scale in self.scales]
        d = [(weight, self.scale, threshold) for weight in paper.WEIGHTS for threshold in self.thresholds]
        return [dict(zip(TABLE_FIELDS, point, strict=True)) for point in dict.fromkeys([*c, *d])]


PAPER = Tables(paper.SCALES, paper.THRESHOLDS, paper.TABLE_C_THRESHOLD, paper.TABLE_D_SCALE)
FINER = Tables((0.25, 0.5, 1.0, 2.0, 4.0), paper.THRESHOLDS, paper.TABLE_C_THRESHOLD, 1.0)
"""For the miniatures, which do not stand the paper's scales."""


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        base: the fields that are not searched.
        fields: those that are, with their values or their range. `sites` are texts, "all" or "0,2,pool*".
        tables: the cells of tables C and D are tried instead.
    """

    base: Perturbation
    fields: Mapping[str, Sequence[Value] | Range]
    tables: Tables | None = None

    def grid(self) -> list[dict[str, Value]]:
        """Every combination, each once; the last field changes fastest.

        Raises:
            QpertError: a range, of which there is no end.
        """
        if self.tables is not None:
            return self.tables.cells()
        endless = [name for name, values in self.fields.items() if isinstance(values, Range)]
        if endless:
            raise QpertError(
                f"a grid needs values, and --{endless[0]} is a range: name values, or choose --search random"
            )
        lists = [[*dict.fromkeys(values)] for values in self.fields.values() if not isinstance(values, Range)]
        return [dict(zip(self.fields, each, strict=True)) for each in itertools.product(*lists)]

    def samples(self) -> list[dict[str, Value]]:
        """Some settings that name everything that may be asked for, the ends of ranges for these."""
        if self.tables is not None:
            return self.tables.cells()
        ends = {name: [each.low, each.high] if isinstance(each, Range) else each for name, each in self.fields.items()}
        return [{name: value} for name, values in ends.items() for value in values]

    def setting(self, chosen: Mapping[str, Value]) -> Perturbation:
        """The perturbation with some fields chosen.

        Raises:
            QpertError: values that a perturbation has not.
        """
        values: dict[str, Any] = dict(chosen)
        if "sites" in values:
            text = str(values["sites"])
            values["sites"] = None if text == ALL_SITES else tuple(text.split(","))
        return dataclasses.replace(self.base, **values)

    @property
    def names(self) -> list[str]:
        """The searched fields."""
        return [*self.fields] if self.tables is None else [*TABLE_FIELDS]

    def check(self) -> None:
        """Raise QpertError for a value that a perturbation has not, before anything is done."""
        for name, values in self.fields.items():
            if isinstance(values, Range) and name not in RANGED:
                raise QpertError(f"--{name.replace('_', '-')} takes values, not a range")
        for chosen in self.samples():
            self.setting(chosen)


def short(setting: Perturbation, fields: Sequence[str]) -> str:
    """A name for people: "weight constant, scale 4", of the searched fields alone."""
    values = {name: getattr(setting, name) for name in fields}
    if values.get("sites", ()) is None:
        values["sites"] = ALL_SITES
    return ", ".join(
        f"{name} {','.join(map(str, value)) if isinstance(value, tuple) else value}" for name, value in values.items()
    )
