"""Re-ranking by image-text matching: the k best of each query by contrast, ordered by matching score + cosine (LAVIS).

Everything else stays behind them, in the order of the contrast. As everywhere, a tie counts against the query.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.errors import QpertError
from pipeline.retrieval.candidates import Float32, Int32
from pipeline.retrieval.evaluation import Evaluation
from pipeline.retrieval.ranks import Ints, Ranks
from pipeline.retrieval.recall import report_of

_ROUNDING = 1e-5
"""Scores within this distance are ties: the last bits of a logit depend on the other pairs of the same pass."""


def rerank(evaluation: Evaluation, matching: Float32) -> Evaluation:
    """`evaluation` with its candidates reordered by matching.

    Args:
        evaluation: made with `candidates`.
        matching: float32 [pairs], the matching score of each pair of `Candidates.texts_of_images`, in that order.

    Raises:
        QpertError: a wrong number of scores, or some that are not finite.
    """
    candidates = evaluation.candidates
    if candidates is None:
        raise QpertError("re-ranking needs the candidates of the evaluation: evaluate(..., candidates=k)")
    starts, texts = candidates.texts_of_images()
    if len(matching) != len(texts) or not np.isfinite(matching).all():
        raise QpertError(f"re-ranking needs {len(texts)} finite matching scores, got {np.isfinite(matching).sum()}")
    ranks = evaluation.ranks
    owners, count = ranks.image_of_text, len(ranks.image_ranks)
    keys = np.repeat(np.arange(count, dtype=np.int64), np.diff(starts)) * len(owners) + texts

    def matched(images: Ints | Int32, of_texts: Ints | Int32) -> Float32:
        """Matching scores of pairs, looked up in the sorted list of all."""
        scores: Float32 = matching[np.searchsorted(keys, images.astype(np.int64) * len(owners) + of_texts)]
        return scores

    rows = np.arange(len(owners))[:, None]
    by_text = candidates.image_scores + matched(candidates.images, rows)
    text_ranks = _ranks(by_text, candidates.images == owners[:, None], ranks.text_ranks)
    queries = np.flatnonzero(candidates.queries)
    texts_of = candidates.texts[queries]
    by_image = candidates.text_scores[queries] + matched(queries[:, None], texts_of)
    image_ranks = np.zeros(count, np.int64)  # an image without a caption is not a query
    image_ranks[queries] = _ranks(by_image, owners[texts_of] == queries[:, None], ranks.image_ranks[queries])
    reranked = Ranks(text_ranks, image_ranks, owners, ranks.bins, ranks.image_ids, ranks.photos)
    return replace(evaluation, report=report_of(reranked, evaluation.report.ks), ranks=reranked)


def _ranks(scores: Float32, right: np.ndarray, before: Ints) -> Ints:
    """Rank [n] of the best right answer among the candidates [n, k]; without one, its rank stays behind all of them."""
    best = np.where(right, scores, -np.inf).max(1)
    ahead = ((scores >= best[:, None] - _ROUNDING) & ~right).sum(1)
    ranks: Ints = np.where(right.any(1), ahead + 1, np.maximum(before, scores.shape[1] + 1)).astype(np.int64)
    return ranks
