"""The files of a source that are not read: counted by reason, the first ones by name."""

from __future__ import annotations

from collections.abc import Iterator

_NAMES, _REASONS = 3, 24
"""Names that are kept for each reason, and reasons that are told apart: a source may have billions of files."""
_OTHER = "not photos (other endings)"


class Skipped:
    """How many files were left out for each reason, and the names of the first ones."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, tuple[str, ...]]] = {}

    def add(self, reason: str, name: str, times: int = 1) -> None:
        """Count a file or folder; `reason` reads well after a number: "hidden", "not photos (.txt)"."""
        if reason not in self._found and len(self._found) >= _REASONS:
            reason = _OTHER
        count, names = self._found.get(reason, (0, ()))
        self._found[reason] = (count + times, (*names, name) if len(names) < _NAMES else names)

    def update(self, other: Skipped) -> None:
        """Count what another one has counted as well."""
        for reason, (count, names) in other._found.items():
            self.add(reason, names[0], count - len(names) + 1)
            for name in names[1:]:
                self.add(reason, name)

    def clear(self) -> None:
        """Forget all, before the source is looked through again."""
        self._found.clear()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._found)

    def counts(self) -> dict[str, int]:
        """Reason -> how many."""
        return {reason: count for reason, (count, _) in self._found.items()}

    def lines(self) -> Iterator[str]:
        """`3 not photos (.txt): a.txt, b.txt, c.txt`, most of them first; names are as the source has them."""
        for reason, (count, names) in sorted(self._found.items(), key=lambda item: -item[1][0]):
            more = ", ..." if count > len(names) else ""
            yield f"{count:,} {reason}: {', '.join(names)}{more}"
