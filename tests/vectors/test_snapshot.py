"""Searching a snapshot finds what brute force finds, to the last bit, wherever the vectors are."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import QpertError
from pipeline.vectors import stored_vectors
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.query_vectors import QueryVectors
from pipeline.vectors.stored_vectors import StoredVectors
from tests.vectors.stored_sets import answers, brute_force, grid, random_queries, remove, write_set


@st.composite
def cases(draw):
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "photos": draw(st.integers(1, 30)),
        "further": draw(st.integers(0, 8)),
        "vectors": draw(st.sampled_from([1, 2, 5])),
        "dim": draw(st.sampled_from([1, 3, 8, 33])),
        "files": draw(st.integers(1, 4)),
        "precision": draw(st.sampled_from(["float16", "float32"])),
        "multi": draw(st.booleans()),
        "cached": draw(st.booleans()),
        "removed": draw(st.sampled_from([0.0, 0.3])),
        "allowed": draw(st.sampled_from([None, 0.05, 0.5])),
        "failed": draw(st.sampled_from([0.0, 0.2])),
        "k": draw(st.sampled_from([1, 3, 100])),
        "floor": draw(st.sampled_from([-np.inf, 0.25])),
        "tile": draw(st.sampled_from([1, 7, 512])),
        "ledger": draw(st.booleans()),
    }


def photos_of(rng, case, count):
    made = []
    for number in range(count):
        views = int(rng.integers(1, 4)) if case["multi"] else 1
        failed = number > 0 and rng.random() < case["failed"]
        made.append(None if failed else grid(rng, case["vectors"] * views, case["dim"]))
    return made


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_finds_what_brute_force_finds(case):
    rng = np.random.default_rng(case["seed"])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_vectors, "_TILE", case["tile"])
        patch.setattr(stored_vectors, "_BLOCK_VECTORS", 40)
        root = Path(folder) / "set"
        options = {name: case[name] for name in ("vectors", "precision", "multi", "ledger")}
        write_set(root, photos_of(rng, case, case["photos"]), files=case["files"], **options)
        ids = open_snapshot(str(root), cache=case["cached"]).photos.column("image_id").to_pylist()
        if case["further"]:  # of which no shard has any
            write_set(root, photos_of(rng, case, case["further"]), first=500, **options)
        if case["removed"]:
            remove(root, [name for name in ids if rng.random() < case["removed"]])
        snapshot = open_snapshot(str(root), cache=False)
        allowed = None if case["allowed"] is None else rng.random(len(snapshot.photos)) < case["allowed"]
        named = None if allowed is None else set(snapshot.photos.ids(np.flatnonzero(allowed)))
        queries = random_queries(rng, 3, case["dim"], terms=3)
        found = answers(snapshot, queries, case["k"], allowed=allowed, floor=case["floor"])
        expected = [brute_force(root, query, case["k"], floor=case["floor"], allowed=named) for query in queries]
        assert found == expected
        kinds = {type(part.vectors) for part in snapshot.parts}
        assert (StoredVectors in kinds) == case["cached"]
        assert not snapshot.notes


def test_the_best_vector_of_a_photo_is_named(tmp_path):
    photos = [np.array([[0, 1], [1, 0], [1, 1]]), np.array([[1, 0], [1, 0], [0, 1]])]
    for cache in (False, True):
        write_set(tmp_path / "set", photos, 3)
        found = open_snapshot(str(tmp_path / "set"), cache=cache).search([QueryVectors.single(np.float32([1, 0]))], 2)[
            0
        ]
        assert sorted(zip(found.photos.tolist(), found.vectors.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_vectors_of_photos_are_those_stored(tmp_path):
    rng = np.random.default_rng(0)
    photos = [None if number == 3 else grid(rng, 2 * (1 + number % 3), 4) for number in range(20)]
    write_set(tmp_path / "set", photos, 2, multi=True, files=3)
    there = [photo for photo in photos if photo is not None]
    for cache in (False, True):
        snapshot = open_snapshot(str(tmp_path / "set"), cache=cache)
        for number, vectors in zip([7, 0, 7, 18], snapshot.vectors_of([7, 0, 7, 18]), strict=True):
            lengths = np.linalg.norm(there[number], axis=1, keepdims=True)
            np.testing.assert_allclose(vectors, there[number] / lengths, atol=1e-6)


def test_a_variant_is_searched_by_its_own_vectors(tmp_path):
    rng = np.random.default_rng(1)
    photos = [grid(rng, 4, 6) for _ in range(9)]
    write_set(tmp_path / "set", photos, 2, variants=["plain", "qpert 0.5/x"], files=2)
    query = random_queries(rng, 1, 6)
    for variant in ("plain", "qpert 0.5/x"):
        for cache in (True, False):
            snapshot = open_snapshot(str(tmp_path / "set"), variant=variant, cache=cache)
            assert isinstance(snapshot.parts[0].vectors, StoredVectors) or not cache
            assert answers(snapshot, query, 5) == [brute_force(tmp_path / "set", query[0], 5, variant=variant)]
    assert len(list((tmp_path / "set" / "search").glob("variant-*"))) == 2


def test_bad_queries_are_refused(tmp_path):
    write_set(tmp_path / "set", [np.ones((1, 3))], 1)
    snapshot = open_snapshot(str(tmp_path / "set"))
    with pytest.raises(QpertError, match="at least 1"):
        snapshot.search([QueryVectors.single(np.float32([1, 0, 0]))], 0)
    with pytest.raises(QpertError, match="different encoders"):
        snapshot.search([QueryVectors.single(np.float32([1, 0]))], 1)
    with pytest.raises(QpertError, match="NaN"):
        QueryVectors.single(np.float32([np.nan, 0, 0]))
    with pytest.raises(QpertError, match="shape"):
        QueryVectors(np.ones((2, 3), np.float32), np.ones(1, np.float32))
    assert snapshot.search([], 1) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0])
def test_bad_stored_vectors_are_refused_as_they_always_were(tmp_path, bad):
    photos = [np.ones((1, 3)), np.full((1, 3), bad)]
    write_set(tmp_path / "set", photos, 1)
    with pytest.raises(QpertError, match="NaN, infinity or a zero vector"):
        open_snapshot(str(tmp_path / "set")).search([QueryVectors.single(np.float32([1, 0, 0]))], 1)


def test_threads_search_one_snapshot(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(2)
    write_set(tmp_path / "set", [grid(rng, 2, 8) for _ in range(60)], 2, files=3)
    snapshot = open_snapshot(str(tmp_path / "set"))
    queries = random_queries(rng, 8, 8, terms=2)
    expected = answers(snapshot, queries, 5)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda query: answers(snapshot, [query], 5)[0], queries * 5)) == expected * 5
