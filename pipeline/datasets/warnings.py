"""Warnings about oddities in a data set that do not prevent its use: one counted warning per kind."""

from __future__ import annotations

import warnings
from pathlib import Path

from pipeline.errors import QpertError
from pipeline.printing import printable


class CountedWarnings:
    """Counts the oddities of one file or folder by kind, and remembers where each kind first occurs.

    Args:
        source: the file or folder.
        named: the first places of each kind that are named.
        strict: oddities with an `error` are errors.
    """

    def __init__(self, source: Path | str, *, named: int = 1, strict: bool = False) -> None:
        self._source, self._named, self._strict = source, named, strict
        self._counts: dict[str, tuple[int, list[str]]] = {}

    def add(self, what: str, where: str, times: int = 1, *, error: str | None = None) -> None:
        """Count an oddity.

        Args:
            what: its kind, which must read well after a number.
            where: its place.
            times: how often it occurs there.
            error: what is wrong there, which must read well after the place, if strict reading refuses this kind.

        Raises:
            QpertError: the kind is refused, and reading is strict.
        """
        if self._strict and error is not None:
            raise QpertError(f"{self._source}: {where} {error}")
        count, first = self._counts.get(what, (0, []))
        self._counts[what] = (count + times, first if len(first) >= self._named or where in first else [*first, where])

    def count(self, what: str) -> int:
        """How often `what` was added."""
        return self._counts.get(what, (0, []))[0]

    def warn(self) -> None:
        """Issue one warning per kind, attributed to the caller's caller."""
        for what, (count, first) in self._counts.items():
            warnings.warn(
                f"{printable(str(self._source))}: {count} {what}; the first: {printable(', '.join(first))}",
                stacklevel=4,
            )
