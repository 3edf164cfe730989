"""The result of `qpert evaluate`: one feature set, or two on the same queries, with intervals and their comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.retrieval.comparison import Comparison, aligned, compare, other_bins
from pipeline.retrieval.evaluation import Evaluation
from pipeline.retrieval.intervals import SAMPLES, Intervals, bootstrap
from pipeline.retrieval.recall import report_of


@dataclass(frozen=True)
class NamedEvaluation:
    """The evaluation of a feature set with its intervals, and the name that reports give it."""

    name: str
    evaluation: Evaluation
    intervals: Intervals

    @classmethod
    def of(cls, name: str, evaluation: Evaluation, *, samples: int, seed: int) -> NamedEvaluation:
        """Adds the bootstrap intervals."""
        intervals = bootstrap(evaluation.ranks, evaluation.report.ks, samples=samples, seed=seed)
        return cls(name, evaluation, intervals)


@dataclass(frozen=True)
class EvaluationResult:
    """One evaluated set, or a baseline followed by the set compared with it, and their comparison."""

    sets: tuple[NamedEvaluation, ...]
    comparison: Comparison | None = None

    @classmethod
    def of_one(cls, name: str, evaluation: Evaluation, *, samples: int = SAMPLES, seed: int = 0) -> EvaluationResult:
        """A single evaluation with intervals."""
        return cls((NamedEvaluation.of(name, evaluation, samples=samples, seed=seed),))

    @classmethod
    def of_pair(
        cls, new: tuple[str, Evaluation], baseline: tuple[str, Evaluation], *, samples: int = SAMPLES, seed: int = 0
    ) -> EvaluationResult:
        """Two named evaluations of the same captions: what `new` adds to `baseline`.

        The baseline is put into the size bins of `new`: a plain baseline may have been indexed without a detector, and
        then has none of its own.

        Raises:
            QpertError: they do not hold the same queries.
        """
        (name, evaluation), (baseline_name, before) = new, baseline
        ks = evaluation.report.ks
        ranks = aligned(evaluation.ranks, before.ranks)
        comparison = compare(ranks, evaluation.ranks, ks, samples=samples, seed=seed)
        comparison = replace(comparison, other_bins=other_bins(evaluation.ranks, before.ranks))
        before = replace(before, report=report_of(ranks, ks), ranks=ranks)
        sets = (
            NamedEvaluation.of(baseline_name, before, samples=samples, seed=seed),
            NamedEvaluation.of(name, evaluation, samples=samples, seed=seed),
        )
        return cls(sets, comparison)
