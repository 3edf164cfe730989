"""What is odd in a data set but can be used: counted by kind, said once."""

from __future__ import annotations

import warnings
from pathlib import Path

from pipeline.printing import printable


class Notes:
    """Oddities of one file or folder: how many of each kind, and where the first is."""

    def __init__(self, source: Path | str) -> None:
        self._source = source
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str, times: int = 1) -> None:
        """Count something; `what` reads well after a number."""
        count, first = self._found.get(what, (0, where))
        self._found[what] = (count + times, first)

    def count(self, what: str) -> int:
        """How often it was added."""
        return self._found.get(what, (0, ""))[0]

    def warn(self) -> None:
        """One warning per kind, for the caller's caller."""
        for what, (count, first) in self._found.items():
            warnings.warn(
                f"{printable(str(self._source))}: {count} {what}; the first: {printable(first)}", stacklevel=4
            )
