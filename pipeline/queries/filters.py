"""Which photos a search may find: by objects, path, size and date. Free of Arrow, so that ``--help`` is quick."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.datasets.photos.patterns import matching_expression
from pipeline.errors import QpertError

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?)?)?", re.ASCII)
_MOST = 100
"""Labels or patterns of a filter."""
_LONGEST = 1000
"""Characters of each."""


class Filters(BaseModel):
    """What photos must have to be found; by default nothing. A photo must meet all that is given.

    Labels are those of the index's detector, compared without regard to upper and lower case. A photo that lacks what
    a filter asks about (a date, a size) does not meet it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    has: tuple[str, ...] = Field(
        (), description="only photos with an object of each of these labels", json_schema_extra={"adds": True}
    )
    without: tuple[str, ...] = Field(
        (), description="no photos with an object of one of these labels", json_schema_extra={"adds": True}
    )
    smaller: float | None = Field(
        None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="only photos with an object (of --has, if given) that covers less than this fraction of the photo",
    )
    larger: float | None = Field(
        None,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="only photos with an object (of --has, if given) that covers at least this fraction of the photo",
    )
    path: tuple[str, ...] = Field(
        (),
        description="only photos whose id matches one of these patterns, such as 'holidays/*' or '*.png'; patterns that"
        " begin with / or a scheme are matched with the URI",
        json_schema_extra={"adds": True},
    )
    min_width: int | None = Field(None, ge=1, description="only photos at least this wide, in pixels")
    min_height: int | None = Field(None, ge=1, description="only photos at least this high, in pixels")
    taken_from: str | None = Field(
        None, description="only photos taken at this time or later (EXIF, local time): 2020, 2020-05, 2020-05-17T18:00"
    )
    taken_to: str | None = Field(
        None, description="only photos taken at this time or earlier; 2020-05 includes all of May 2020"
    )

    @field_validator("has", "without", "path", mode="before")
    @classmethod
    def _one_alone(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("has", "without")
    @classmethod
    def _labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        _check_count(labels)
        if not all(label.strip() for label in labels):
            raise ValueError("a label is empty")
        return tuple(label.strip() for label in labels)

    @field_validator("path")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        _check_count(patterns)
        for pattern in patterns:
            if not pattern.strip("/"):
                raise ValueError("a pattern is empty")
            try:
                matching_expression(pattern)
            except QpertError as error:
                raise ValueError(str(error)) from None
        return patterns

    @field_validator("taken_from", "taken_to", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """Dates and years as text, since YAML and Python have them as such."""
        if isinstance(value, datetime | date):
            return value.isoformat()
        return str(value) if type(value) is int else value

    @field_validator("taken_from", "taken_to")
    @classmethod
    def _date(cls, text: str | None) -> str | None:
        if text is not None:
            time_span(text)
        return text

    @model_validator(mode="after")
    def _agree(self) -> Filters:
        if self.smaller is not None and self.larger is not None and self.larger >= self.smaller:
            raise ValueError(f"no object is at least {self.larger:g} and smaller than {self.smaller:g} of its photo")
        first, end = self.period
        if first is not None and end is not None and first >= end:
            raise ValueError(f"no photo is taken from {self.taken_from} to {self.taken_to}: the dates are reversed")
        both = {folded(label) for label in self.has} & {folded(label) for label in self.without}
        if both:
            raise ValueError(f"no photo is both with and without {min(both)}")
        return self

    def __bool__(self) -> bool:
        """Whether they leave anything out."""
        return any(value not in (None, ()) for value in self.__dict__.values())

    @classmethod
    def of(cls, options: BaseModel) -> Filters:
        """The filters among the options of a command that inherits from this class."""
        return cls(**{name: getattr(options, name) for name in cls.model_fields})

    @property
    def period(self) -> tuple[datetime | None, datetime | None]:
        """The first moment that counts, and the first that no longer does."""
        first = None if self.taken_from is None else time_span(self.taken_from)[0]
        return first, None if self.taken_to is None else time_span(self.taken_to)[1]

    def shown(self) -> str:
        """The filters in words, such as "with dog, smaller than 5 %"; "" without any."""
        width, height = self.min_width, self.min_height
        parts = [
            self.has and f"with {' and '.join(self.has)}",
            self.without and f"without {' or '.join(self.without)}",
            "" if self.larger is None else f"an object of at least {100 * self.larger:g} %",
            "" if self.smaller is None else f"an object smaller than {100 * self.smaller:g} %",
            self.path and f"in {' or '.join(self.path)}",
            "" if width is None else f"at least {width} pixels wide",
            "" if height is None else f"at least {height} pixels high",
            "" if self.taken_from is None else f"taken from {self.taken_from}",
            "" if self.taken_to is None else f"taken until {self.taken_to}",
        ]
        return ", ".join(part for part in parts if part)


def folded(label: str) -> str:
    """A label as labels are compared: without regard to case and outer spaces."""
    return label.strip().casefold()


def time_span(text: str) -> tuple[datetime, datetime]:
    """The time that a date stands for, as its first moment and the first after it: of ``2020-05``, all of May 2020.

    Raises:
        ValueError: it is not a date.
    """
    found = _DATE.fullmatch(text.strip())
    if found is None:
        zone = re.search(r"(Z|[+-]\d\d:?\d\d)$", text.strip()) and re.search(r"\d[T ]\d", text)
        hint = "; leave out the zone, since dates of photos have none" if zone else ""
        raise ValueError(f"write a date such as 2020, 2020-05, 2020-05-17 or 2020-05-17T18:00{hint}")
    year, month, day, hour, minute, second, fraction = found.groups()
    try:
        start = datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0))
        start += timedelta(microseconds=int((fraction or "").ljust(6, "0")))
        if month is None:
            return start, start.replace(year=start.year + 1)
        if day is None:
            return start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
        if hour is None:
            return start, start + timedelta(days=1)
        if second is None:
            return start, start + timedelta(minutes=1)
        return start, start + (timedelta(seconds=1) if fraction is None else timedelta(microseconds=1))
    except (ValueError, OverflowError):
        raise ValueError("there is no such date") from None


def _check_count(words: tuple[str, ...]) -> None:
    if len(words) > _MOST:
        raise ValueError(f"more than {_MOST}")
    if any(len(word) > _LONGEST for word in words):
        raise ValueError(f"longer than {_LONGEST} characters")
