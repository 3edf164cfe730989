"""Warnings about oddities in a data set that do not prevent its use: one counted warning per kind."""

from __future__ import annotations

import warnings
from pathlib import Path

from pipeline.printing import printable


class CountedWarnings:
    """Counts the oddities of one file or folder by kind, and remembers where each kind first occurs.

    Args:
        source: the file or folder.
        named: the first places of each kind that are named.
    """

    def __init__(self, source: Path | str, *, named: int = 1) -> None:
        self._source, self._named = source, named
        self._counts: dict[str, tuple[int, list[str]]] = {}

    def add(self, what: str, where: str, times: int = 1) -> None:
        """Count an oddity; `what` must read well after a number."""
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
