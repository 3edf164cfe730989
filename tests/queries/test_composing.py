"""Arithmetic of queries against a plain reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import QpertError
from pipeline.queries.composing import composed
from pipeline.retrieval.similarity import unit


def units(rng: np.random.Generator, *shape: int) -> Any:
    return unit(rng.standard_normal(shape), "test")


def score(query: Any, photo: Any) -> float:
    """As a search scores a photo [v, D]."""
    cosines = query.vectors.astype(np.float64) @ photo.astype(np.float64).T
    return float(query.weights.astype(np.float64) @ cosines.max(axis=1))


def reference(terms: list[tuple[Any, float]], count: int, photo: Any) -> float:
    """The definition: all is added up (V = 1), or texts are, and photos count by the mean best cosine (V > 1)."""
    wide = [(vectors.astype(np.float64), weight) for vectors, weight in terms]
    photo = photo.astype(np.float64)
    if count == 1:
        total = sum(weight * vectors[0] for vectors, weight in wide)
        return float((photo @ (total / np.linalg.norm(total))).max())
    texts = [(vectors[0], weight) for vectors, weight in wide if len(vectors) == 1]
    parts, sizes = 0.0, 0.0
    if len(texts) == 1:
        parts, sizes = texts[0][1] * (photo @ texts[0][0]).max(), abs(texts[0][1])
    elif texts:
        total = sum(weight * vector for vector, weight in texts)
        parts, sizes = (photo @ total).max(), float(np.linalg.norm(total))
    for vectors, weight in wide:
        if len(vectors) > 1:
            parts += weight * np.mean([(photo @ vector).max() for vector in vectors])
            sizes += abs(weight)
    return float(parts / sizes)


WEIGHTS = st.one_of(st.floats(0.1, 4), st.floats(-4, -0.1))


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.sampled_from([1, 2, 8]),
    texts=st.lists(WEIGHTS, max_size=3),
    photos=st.lists(WEIGHTS, max_size=3),
)
def test_scores_are_those_of_the_definition(seed: int, count: int, texts: list[float], photos: list[float]) -> None:
    if not texts and not photos:
        return
    rng = np.random.default_rng(seed)
    terms = [(units(rng, 1, 16), weight) for weight in texts] + [(units(rng, count, 16), w) for w in photos]
    if count == 1 and len(terms) == 1 and terms[0][1] < 0:
        return  # `Query` refuses a single negative term
    query = composed(terms, count)
    for views in (1, 3):
        photo = units(rng, count * views, 16)
        assert score(query, photo) == pytest.approx(reference(terms, count, photo), abs=1e-5)
        assert abs(score(query, photo)) <= 1 + 1e-5


def test_a_single_term_is_taken_as_it_is_whatever_its_weight() -> None:
    text = units(np.random.default_rng(0), 1, 64)
    for count in (1, 8):
        query = composed([(text, 0.25)], count)
        np.testing.assert_array_equal(query.weights, [1])
        np.testing.assert_array_equal(query.vectors, unit(text, "test"))


def test_a_photo_of_several_vectors_scores_1_with_itself() -> None:
    photo = units(np.random.default_rng(1), 8, 32)
    query = composed([(photo, 3.0)], 8)
    assert len(query.weights) == 8
    assert score(query, photo) == pytest.approx(1, abs=1e-6)


def test_terms_that_cancel_each_other_out_are_refused() -> None:
    text, other = units(np.random.default_rng(2), 2, 1, 16)
    for count in (1, 8):
        with pytest.raises(QpertError, match="cancel each other out"):
            composed([(text, 1.0), (other, 2.0), (text, -1.0), (other, -2.0)], count)
    photo = units(np.random.default_rng(3), 8, 16)
    left = composed([(text, 1.0), (text, -1.0), (photo, 1.0)], 8)
    np.testing.assert_allclose(left.vectors, photo, atol=1e-6)
