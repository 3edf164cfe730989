"""The similarity of photos is symmetric, 1 only for the same vectors, and the fast comparison equals the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import QpertError
from pipeline.retrieval.photo_similarity import check_threshold, photo_similarity, similar
from pipeline.retrieval.similarity import Float32, unit


def photo(seed: int, vectors: int, dim: int = 8, noise: float = 1.0) -> Float32:
    """Vectors around one that depends on `seed` modulo 3, so that some photos are similar."""
    common = np.random.default_rng(seed % 3).standard_normal((1, dim))
    return unit(common + noise * np.random.default_rng(seed).standard_normal((vectors, dim)), "the test")


def by_definition(first: Float32, second: Float32) -> float:
    def towards(one: Float32, other: Float32) -> float:
        return float(np.mean([max(float(np.dot(a.astype(float), b.astype(float))) for b in other) for a in one]))

    return min(towards(first, second), towards(second, first))


PHOTOS = st.builds(photo, st.integers(0, 20), st.integers(1, 5), noise=st.sampled_from([0.01, 0.3]))


@settings(max_examples=200, deadline=None)
@given(first=PHOTOS, second=PHOTOS)
def test_it_is_the_definition_and_symmetric(first: Float32, second: Float32) -> None:
    value = photo_similarity(first, second)
    assert value == pytest.approx(by_definition(first, second), abs=6e-7)
    assert value == photo_similarity(second, first)
    assert photo_similarity(first, first) == 1
    assert photo_similarity(first, first[::-1]) == 1


def test_it_is_one_only_if_either_shows_all_of_the_other() -> None:
    first = photo(0, 4)
    assert photo_similarity(first, first[:3]) < 1
    assert photo_similarity(first[:3], first) < 1


def test_of_one_vector_each_it_is_the_cosine() -> None:
    first, second = photo(0, 1), photo(1, 1)
    assert photo_similarity(first, second) == pytest.approx(float(first[0] @ second[0]), abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(first=st.lists(PHOTOS, max_size=5), second=st.lists(PHOTOS, max_size=5), data=st.data())
def test_many_at_once_are_compared_as_one_by_one(
    first: list[Float32], second: list[Float32], data: st.DataObject
) -> None:
    exact = [[photo_similarity(one, other) for other in second] for one in first]
    values = sorted({value for row in exact for value in row if value > 0} | {0.9, 1.0})
    threshold = data.draw(st.sampled_from(values))  # often exactly that of a pair
    expected = [[value >= threshold for value in row] for row in exact]
    assert similar(first, second, threshold).tolist() == expected


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_other_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(QpertError, match="above 0 up to 1"):
        check_threshold(threshold)
