"""What was being worked on when a process died: how a photo that kills processes is found."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

TRIES = 3
"""Processes that a photo may kill when it is alone, before it is left out."""


class Casualties:
    """Who has begun a piece of work and not ended it. Ray starts work of a dead process anew, with the same photos."""

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.deaths: Counter[str] = Counter()

    def enter(self, work: str) -> int:
        """Begin; says how many processes have died at it so far."""
        if work in self.begun:
            self.deaths[work] += 1
        self.begun.add(work)
        return self.deaths[work]

    def leave(self, work: str) -> None:
        """It is done, and forgotten."""
        self.begun.discard(work)
        self.deaths.pop(work, None)


def name_of(stage: str, ids: Sequence[str]) -> str:
    """A short name of a stage's work on these photos."""
    digest = hashlib.sha256("\n".join(ids).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"{stage}/{digest}"
