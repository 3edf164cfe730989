"""Exact search over stored features, compared with plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.queries.exact import top_k
from pipeline.queries.hits import Hit, Hits
from pipeline.retrieval import similarity
from pipeline.retrieval.similarity import unit


def random_vectors(n, v, d, seed=0):
    return unit(np.random.default_rng(seed).standard_normal((n, v, d)), "test")


def brute_force(features, query, k):
    """All photos at once in float64, sorted by (-score, id)."""
    ranked = []
    for block in features.iter_blocks():
        vectors = np.asarray(features.embeddings(block), np.float64)
        vectors = unit(vectors, "").astype(np.float64)
        scores = (vectors @ unit(query, "").astype(np.float64)).max(axis=1)
        ranked += list(zip(-scores.astype(np.float32), block["image_id"].to_pylist(), strict=True))
    return sorted(ranked)[:k]


@pytest.mark.parametrize(("v", "d"), [(1, 16), (4, 8)])
@pytest.mark.parametrize("k", [1, 7, 1000])
def test_finds_the_same_photos_as_brute_force(write_features, monkeypatch, v, d, k):
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", 60 * v * d)  # several blocks, several groups of queries
    features = write_features(random_vectors(300, v, d), files=3)
    queries = random_vectors(9, 1, d, seed=1)[:, 0]
    for query, hits in zip(queries, top_k(features, queries, k), strict=True):
        expected = brute_force(features, query, k)
        assert [hit.image_id for hit in hits] == [image_id for _, image_id in expected]
        assert [hit.score for hit in hits] == pytest.approx([-score for score, _ in expected], abs=1e-6)
        assert all(hit.uri == f"/photos/{hit.image_id}" for hit in hits)


def test_the_length_of_a_vector_does_not_matter(write_features):
    vectors = random_vectors(20, 2, 8)
    hits = top_k(write_features(vectors), vectors[:3, 0] * 8, 3)
    stretched = top_k(write_features(vectors * 2, name="stretched"), vectors[:3, 0], 3)
    assert hits == stretched
    assert hits[0][0].score == pytest.approx(1, abs=1e-6)


def test_equal_photos_are_ordered_by_image_id_wherever_they_are_stored(write_features, monkeypatch):
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", 11 * 32)  # eleven photos a block, the last block shorter
    one = random_vectors(1, 1, 32)
    order = np.random.default_rng(2).permutation(40)
    ids = [f"{i:03d}" for i in order]
    features = write_features(np.repeat(one, 40, axis=0), ids, files=3)
    queries = random_vectors(2, 1, 32, seed=3)[:, 0]
    for hits in (*top_k(features, queries, 25), *top_k(features, queries[:1], 25)):
        assert [hit.image_id for hit in hits] == sorted(ids)[:25]
        assert len({hit.score for hit in hits}) == 1


def test_min_score_leaves_out_lower_scores(write_features):
    vectors = np.array([[[1, 0]], [[0.8, 0.6]], [[0, 1]]], np.float32)
    features = write_features(vectors)
    assert [hit.image_id for hit in top_k(features, [[1, 0]], 10, min_score=0.5)[0]] == ["000000.jpg", "000001.jpg"]
    assert top_k(features, [[-1, 0]], 10, min_score=0.5) == [[]]


def test_photos_that_failed_are_never_found(write_features):
    features = write_features(random_vectors(6, 1, 4), failed=["000002.jpg", "000005.jpg"])
    hits = top_k(features, np.ones((1, 4)), 10)[0]
    assert sorted(hit.image_id for hit in hits) == ["000000.jpg", "000001.jpg", "000003.jpg", "000004.jpg"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_stored_nan_is_refused(write_features, bad):
    vectors = random_vectors(5, 2, 4)
    vectors[3, 1, 2] = bad
    features = write_features(vectors)
    with pytest.raises(QpertError, match=r"NaN.*000000\.jpg to 000004\.jpg"):
        top_k(features, np.ones((1, 4)))


def test_bad_queries_are_refused(write_features):
    features = write_features(random_vectors(3, 1, 4))
    with pytest.raises(QpertError, match="query embeddings"):
        top_k(features, [[np.nan, 0, 0, 0]])
    with pytest.raises(QpertError, match="query embeddings"):
        top_k(features, [[0, 0, 0, 0]])
    with pytest.raises(QpertError, match="different encoders"):
        top_k(features, [[1, 0, 0]])
    with pytest.raises(QpertError, match="at least 1"):
        top_k(features, [[1, 0, 0, 0]], 0)


def test_float32_features_are_searched_too(write_features):
    vectors = random_vectors(10, 1, 8)
    hits = top_k(write_features(vectors, precision="float32"), vectors[4], 1)[0]
    assert (hits[0].image_id, hits[0].score) == ("000004.jpg", pytest.approx(1, abs=1e-6))


def test_hits_are_a_sequence():
    hits = Hits("a dog", tuple(Hit(f"{name}.jpg", f"/{name}.jpg", 0.5) for name in "abc"))
    assert len(hits) == 3
    assert hits[0].image_id == "a.jpg"
    assert hits[1:] == Hits("a dog", hits.hits[1:])
    assert list(hits) == list(hits.hits)
    assert hits[2] in hits
