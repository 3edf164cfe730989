"""Folding equals comparing hit by hit, whatever the batches, and a longer ranking begins like a shorter one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import QpertError
from pipeline.queries import folding
from pipeline.queries.folding import fold
from pipeline.retrieval.photo_similarity import photo_similarity
from pipeline.retrieval.similarity import Float32, unit

Folds = list[tuple[int, tuple[int, ...]]]


def ranking(seed: int, count: int, most: int) -> list[Float32]:
    """Photos in a few clusters that run into each other."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((3, most, 6))
    photos = []
    for _ in range(count):
        noise = random.uniform(0, 0.6) * random.standard_normal((most, 6))
        vectors = centres[random.integers(3)] + noise
        photos.append(unit(vectors[: random.integers(1, most + 1)], "the test"))
    return photos


def folded(photos: Sequence[Float32], threshold: float) -> Folds:
    return fold(len(photos), lambda positions: [photos[position] for position in positions], threshold)


def one_by_one(photos: Sequence[Float32], threshold: float) -> Folds:
    kept: dict[int, list[int]] = {}
    for position, photo in enumerate(photos):
        onto = next((one for one in kept if photo_similarity(photos[one], photo) >= threshold), None)
        kept.setdefault(position if onto is None else onto, []).extend([] if onto is None else [position])
    return [(position, tuple(others)) for position, others in kept.items()]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 40),
    most=st.integers(1, 4),
    threshold=st.sampled_from([0.5, 0.9, 0.97, 1.0]),
    batch=st.sampled_from([1, 3, 7, 32]),
)
def test_it_equals_comparing_hit_by_hit(seed: int, count: int, most: int, threshold: float, batch: int) -> None:
    photos = ranking(seed, count, most)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "_FIRST_BATCH", batch)
        patch.setattr(folding, "_BATCH_VECTORS", batch)
        result = folded(photos, threshold)
    assert result == one_by_one(photos, threshold)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(0, 40))
def test_a_longer_ranking_begins_like_a_shorter_one(seed: int, cut: int) -> None:
    photos = ranking(seed, 40, 2)
    short, whole = folded(photos[:cut], 0.9), folded(photos, 0.9)
    assert [position for position, _ in short] == [position for position, _ in whole if position < cut]
    assert [others for _, others in short] == [
        tuple(position for position in others if position < cut) for _, others in whole[: len(short)]
    ]


def test_equal_photos_are_folded_at_any_threshold() -> None:
    photos = [unit(np.random.default_rng(0).standard_normal((3, 6)).astype(np.float16), "the test")] * 100
    assert folded(photos, 1.0) == [(0, tuple(range(1, 100)))]


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_other_thresholds_are_refused(threshold: float) -> None:
    unused: Any = None
    with pytest.raises(QpertError, match="above 0 up to 1"):
        fold(1, unused, threshold)
