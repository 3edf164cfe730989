"""Counts of the files of a source that are left out, by reason, with the first names."""

from __future__ import annotations

from collections.abc import Iterator

_NAMES, _REASONS = 3, 24
"""Limits on the names kept for each reason, and on the reasons: a source may have billions of files."""
_OTHER = "not photos (other endings)"


class Skipped:
    """How many files were left out for each reason, and the names of the first ones."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, tuple[str, ...]]] = {}

    def add(self, reason: str, name: str, times: int = 1) -> None:
        """Count a file or folder; `reason` reads well after a number: "hidden", "not photos (.txt)"."""
        if reason not in self._counts and len(self._counts) >= _REASONS:
            reason = _OTHER
        count, names = self._counts.get(reason, (0, ()))
        self._counts[reason] = (count + times, (*names, name) if len(names) < _NAMES else names)

    def update(self, other: Skipped) -> None:
        """Add the counts of another one."""
        for reason, (count, names) in other._counts.items():
            self.add(reason, names[0], count - len(names) + 1)
            for name in names[1:]:
                self.add(reason, name)

    def clear(self) -> None:
        """Reset all counts, before the source is walked through again."""
        self._counts.clear()

    def __bool__(self) -> bool:
        """Whether any file was left out."""
        return bool(self._counts)

    def counts(self) -> dict[str, int]:
        """Number of files by reason."""
        return {reason: count for reason, (count, _) in self._counts.items()}

    def lines(self) -> Iterator[str]:
        """Lines such as `3 not photos (.txt): a.txt, b.txt, c.txt`, largest count first; names are not escaped."""
        for reason, (count, names) in sorted(self._counts.items(), key=lambda item: -item[1][0]):
            more = ", ..." if count > len(names) else ""
            yield f"{count:,} {reason}: {', '.join(names)}{more}"
