"""One feature set measured, or two on the same queries: evaluations with intervals, and their comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.retrieval.comparison import Comparison, aligned, compare, other_bins
from pipeline.retrieval.evaluation import Evaluation
from pipeline.retrieval.intervals import SAMPLES, Intervals, bootstrap
from pipeline.retrieval.recall import report_of


@dataclass(frozen=True)
class Measured:
    """A feature set under the name by which reports call it."""

    name: str
    evaluation: Evaluation
    intervals: Intervals


@dataclass(frozen=True)
class Measurement:
    """What `qpert evaluate` found: one set, or a baseline, what is compared with it, and their comparison."""

    sets: tuple[Measured, ...]
    comparison: Comparison | None = None


def measurement(first: tuple[str, Evaluation], *, samples: int = SAMPLES, seed: int = 0) -> Measurement:
    """One evaluation, by its name, with intervals."""
    return Measurement((_measured(*first, samples, seed),))


def paired_measurement(
    new: tuple[str, Evaluation], baseline: tuple[str, Evaluation], *, samples: int = SAMPLES, seed: int = 0
) -> Measurement:
    """Two evaluations of the same captions, by their names: what `new` adds to `baseline`.

    The baseline comes first in the result. It is put into the size bins of `new`: a plain baseline may have been
    indexed without a detector and have none.

    Raises:
        QpertError: they do not hold the same queries.
    """
    result, before = new[1], baseline[1]
    ranks = aligned(result.ranks, before.ranks)
    comparison = compare(ranks, result.ranks, result.report.ks, samples=samples, seed=seed)
    comparison = replace(comparison, other_bins=other_bins(result.ranks, before.ranks))
    before = replace(before, report=report_of(ranks, result.report.ks), ranks=ranks)
    return Measurement((_measured(baseline[0], before, samples, seed), _measured(*new, samples, seed)), comparison)


def _measured(name: str, evaluation: Evaluation, samples: int, seed: int) -> Measured:
    return Measured(name, evaluation, bootstrap(evaluation.ranks, evaluation.report.ks, samples=samples, seed=seed))
