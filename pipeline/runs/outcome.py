"""What a run did, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.cluster.machines import Machines
from pipeline.runs.run_stats import RunStats

if TYPE_CHECKING:
    from pipeline.runs.graph import Graph


@dataclass(frozen=True)
class Report:
    """Lines for people.

    Attributes:
        done: what was done, and what the output holds now.
        source: of these, what happened to the source: files that are not photos, photos that changed or are gone.
        warnings: what should not be overlooked.
        failures: how many photos could not be indexed; None if all could.
    """

    done: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        counts: of this run, or of its last attempt where it took several.
        totals: ``photos``, ``failed`` and ``objects`` in the feature set now.
        seconds: wall-clock time, including starting Ray and loading models.
        machines: those of the last attempt; None if there was nothing to do.
        graph: what ran on them; likewise.
        attempts: how many it took.
        report: the same in words.
    """

    counts: RunStats
    totals: dict[str, int]
    seconds: float = 0.0
    machines: Machines | None = None
    graph: Graph | None = None
    attempts: int = 0
    report: Report = field(default_factory=Report)
