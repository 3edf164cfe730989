from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.retrieval.candidates import CandidateCollector


def chosen(scores: np.ndarray, k: int, images: int = 4, texts: int = 5):
    """By tiles of 3 x 2."""
    collector = CandidateCollector(*scores.shape, k)
    for first in range(0, len(scores), 3):
        for start in range(0, scores.shape[1], 2):
            collector.count(scores[first : first + 3, start : start + 2], first_image=first, first_text=start)
    return collector.candidates(np.arange(scores.shape[1]) % len(scores))


@pytest.mark.parametrize("k", [1, 3, 7, 100])
def test_the_best_of_every_row_and_column(k: int) -> None:
    scores = np.random.default_rng(0).standard_normal((10, 23)).astype(np.float32)
    found = chosen(scores, k)
    for text in range(23):
        best = np.argsort(-scores[:, text])[:k]
        assert sorted(found.images[text]) == sorted(best)
        assert np.array_equal(found.image_scores[text], scores[found.images[text], text])
    for image in range(10):
        assert sorted(found.texts[image]) == sorted(np.argsort(-scores[image])[:k])
        assert np.array_equal(found.text_scores[image], scores[image, found.texts[image]])


def test_every_pair_once_photo_by_photo() -> None:
    scores = np.random.default_rng(1).standard_normal((6, 9)).astype(np.float32)
    found = chosen(scores, 2)
    starts, texts = found.texts_of_images()
    got = [(image, int(text)) for image in range(6) for text in texts[starts[image] : starts[image + 1]]]
    want = {(int(image), text) for text in range(9) for image in found.images[text]}
    want |= {(image, int(text)) for image in range(6) for text in found.texts[image]}
    assert got == sorted(want)
    assert starts[-1] == len(texts)


def test_photos_without_a_text_ask_for_none() -> None:
    collector = CandidateCollector(5, 4, 2)
    collector.count(np.random.default_rng(2).standard_normal((5, 4)).astype(np.float32), first_image=0, first_text=0)
    found = collector.candidates(np.array([1, 1, 3, 3]))
    assert found.queries.tolist() == [False, True, False, True, False]
    starts, texts = found.texts_of_images()
    wanted = {(int(image), text) for text in range(4) for image in found.images[text]}
    wanted |= {(image, int(text)) for image in (1, 3) for text in found.texts[image]}
    assert [(i, int(t)) for i in range(5) for t in texts[starts[i] : starts[i + 1]]] == sorted(wanted)


def test_at_least_one_candidate() -> None:
    with pytest.raises(QpertError, match="at least 1, not 0"):
        CandidateCollector(3, 3, 0)
