"""Entries of an annotation file that cannot be read: left out and counted, or errors where that is asked for."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import TracebackType

from pipeline.errors import QpertError
from pipeline.printing import printable

_NAMED = 3
"""Entries that are named; the others are only counted."""
_LONGEST = 300
"""Characters of what is said about one entry."""


class BadEntries:
    """Counts the entries of one file, and remembers what is wrong with the first bad ones.

    An entry, or a part of one that can be missed alone, is read within `with bad:`. A `QpertError` there ends this
    entry only, unless `strict`.

    Args:
        path: the file or folder.
        strict: a bad entry is an error.
    """

    def __init__(self, path: Path, *, strict: bool = False) -> None:
        self.path, self.strict = path, strict
        self.count = 0
        self._entries, self._bad = 0, 0  # since the last check
        self._named: list[str] = []
        self._first: QpertError | None = None
        self._first_of_all: QpertError | None = None

    def __enter__(self) -> None:
        self._entries += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, QpertError) or self.strict:
            return False
        self.count += 1
        self._bad += 1
        self._first = self._first or error
        self._first_of_all = self._first_of_all or error
        if len(self._named) < _NAMED:
            text = str(error).replace(f"{self.path}: ", "", 1).replace(f"{self.path} is not ", "not ", 1)
            self._named.append(text if len(text) <= _LONGEST else text[:_LONGEST] + "...")
        return True

    def check(self) -> None:
        """Raise what is wrong with the first bad entry if most are bad: the file is not what it is taken for.

        Only entries since the last check count, so that each list of a file is judged by itself.
        """
        if self._first is not None and 2 * self._bad > self._entries:
            more = f" ({self._bad:,} of {self._entries:,} entries cannot be read)" if self._entries > 1 else ""
            raise QpertError(f"{self._first}{more}") from self._first
        self._entries, self._bad, self._first = 0, 0, None

    def check_any(self, found: bool) -> None:
        """Raise what is wrong with the first bad entry if nothing was `found` beside bad entries."""
        if self._first_of_all is not None and not found:
            raise QpertError(str(self._first_of_all)) from self._first_of_all

    def warn(self) -> None:
        """Issue one warning if entries are bad, attributed to the caller's caller."""
        if self.count:
            named = printable("; ".join(self._named)) + ("; ..." if self.count > len(self._named) else "")
            source = printable(str(self.path))
            left_out = "entries cannot be read and are left out"
            warnings.warn(f"{source}: {self.count:,} {left_out}: {named}", stacklevel=4)
