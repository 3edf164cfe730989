"""Approximate indexes: the over-fetch is sure, what covers everything is exact, and no photo is lost."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.vectors import approximate, photo_index
from pipeline.vectors.approximate import search_shard
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.parquet_rows import ParquetRows
from pipeline.vectors.quantiser import Quantiser
from pipeline.vectors.query_vectors import QueryVectors
from tests.vectors.indexing import build_index
from tests.vectors.stored_sets import answers, brute_force, grid, random_queries, remove, write_set

LIST_KINDS = ["ivf-sq8", "ivf-pq", "ivf-rabitq"]
KINDS = [*LIST_KINDS, "photo-pq"]


@pytest.fixture(autouse=True)
def lists_for_small_sets(monkeypatch):
    monkeypatch.setattr(approximate, "EXACT_VECTORS", 0)
    monkeypatch.setattr(photo_index, "EXACT_VECTORS", 0)
    monkeypatch.setattr(photo_index, "_FEWEST", 1)
    monkeypatch.setattr(photo_index, "_PER_CANDIDATE", 1)


def photos_of(rng, count, vectors, dim, *, multi=False):
    return [grid(rng, vectors * (int(rng.integers(1, 4)) if multi else 1), dim) for _ in range(count)]


@st.composite
def cases(draw, kinds=KINDS):
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "kind": draw(st.sampled_from(kinds)),
        "vectors": draw(st.sampled_from([1, 3])),
        "multi": draw(st.booleans()),
        "files": draw(st.integers(1, 4)),
        "per_shard": draw(st.sampled_from([1, 1 << 30])),
        "removed": draw(st.sampled_from([0.0, 0.3])),
        "allowed": draw(st.sampled_from([None, 0.5])),
        "further": draw(st.sampled_from([0, 5])),
        "kept": draw(st.booleans()),
        "wanted": draw(st.sampled_from([1, 4, 11])),
    }


def make(root, case, rng, *, photos=60, probes=4, shortlist=0.3, rescored=1):
    write_set(
        root,
        photos_of(rng, photos, case["vectors"], 8, multi=case["multi"]),
        case["vectors"],
        multi=case["multi"],
        files=case["files"],
    )
    build_index(
        root,
        case["kind"],
        per_shard=case["per_shard"],
        lists=8,
        probes=probes,
        shortlist=shortlist,
        rescored=rescored,
        keep_vectors=case["kept"],
    )
    first = open_snapshot(str(root), cache=False)
    if case["further"]:
        write_set(
            root,
            photos_of(rng, case["further"], case["vectors"], 8, multi=case["multi"]),
            case["vectors"],
            multi=case["multi"],
            first=500,
        )
    if case["removed"]:
        remove(root, [name for name in first.photos.column("image_id").to_pylist() if rng.random() < case["removed"]])
    snapshot = open_snapshot(str(root), cache=False)
    assert snapshot.approximate
    assert not snapshot.notes
    return snapshot


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(cases())
def test_with_all_lists_and_enough_rescored_answers_are_those_of_brute_force(case):
    rng = np.random.default_rng(case["seed"])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        snapshot = make(root, case, rng, probes=8, shortlist=1.0, rescored=1000)
        allowed = None if case["allowed"] is None else rng.random(len(snapshot.photos)) < case["allowed"]
        named = None if allowed is None else set(snapshot.photos.ids(np.flatnonzero(allowed)))
        mask = snapshot.live if allowed is None else snapshot.live & allowed
        for query in random_queries(rng, 3, 8):
            expected = brute_force(root, query, 5, allowed=named)
            assert answers(snapshot, [query], 5, allowed=allowed) == [expected]
            # The same through the lists, which `search` does not look into where all of them would be read.
            narrowed = snapshot.index.narrowed(query, 5, mask, snapshot.index.selection(allowed))
            assert answers(snapshot, [query], 5, allowed=narrowed, exact=True) == [expected]


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(cases(LIST_KINDS))
def test_the_candidates_are_the_best_photos_by_approximate_score(case):
    """Looking for few vectors at first, and for more as long as too few photos are among them, loses none."""
    rng = np.random.default_rng(case["seed"])
    with tempfile.TemporaryDirectory() as folder:
        snapshot = make(Path(folder) / "set", case, rng, rescored=case["wanted"])
        for query in random_queries(rng, 3, 8):
            found = snapshot.index.candidates(query, 1, snapshot.index.selection(None))
            scores = approximate_scores(snapshot, query)
            least = min(5, len(scores))
            assert len(found) >= least  # of each photo that is asked for
            limit = min(scores[photo] for photo in found.tolist())
            assert {photo for photo, score in scores.items() if score > limit} <= {*found.tolist()}


def approximate_scores(snapshot, query):
    """Photo -> the highest approximate score of its vectors in the lists looked into, all of which are asked for."""
    index = snapshot.index
    selection = index.selection(None)
    vectors = index.quantiser.rotated(query.vectors)
    near, lists = index.quantiser.nearest_lists(vectors, index._probes(selection))
    scores: dict[int, float] = {}
    for shard in index.shards:
        every = np.zeros(0, np.uint8)
        (found,), (photos,) = search_shard(shard, every, vectors, lists, near, shard.lists.vectors)
        for score, photo in zip(found.tolist(), photos.tolist(), strict=True):
            if snapshot.live[photo]:
                scores[photo] = max(score, scores.get(photo, -np.inf))
    return scores


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.slow
def test_photos_that_are_near_are_found(tmp_path, kind, kept):
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((20, 32))
    photos = [centres[rng.integers(20)] + 0.3 * rng.standard_normal((3, 32)) for _ in range(400)]
    write_set(tmp_path / "set", photos, 3, files=4)
    options = {"lists": 32, "probes": 8, "shortlist": 0.25, "rescored": 40, "keep_vectors": kept}
    build_index(tmp_path / "set", kind, per_shard=1 << 14, **options)
    snapshot = open_snapshot(str(tmp_path / "set"))
    assert snapshot.approximate
    assert len(snapshot.index.shards) == len(snapshot.parts) > 1
    assert all(isinstance(part.vectors, ParquetRows) for part in snapshot.parts) == (not kept)
    assert not snapshot.warm(0)
    assert snapshot.warm(2**30)
    assert kind in snapshot.about
    assert ("25.00% of them by all their vectors" if kind == "photo-pq" else "8 of 32 lists") in snapshot.about
    hit = 0
    for centre in centres:
        query = QueryVectors.single((centre / np.linalg.norm(centre)).astype(np.float32))
        found, exact = answers(snapshot, [query], 10)[0], answers(snapshot, [query], 10, exact=True)[0]
        assert exact == brute_force(tmp_path / "set", query, 10)
        assert all(pair in exact for pair in found if pair[1] >= exact[-1][1])  # scores are exact
        hit += len({*found} & {*exact})
    assert hit >= 190


def test_queries_of_several_vectors_and_of_negative_ones_alone_are_answered(tmp_path):
    rng = np.random.default_rng(4)
    write_set(tmp_path / "set", photos_of(rng, 200, 2, 16), 2, files=2)
    build_index(tmp_path / "set", "ivf-sq8", lists=16, probes=8, rescored=150)
    snapshot = open_snapshot(str(tmp_path / "set"))
    base = random_queries(rng, 1, 16, terms=1)[0]
    other = random_queries(rng, 1, 16, terms=1)[0]
    both = QueryVectors(np.concatenate([base.vectors, other.vectors]), np.float32([1, -0.5]))
    assert answers(snapshot, [both], 3)[0][0] == brute_force(tmp_path / "set", both, 3)[0]
    against = replace(base, weights=np.float32([-1]))
    assert answers(snapshot, [against], 5) == [brute_force(tmp_path / "set", against, 5)]


def test_few_allowed_photos_are_all_compared(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    write_set(tmp_path / "set", photos_of(rng, 300, 2, 16), 2)
    build_index(tmp_path / "set", "ivf-pq", lists=32, probes=1, rescored=1)
    snapshot = open_snapshot(str(tmp_path / "set"))
    allowed = np.arange(300) % 40 == 0  # one list in 32 would have too few of these
    monkeypatch.setattr(approximate.ListIndex, "candidates", None)
    query = random_queries(rng, 1, 16)[0]
    named = set(snapshot.photos.ids(np.flatnonzero(allowed)))
    assert answers(snapshot, [query], 8, allowed=allowed) == [brute_force(tmp_path / "set", query, 8, allowed=named)]


@pytest.mark.parametrize("kind", LIST_KINDS)
def test_a_quantiser_is_the_same_for_the_same_sample(kind):
    from pipeline.vectors.settings import chosen_settings
    from pipeline.vectors.training import train

    rng = np.random.default_rng(6)
    sample = rng.standard_normal((500, 16)).astype(np.float32)
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    parameters = chosen_settings(kind, 500, 16, lists=8)
    data = train(sample, parameters)
    assert data == train(sample, parameters)
    assert Quantiser.load(data, parameters, 16).centroids.shape == (8, 16)
