"""Re-ranking against the full matrices: LAVIS' rule, with the order of the contrast behind the k best."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.errors import QpertError
from pipeline.retrieval.evaluation import evaluate
from pipeline.retrieval.reranking import rerank

IMAGES, CAPTIONS, DIM = 12, 3, 8


@pytest.fixture
def setting(write_features):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((IMAGES, 2, DIM))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    features = write_features(vectors, precision="float32")
    texts = np.repeat(vectors[:, 0], CAPTIONS, axis=0) + 0.5 * rng.standard_normal((IMAGES * CAPTIONS, DIM))
    texts = (texts / np.linalg.norm(texts, axis=-1, keepdims=True)).astype(np.float32)
    captions = [CaptionedImage(f"{i:06d}.jpg", [str(CAPTIONS * i + j) for j in range(CAPTIONS)]) for i in range(IMAGES)]
    matching = rng.standard_normal((IMAGES, IMAGES * CAPTIONS)).astype(np.float32)
    cosines = np.einsum("ivd,td->ivt", vectors, texts).max(1)
    return features, captions, lambda names: texts[[int(name) for name in names]], matching, cosines


def naive(cosines: np.ndarray, matching: np.ndarray, k: int) -> tuple[list[int], list[int]]:
    owner = np.arange(IMAGES * CAPTIONS) // CAPTIONS

    def order(cosine: np.ndarray, itm: np.ndarray) -> list[int]:
        by_cosine = np.argsort(-cosine)
        best = by_cosine[:k]
        return [*best[np.argsort(-(itm + cosine)[best])], *by_cosine[k:]]

    t2i = [1 + order(cosines[:, t], matching[:, t]).index(owner[t]) for t in range(len(owner))]
    i2t = [1 + min(order(cosines[i], matching[i]).index(t) for t in np.flatnonzero(owner == i)) for i in range(IMAGES)]
    # A photo's other captions do not stand before its best one.
    return t2i, i2t


@pytest.mark.parametrize("k", [1, 3, 5, 500])
def test_ranks_equal_those_of_the_full_matrices(setting, k) -> None:
    features, captions, embed, matching, cosines = setting
    before = evaluate(features, captions, embed, candidates=k)
    assert before.photo_ids == before.ranks.image_ids
    starts, texts = before.candidates.texts_of_images()
    images = np.repeat(np.arange(IMAGES), np.diff(starts))
    after = rerank(before, matching[images, texts])
    t2i, i2t = naive(cosines, matching, k)
    assert after.ranks.text_ranks.tolist() == t2i
    assert after.ranks.image_ranks.tolist() == i2t
    assert after.report.t2i.overall[1] == np.mean(np.array(t2i) == 1)
    if k == 1:
        assert after.ranks.text_ranks.tolist() == before.ranks.text_ranks.tolist()


def test_an_oracle_is_right_if_the_answer_is_a_candidate(setting) -> None:
    features, captions, embed, _, _ = setting
    before = evaluate(features, captions, embed, candidates=3)
    starts, texts = before.candidates.texts_of_images()
    images = np.repeat(np.arange(IMAGES), np.diff(starts))
    after = rerank(before, 10 * (texts // CAPTIONS == images).astype(np.float32))
    assert np.array_equal(after.ranks.text_ranks == 1, before.ranks.text_ranks <= 3)
    behind = before.ranks.text_ranks > 3
    assert behind.any()
    assert np.array_equal(after.ranks.text_ranks[behind], before.ranks.text_ranks[behind])


def test_a_tie_counts_against_the_query(setting) -> None:
    features, captions, embed, _, _ = setting
    before = evaluate(features, captions, embed, candidates=4)
    candidates = dataclasses.replace(
        before.candidates,
        image_scores=np.zeros_like(before.candidates.image_scores),
        text_scores=np.zeros_like(before.candidates.text_scores),
    )
    _, texts = candidates.texts_of_images()
    after = rerank(dataclasses.replace(before, candidates=candidates), np.zeros(len(texts), np.float32))
    assert after.ranks.text_ranks.min() == 4


def test_distractors_are_matched_only_as_candidates_of_a_text(setting) -> None:
    features, captions, embed, matching, cosines = setting
    some = [CaptionedImage(image.image_id, image.captions if i < 4 else []) for i, image in enumerate(captions)]
    before = evaluate(features, some, embed, candidates=3)
    starts, texts = before.candidates.texts_of_images()
    images = np.repeat(np.arange(IMAGES), np.diff(starts))
    assert len(texts) < 12 * 3 + 4 * 3
    after = rerank(before, matching[images, texts])
    assert after.ranks.image_ranks[4:].tolist() == [0] * (IMAGES - 4)
    wanted = []
    for text in range(12):
        best = np.argsort(-cosines[:, text])
        again = [*best[:3][np.argsort(-(matching + cosines)[best[:3], text])], *best[3:]]
        wanted.append(1 + again.index(text // CAPTIONS))
    assert after.ranks.text_ranks.tolist() == wanted


def test_wrong_scores_are_refused(setting) -> None:
    features, captions, embed, _, _ = setting
    before = evaluate(features, captions, embed, candidates=2)
    _, texts = before.candidates.texts_of_images()
    with pytest.raises(QpertError, match="finite matching scores"):
        rerank(before, np.full(len(texts), np.nan, np.float32))
    with pytest.raises(QpertError, match="finite matching scores"):
        rerank(before, np.zeros(len(texts) - 1, np.float32))
    with pytest.raises(QpertError, match="needs the candidates"):
        rerank(evaluate(features, captions, embed), np.zeros(len(texts), np.float32))
