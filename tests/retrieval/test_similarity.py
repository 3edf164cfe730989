"""Scores of texts for photos, and the blocks of vectors behind them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.retrieval import image_scores, similarity
from pipeline.retrieval.similarity import rows_of, unit, vector_blocks


def random_vectors(n, v, d, seed=0):
    return unit(np.random.default_rng(seed).standard_normal((n, v, d)), "test")


def test_the_score_is_the_best_of_the_vectors():
    vectors = np.zeros((1, 3, 3), np.float32)
    vectors[0] = np.eye(3)
    texts = unit([[0.0, 3.0, 4.0], [1.0, 0.0, 0.0]], "test")
    assert image_scores(vectors, texts) == pytest.approx(np.array([[0.8, 1.0]]))


def test_tiles_are_the_scores_in_any_size(monkeypatch):
    texts = random_vectors(1, 23, 8)[0]
    scorer = similarity.TileScorer()
    monkeypatch.setattr(similarity, "_TILE_TEXTS", 9)
    monkeypatch.setattr(similarity, "_TILE_CELLS", 4 * 9)
    for photos, count in ((7, 2), (3, 2), (9, 1), (7, 5)):  # larger and smaller blocks share one memory
        vectors = random_vectors(photos, count, 8)
        tiles = [(start, tile.copy()) for start, tile in scorer.tiles(vectors, texts)]
        assert len(tiles) > 1
        whole = np.concatenate([tile for _, tile in tiles], axis=1)
        assert whole == pytest.approx(image_scores(vectors, texts), abs=1e-6)
        assert [start for start, _ in tiles] == list(range(0, 23, tiles[0][1].shape[1]))


def test_memory_is_bounded_by_the_block(write_features, monkeypatch):
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", 10 * 4 * 8)
    features = write_features(random_vectors(95, 4, 8), files=2)
    sizes = [vectors.shape for _, vectors in vector_blocks(features)]
    assert sizes == [(10, 4, 8)] * 9 + [(5, 4, 8)]


def test_rows_of_reads_the_requested_photos(write_features):
    features = write_features(random_vectors(8, 1, 4), files=3)
    rows = rows_of(features, ["000006.jpg", "000001.jpg", "absent.jpg"], ["uri", "width"])
    assert rows == {
        name: {"image_id": name, "uri": f"/photos/{name}", "width": 64} for name in ("000001.jpg", "000006.jpg")
    }
