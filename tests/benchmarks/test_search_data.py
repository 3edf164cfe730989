"""Simulated embeddings: the same for the same sizes, correlated within a photo, texts with many competitors."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.benchmarks.search_data import BLOCK, QUERY_COSINE, SearchSizes, SimulatedPhotos

SIZES = SearchSizes(photos=2 * BLOCK + 7, vectors=8, dim=64)


def stacked(sizes: SearchSizes) -> np.ndarray:
    return np.concatenate(list(SimulatedPhotos(sizes))).astype(np.float32)


def test_photos_are_unit_vectors_of_the_given_sizes():
    photos = stacked(SIZES)
    assert photos.shape == (2 * BLOCK + 7, 8, 64)
    assert np.linalg.norm(photos, axis=2) == pytest.approx(1, abs=2e-3)
    assert SIZES.bytes == photos.size * 2


def test_a_larger_set_begins_with_the_smaller_one_and_another_seed_is_another_set():
    few = stacked(SearchSizes(photos=BLOCK + 1, vectors=8, dim=64))
    assert (stacked(SIZES)[: len(few)] == few).all()
    assert (SimulatedPhotos(SIZES).texts(5) == SimulatedPhotos(SIZES).texts(5)).all()
    other = stacked(SearchSizes(photos=BLOCK + 1, vectors=8, dim=64, seed=1))
    assert (few != other).mean() > 0.9


def test_vectors_of_a_photo_are_nearer_to_each_other_than_to_those_of_other_photos():
    photos = stacked(SearchSizes(photos=BLOCK, vectors=32, dim=256))
    within = np.mean([(photo @ photo.T)[~np.eye(32, dtype=bool)].mean() for photo in photos])
    between = (photos[:-1, 0] * photos[1:, 5]).sum(axis=1).mean()
    assert 0.5 < within < 0.7
    assert 0.0 < between < 0.25


def test_a_text_has_one_photo_at_its_cosine_and_competitors_close_behind():
    texts = SimulatedPhotos(SIZES).texts(50)
    assert np.linalg.norm(texts, axis=1) == pytest.approx(1, abs=1e-5)
    products = stacked(SIZES).reshape(-1, 64) @ texts.T
    scores = np.sort(products.reshape(-1, 8, len(texts)).max(axis=1), axis=0)[::-1]
    assert (scores[0] > QUERY_COSINE - 0.01).all()
    assert scores[0].mean() < QUERY_COSINE + 0.15
    assert (scores[9] > 0.2).mean() > 0.8
