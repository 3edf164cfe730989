"""The rankings of several sets as one: ties at the cut, rows and vectors in the order that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.queries.merging import Pass, Place, columns_of, ranked, whole_vectors
from pipeline.queries.open_sets import OpenSet, open_sets
from pipeline.queries.query import Query
from pipeline.retrieval.similarity import unit
from pipeline.vectors.query_vectors import QueryVectors


@pytest.fixture
def sets(write_features: Any) -> list[OpenSet]:
    """Three sets of four photos: all equal, but for the third of each."""
    vectors = np.repeat(np.eye(4)[:1], 4, axis=0)
    vectors[2] = [0.5, 0.5, 0.5, 0.5]
    ids = [["d", "a", "x", "c"], ["b", "a", "y", "e"], ["f", "h", "z", "g"]]
    opened, _ = open_sets(
        [write_features(vectors[:, None], names, name=f"set-{n}") for n, names in enumerate(ids)], cache=False
    )
    return opened


@pytest.mark.parametrize("k", [1, 2, 3, 8, 20])
def test_ties_at_the_cut_are_decided_by_id_then_by_set(sets: list[OpenSet], k: int) -> None:
    query = QueryVectors.single(np.eye(4, dtype=np.float32)[0])
    (places,) = ranked(sets, Pass.of(Query.of("x", k)), [query])
    rows = columns_of(sets, places, ["image_id"])
    best = ["a0", "a1", "b1", "c0", "d0", "e1", "f2", "g2", "h2", "x0", "y1", "z2"]
    found = [f"{row['image_id']}{place.set}" for place, row in zip(places, rows, strict=True)]
    assert found == best[: k + 1]  # one more tells whether there are further ones


def test_rows_and_vectors_come_in_the_order_of_the_places(sets: list[OpenSet]) -> None:
    places = [Place(2, 3, 0, 0.0), Place(0, 1, 0, 0.0), Place(1, 2, 0, 0.0), Place(0, 0, 0, 0.0)]
    assert [row["image_id"] for row in columns_of(sets, places, ["image_id"])] == ["g", "a", "y", "d"]
    expected = unit(np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0.5] * 4, [1, 0, 0, 0]]), "")
    np.testing.assert_allclose(np.concatenate(whole_vectors(sets, places)), expected, atol=1e-3)
    assert columns_of(sets, [], ["image_id"]) == []
    assert whole_vectors(sets, []) == []
