"""Search and its measurement: exact top-k over stored features, Recall@K with intervals, recall by object size."""

from __future__ import annotations

from pipeline.retrieval.comparison import Comparison, Difference, aligned, compare
from pipeline.retrieval.evaluation import Evaluation, evaluate
from pipeline.retrieval.intervals import Interval, Intervals, bootstrap
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.recall import Bin, DirectionRecall, RecallReport, recall_report, report_from_ranks, report_of
from pipeline.retrieval.similarity import Hit, image_scores, top_k
from pipeline.retrieval.text import embed_texts, load_text_encoder

__all__ = [
    "Bin",
    "Comparison",
    "Difference",
    "DirectionRecall",
    "Evaluation",
    "Hit",
    "Interval",
    "Intervals",
    "Ranks",
    "RecallReport",
    "aligned",
    "bootstrap",
    "compare",
    "embed_texts",
    "evaluate",
    "image_scores",
    "load_text_encoder",
    "recall_report",
    "report_from_ranks",
    "report_of",
    "top_k",
]
