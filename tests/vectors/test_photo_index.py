"""The index `photo-pq`: what its codes say, which photos it puts on its shortlist, and which of these it proposes."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import QpertError
from pipeline.vectors import photo_index
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.quantiser import Quantiser, directions
from pipeline.vectors.query_vectors import QueryVectors
from pipeline.vectors.settings import chosen_settings
from pipeline.vectors.training import train
from tests.vectors.indexing import build_index
from tests.vectors.stored_sets import answers, brute_force, random_queries, write_set

DIM = 32


@pytest.fixture(autouse=True)
def codes_for_small_sets(monkeypatch):
    monkeypatch.setattr(photo_index, "EXACT_VECTORS", 0)
    monkeypatch.setattr(photo_index, "_FEWEST", 1)
    monkeypatch.setattr(photo_index, "_PER_CANDIDATE", 1)


def correlated(rng, photos, vectors, *, multi=False):
    """Photos whose vectors lie around a direction of each photo's own."""
    counts = vectors * (rng.integers(1, 4, photos) if multi else np.ones(photos, np.int64))
    return [rng.standard_normal(DIM) + 0.8 * rng.standard_normal((count, DIM)) for count in counts]


@pytest.fixture(params=[(33, False), (5, True)], ids=["one number of vectors", "several numbers"])
def snapshot(request, tmp_path):
    vectors, multi = request.param
    rng = np.random.default_rng(7)
    write_set(tmp_path / "set", correlated(rng, 150, vectors, multi=multi), vectors, files=3, multi=multi)
    build_index(tmp_path / "set", "photo-pq", shortlist=0.2, rescored=1)
    return open_snapshot(str(tmp_path / "set"), cache=False)


def decoded_products(snapshot, query):
    """Photo -> the product of a query with its decoded direction, and those with its decoded vectors."""
    quantiser = snapshot.index.directions.quantiser
    index = quantiser.inner_index(1)  # to which its product quantiser belongs
    found = {}
    for photo in range(len(snapshot.photos)):
        vectors = snapshot.vectors_of([photo])[0]
        direction = quantiser.decoded(directions(vectors, np.int64([len(vectors)])))
        rest = index.pq.decode(index.pq.compute_codes(np.ascontiguousarray(vectors - direction)))
        found[photo] = (float(direction[0] @ query), (direction + rest) @ query)
    return found


def test_codes_are_those_of_the_vectors_and_each_photo_has_its_own(snapshot):
    rng = np.random.default_rng(8)
    query = random_queries(rng, 1, DIM, terms=1)[0].vectors[0]
    products = decoded_products(snapshot, query)
    for shard, codes in zip(snapshot.index.shards, snapshot.index.codes, strict=True):
        photos = np.arange(shard.photos.start, shard.photos.stop)[::2]
        near = np.float32([products[photo][0] for photo in photos.tolist()])
        expected = np.concatenate([products[photo][1] for photo in photos.tolist()])
        owners = np.repeat(photos, [len(products[photo][1]) for photo in photos.tolist()])
        scores, found = codes.search(query, photos, near, 10**4)
        assert sorted(found.tolist()) == sorted(owners.tolist())
        for photo in photos.tolist():  # sums of tables whose entries are rounded to a byte
            np.testing.assert_allclose(
                np.sort(scores[found == photo]), np.sort(expected[owners == photo]), atol=0.03, rtol=0
            )


def test_the_shortlist_has_the_photos_of_the_nearest_directions(snapshot):
    query = random_queries(np.random.default_rng(9), 1, DIM, terms=1)[0].vectors[0]
    shortlist = snapshot.index._shortlist(query, 30, snapshot.index.selection(None))
    photos = np.concatenate([listed.photos for listed in shortlist])
    scores = np.concatenate([listed.scores for listed in shortlist])
    products = {photo: direction for photo, (direction, _) in decoded_products(snapshot, query).items()}
    assert 30 <= len(photos) <= 35  # with those that score like the last
    assert (np.diff(photos) > 0).all()
    np.testing.assert_allclose(scores, [products[photo] for photo in photos.tolist()], atol=0.03)
    others = max(value for photo, value in products.items() if photo not in photos)
    assert scores.min() > others - 0.06


def test_a_shortlist_that_lies_in_one_shard_is_complete(tmp_path, monkeypatch):
    """Each shard is asked for its share first; photos that are alike may all be in one."""
    monkeypatch.setattr(photo_index, "_SPARE_PHOTOS", 0)
    rng = np.random.default_rng(13)
    query = random_queries(rng, 1, DIM, terms=1)[0].vectors[0]
    near = [4 * query + 0.3 * rng.standard_normal((16, DIM)) for _ in range(40)]
    write_set(tmp_path / "set", [*correlated(rng, 80, 16), *near, *correlated(rng, 40, 16)], 16, files=4)
    build_index(tmp_path / "set", "photo-pq", shortlist=0.2)
    snapshot = open_snapshot(str(tmp_path / "set"))
    assert len(snapshot.index.codes) == 4
    shortlist = snapshot.index._shortlist(query, 40, snapshot.index.selection(None))
    assert sorted(np.concatenate([listed.photos for listed in shortlist]).tolist()) == list(range(80, 120))


def test_only_allowed_photos_are_candidates(snapshot):
    rng = np.random.default_rng(10)
    allowed = rng.random(len(snapshot.photos)) < 0.3
    query = random_queries(rng, 1, DIM, terms=1)[0]
    found = snapshot.index.candidates(query, 4, snapshot.index.selection(allowed))
    assert len(found) >= 20
    assert allowed[found].all()
    assert not len(snapshot.index.candidates(query, 4, snapshot.index.selection(np.zeros_like(allowed))))


def test_near_photos_are_found_with_a_short_shortlist(tmp_path):
    rng = np.random.default_rng(11)
    centres = rng.standard_normal((30, DIM))
    photos = [centres[number % 30] + 0.5 * rng.standard_normal((32, DIM)) for number in range(900)]
    write_set(tmp_path / "set", photos, 32, files=3)
    build_index(tmp_path / "set", "photo-pq", shortlist=0.08, rescored=60)
    snapshot = open_snapshot(str(tmp_path / "set"))
    hit = 0
    for centre in centres:
        query = QueryVectors.single((centre / np.linalg.norm(centre)).astype(np.float32))
        hit += len({*answers(snapshot, [query], 10)[0]} & {*brute_force(tmp_path / "set", query, 10)})
    assert hit >= 290


@pytest.mark.slow
def test_a_photo_is_found_by_its_vectors_with_those_that_are_alike(tmp_path, monkeypatch):
    rng = np.random.default_rng(14)
    centres = rng.standard_normal((20, DIM))
    photos = [centres[number % 20] + 0.5 * rng.standard_normal((16, DIM)) for number in range(600)]
    write_set(tmp_path / "set", photos, 16, files=3)
    build_index(tmp_path / "set", "photo-pq", rescored=50)
    snapshot = open_snapshot(str(tmp_path / "set"))
    hit, looks = 0, []
    directions_in = photo_index.PhotoIndex._directions_in

    def counted(index, number, bits, count, vector):
        looks.append(number)
        return directions_in(index, number, bits, count, vector)

    monkeypatch.setattr(photo_index.PhotoIndex, "_directions_in", counted)
    for number in range(0, 600, 40):
        query = QueryVectors(snapshot.vectors_of([number])[0], np.full(16, 1 / 16, np.float32))
        found, exact = answers(snapshot, [query], 8)[0], brute_force(tmp_path / "set", query, 8)
        assert found[0] == exact[0]
        hit += len({*found} & {*exact})
    assert hit >= 0.97 * 8 * 15
    assert len(looks) <= 2 * 3 * 15  # at all photos once, and not for each vector


def test_a_quantiser_is_the_same_for_the_same_sample_and_needs_photos():
    rng = np.random.default_rng(12)
    sample = rng.standard_normal((320, DIM)).astype(np.float32)
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    settings, counts = chosen_settings("photo-pq", 320, DIM), np.full(40, 8)
    data = train(sample, settings, counts)
    assert data == train(sample, settings, counts)
    quantiser = Quantiser.load(data, settings, DIM)
    assert quantiser.code.shape == (DIM, 16, 1)
    assert quantiser.inner.shape == (settings.pieces, 16, DIM // settings.pieces)
    with pytest.raises(QpertError, match="4 photos are too few"):
        train(sample[:32], settings, np.full(4, 8))


def test_vectors_that_cancel_out_have_no_direction():
    vectors = np.float32([[1, 0], [-1, 0], [0, 1], [0, 1]])
    np.testing.assert_array_equal(directions(vectors, np.int64([2, 2])), [[0, 0], [0, 1]])
