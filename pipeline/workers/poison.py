"""Finds photos that kill the processes that work on them, from a record of what each process had begun."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

TRIES = 3
"""Processes that a photo may kill while it is alone; after that it is left out."""


class PoisonRecord:
    """Work that has begun and not ended.

    Ray repeats the work of a dead process with the same photos, so work that begins a second time has killed somebody.

    Attributes:
        begun: names of the work in progress.
        deaths: name of work -> processes that died of it.
    """

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.deaths: Counter[str] = Counter()

    def enter(self, work: str) -> int:
        """Records that `work` begins and returns how many processes have died of it so far."""
        if work in self.begun:
            self.deaths[work] += 1
        self.begun.add(work)
        return self.deaths[work]

    def leave(self, work: str) -> None:
        """Forgets `work`, which is done."""
        self.begun.discard(work)
        self.deaths.pop(work, None)


def work_name(stage: str, ids: Sequence[str]) -> str:
    """A short name for a stage's work on the photos `ids`."""
    digest = hashlib.sha256("\n".join(ids).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"{stage}/{digest}"
