from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.retrieval.candidates import CandidateCollector


def chosen(scores: np.ndarray, k: int, images: int = 4, texts: int = 5):
    """The candidates, collected in tiles of 3 x 2."""
    collector = CandidateCollector(*scores.shape, k)
    for first in range(0, len(scores), 3):
        for start in range(0, scores.shape[1], 2):
            collector.count(scores[first : first + 3, start : start + 2], first_image=first, first_text=start)
    return collector.candidates(np.arange(scores.shape[1]) % len(scores))


@pytest.mark.parametrize("k", [1, 3, 7, 100])
def test_the_best_of_every_row_and_column(k: int) -> None:
    scores = np.random.default_rng(0).standard_normal((10, 23)).astype(np.float32)
    candidates = chosen(scores, k)
    for text in range(23):
        best = np.argsort(-scores[:, text])[:k]
        assert sorted(candidates.images[text]) == sorted(best)
        assert np.array_equal(candidates.image_scores[text], scores[candidates.images[text], text])
    for image in range(10):
        assert sorted(candidates.texts[image]) == sorted(np.argsort(-scores[image])[:k])
        assert np.array_equal(candidates.text_scores[image], scores[image, candidates.texts[image]])


def test_every_pair_once_photo_by_photo() -> None:
    scores = np.random.default_rng(1).standard_normal((6, 9)).astype(np.float32)
    candidates = chosen(scores, 2)
    starts, texts = candidates.texts_of_images()
    pairs = [(image, int(text)) for image in range(6) for text in texts[starts[image] : starts[image + 1]]]
    expected = {(int(image), text) for text in range(9) for image in candidates.images[text]}
    expected |= {(image, int(text)) for image in range(6) for text in candidates.texts[image]}
    assert pairs == sorted(expected)
    assert starts[-1] == len(texts)


def test_photos_without_a_text_are_not_queries() -> None:
    collector = CandidateCollector(5, 4, 2)
    collector.count(np.random.default_rng(2).standard_normal((5, 4)).astype(np.float32), first_image=0, first_text=0)
    candidates = collector.candidates(np.array([1, 1, 3, 3]))
    assert candidates.queries.tolist() == [False, True, False, True, False]
    starts, texts = candidates.texts_of_images()
    expected = {(int(image), text) for text in range(4) for image in candidates.images[text]}
    expected |= {(image, int(text)) for image in (1, 3) for text in candidates.texts[image]}
    assert [(i, int(t)) for i in range(5) for t in texts[starts[i] : starts[i + 1]]] == sorted(expected)


def test_at_least_one_candidate() -> None:
    with pytest.raises(QpertError, match="at least 1, not 0"):
        CandidateCollector(3, 3, 0)
