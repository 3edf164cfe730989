"""Scores of texts for photos, and how good they are: Recall@K by object size, intervals, paired comparison."""

from __future__ import annotations

from pipeline.retrieval.comparison import Comparison, Difference, aligned, compare
from pipeline.retrieval.evaluation import Evaluation, evaluate
from pipeline.retrieval.intervals import Interval, Intervals, bootstrap
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.recall import Bin, DirectionRecall, RecallReport, recall_report, report_from_ranks, report_of
from pipeline.retrieval.similarity import image_scores

__all__ = [
    "Bin",
    "Comparison",
    "Difference",
    "DirectionRecall",
    "Evaluation",
    "Interval",
    "Intervals",
    "Ranks",
    "RecallReport",
    "aligned",
    "bootstrap",
    "compare",
    "evaluate",
    "image_scores",
    "recall_report",
    "report_from_ranks",
    "report_of",
]
