"""Search and its measurement: exact top-k over stored features, Recall@K and recall by object size."""

from __future__ import annotations

from pipeline.retrieval.evaluation import Evaluation, evaluate
from pipeline.retrieval.recall import Bin, DirectionRecall, RecallReport, recall_report, report_from_ranks
from pipeline.retrieval.similarity import Hit, image_scores, top_k
from pipeline.retrieval.text import embed_texts, load_text_encoder

__all__ = [
    "Bin",
    "DirectionRecall",
    "Evaluation",
    "Hit",
    "RecallReport",
    "embed_texts",
    "evaluate",
    "image_scores",
    "load_text_encoder",
    "recall_report",
    "report_from_ranks",
    "top_k",
]
