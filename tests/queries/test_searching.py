"""A collection of feature sets: one ranking over all, pages, folding, details, and the photos that terms name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.views import View
from pipeline.queries.exact import top_k
from pipeline.queries.filters import Filters
from pipeline.queries.hits import Hit
from pipeline.queries.query import Query, Term
from pipeline.queries.searching import Collection
from pipeline.retrieval.similarity import unit
from pipeline.vectors.query_vectors import QueryVectors
from tests.features.viewed import units, write_views

DIM = 6


class AxisEncoder:
    """The text "n" is the n-th unit vector; it takes no photos."""

    def texts(self, texts: Sequence[str]) -> Any:
        return np.eye(DIM, dtype=np.float32)[[int(text) for text in texts]]

    def photos(self, photos: Sequence[Any]) -> Any:
        raise NotImplementedError


def coarse(rng: np.random.Generator, *shape: int) -> Any:
    """Vectors of few values, so that many photos tie."""
    vectors = rng.integers(-1, 2, (*shape, DIM)).astype(np.float32)
    vectors[..., 0] += (vectors == 0).all(-1)
    return unit(vectors, "test")


def plain(hits: Sequence[Hit]) -> list[tuple[str, float]]:
    return [(hit.image_id, hit.score) for hit in hits]


@pytest.fixture
def write(tmp_path: Path, write_features: Any) -> Callable[..., FeatureSet]:
    def write(name: str, vectors: Any, ids: Sequence[str], **more: Any) -> FeatureSet:
        features: FeatureSet = write_features(vectors, ids, name=name, precision="float32", **more)
        return features

    return write


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), count=st.sampled_from([1, 3]), parts=st.integers(1, 4), k=st.integers(1, 60))
def test_several_sets_are_searched_as_one_set_with_all_photos(
    tmp_path_factory: pytest.TempPathFactory,
    write_features: Any,
    seed: int,
    count: int,
    parts: int,
    k: int,
) -> None:
    rng = np.random.default_rng(seed)
    vectors, ids = coarse(rng, 40, count), [f"{number:03}.jpg" for number in rng.permutation(40)]
    where = rng.integers(0, parts, 40)
    folder = tmp_path_factory.mktemp("sets").name
    whole = write_features(vectors, ids, name=f"{folder}-whole", precision="float32")
    sets = [
        write_features(
            vectors[where == n], np.array(ids)[where == n].tolist(), name=f"{folder}-{n}", precision="float32"
        )
        for n in range(parts)
        if (where == n).any()
    ]
    queries = [Query.of("1", k), Query((Term(text="0"), Term(text="2", weight=-0.5), Term(like=ids[0])), k=k)]
    one, several = (Collection.open(roots, cache=False) for roots in ([whole], sets))
    for expected, hits in zip(one.answer(queries, AxisEncoder()), several.answer(queries, AxisEncoder()), strict=True):
        assert plain(hits) == plain(expected)
        assert hits.more == expected.more == (k < 40)
    best = top_k(whole, AxisEncoder().texts(["1"]), k)[0]
    assert plain(one.answer(queries, AxisEncoder())[0]) == plain(best)


def test_pages_follow_each_other_without_gaps_whatever_ties(write: Any) -> None:
    rng = np.random.default_rng(5)
    sets = [write(f"part-{n}", coarse(rng, 15, 2), [f"{i:02}" for i in range(15)]) for n in range(2)]
    collection = Collection.open(sets, cache=False)
    (whole,) = collection.answer([Query.of("1", 30)], AxisEncoder())
    assert (len(whole), whole.more) == (30, False)
    pages = collection.answer([replace(Query.of("1", 7), offset=start) for start in range(0, 35, 7)], AxisEncoder())
    assert [hit for page in pages for hit in page] == list(whole)
    assert [page.more for page in pages] == [True, True, True, True, False]
    assert [page.offset for page in pages] == [0, 7, 14, 21, 28]


def test_equal_ids_in_several_sets_are_told_apart_in_the_order_of_the_sets(write: Any) -> None:
    same = np.eye(DIM)[None, :1]
    collection = Collection.open([write("b", same, ["x"]), write("a", same, ["x"])], cache=False)
    (hits,) = collection.answer([Query.of("0")], AxisEncoder())
    assert [(hit.image_id, hit.set) for hit in hits] == [("x", "b"), ("x", "a")]
    (alone,) = Collection.open([write("c", same, ["x"])], cache=False).answer([Query.of("0")], AxisEncoder())
    assert alone[0].set == ""


def test_queries_of_other_depths_floors_and_filters_are_answered_in_their_order(write: Any) -> None:
    vectors = unit(np.array([[[1, 0.0]], [[0.8, 0.6]], [[0, 1.0]]]), "") @ np.eye(2, DIM)
    collection = Collection.open([write("s", vectors, ["a", "b", "c"])], cache=False)
    queries = [
        Query.of("0", 3),
        Query.of("1", 1),
        Query.of("0", 3, min_score=0.5),
        Query.of("1", 3),
        replace(Query.of("0", 3), exact=True),
    ]
    answers = collection.answer(queries, AxisEncoder())
    assert ["".join(hit.image_id for hit in hits) for hits in answers] == ["abc", "c", "ab", "cba", "abc"]
    assert [hits.query for hits in answers] == ["0", "1", "0", "1", "0"]
    assert collection.answer([], AxisEncoder()) == []


def test_details_are_filled_in_where_they_are_asked_for(write: Any) -> None:
    box = {"x0": 0.0, "y0": 0.0, "x1": 0.5, "y1": 0.5, "label": "star", "score": 0.5}
    collection = Collection.open([write("s", np.eye(DIM)[:2, None], ["a", "b"], objects=[[box], []])], cache=False)
    (hits,) = collection.answer([Query.of("0", 1)], AxisEncoder())
    assert (hits[0].width, hits[0].height, hits[0].objects) == (64, 48, (box,))
    (bare,) = collection.answer([Query.of("0", 1)], AxisEncoder(), details=False)
    assert (bare[0].width, bare[0].objects) == (None, ())
    assert bare == hits


def test_filters_choose_among_the_photos_before_the_best_are_taken(write: Any) -> None:
    star, dog = (
        {"x0": 0.0, "y0": 0.0, "x1": 0.5, "y1": 0.5, "label": label, "score": 0.5} for label in ("star", "dog")
    )
    vectors = np.repeat(np.eye(DIM)[:1, None], 4, axis=0)
    objects = [[star], [dog], [star, dog], []]
    collection = Collection.open([write("s", vectors, ["a", "b", "c", "d"], objects=objects)], cache=False)
    query = replace(Query.of("0", 1), filters=Filters(has=("dog",)))
    first, second = collection.answer([query, replace(query, offset=1)], AxisEncoder())
    assert [first[0].image_id, second[0].image_id] == ["b", "c"]
    assert (first.more, second.more) == (True, False)
    assert first.filters == "with dog"


def test_near_duplicates_hang_on_the_best_and_pages_stay_full(write: Any) -> None:
    rng = np.random.default_rng(3)
    base = unit(rng.standard_normal((6, 1, DIM)), "")
    vectors = unit(np.repeat(base, 5, axis=0) + 0.001 * rng.standard_normal((30, 1, DIM)), "")
    ids = [f"{number // 5}-{number % 5}" for number in range(30)]
    for name, roots in {
        "one": [write("one", vectors, ids)],
        "two": [write("even", vectors[::2], ids[::2]), write("odd", vectors[1::2], ids[1::2])],
    }.items():
        collection = Collection.open(roots, cache=False)
        pages = collection.answer(
            [replace(Query.of("0", 2), fold=0.99, offset=start) for start in (0, 2, 4)], AxisEncoder()
        )
        assert [len(page) for page in pages] == [2, 2, 2], name
        assert [page.more for page in pages] == [True, True, False]
        hits = [hit for page in pages for hit in page]
        assert {hit.image_id[0] for hit in hits} == set("012345")
        for hit in hits:
            assert {other.image_id[0] for other in hit.folded} <= {hit.image_id[0]}
            assert all(other.score <= hit.score for other in hit.folded)
        assert len(pages[2][1].folded) == 4  # the last page has looked at all photos


def test_indexed_photos_are_found_by_their_own_vectors_without_an_encoder(write: Any) -> None:
    vectors = unit(np.random.default_rng(7).standard_normal((20, 3, DIM)), "")
    ids = [f"{number:02}" for number in range(20)]
    collection = Collection.open([write("s", vectors[:10], ids[:10]), write("t", vectors[10:], ids[10:])], cache=False)
    for image_id in ids:
        (hits,) = collection.answer([Query((Term(like=image_id),))], AxisEncoder())
        assert hits[0].image_id == image_id
        assert hits[0].score == pytest.approx(1, abs=1e-6)
    with pytest.raises(QpertError, match="no photo with the id 'x' has vectors in any of the 2 sets"):
        collection.embed([Query((Term(like="x"),))], AxisEncoder())
    with pytest.raises(QpertError, match="no photo with the id '01' has vectors"):
        collection.embed([Query((Term(like="01", set="t"),))], AxisEncoder())
    with pytest.raises(QpertError, match="there is no set 'u'; there are: s, t"):
        collection.embed([Query((Term(like="01", set="u"),))], AxisEncoder())


def test_photos_that_failed_have_no_vectors(write_features: Any) -> None:
    collection = Collection.open([write_features(np.ones((2, 1, DIM)), ["a", "b"], failed=["b"])], cache=False)
    assert collection.photos == 1
    with pytest.raises(QpertError, match="no photo with the id 'b' has vectors"):
        collection.embed([Query((Term(like="b"),))], AxisEncoder())


def test_the_view_that_matched_is_named_and_views_are_looked_for_by_their_box(tmp_path: Path) -> None:
    features, stored = write_views(tmp_path / "f", [["crop", "tile"], [], ["region"]], dim=DIM)
    collection = Collection.open([features], cache=False)
    queries = units(5, DIM, seed=4)
    for query in queries:
        (hits,) = collection.find([Query.of("0", 3)], [QueryVectors.single(unit(query, ""))])
        (best,) = top_k(features, query[None], 3)
        assert [(hit.image_id, hit.view) for hit in hits] == [(hit.image_id, hit.view) for hit in best]
    tile = Term(like="000000.jpg", box=(0.0, 0.0, 0.5, 2 / 64))
    (vectors,) = collection.embed([Query((tile,))], AxisEncoder())
    np.testing.assert_allclose(vectors.vectors, unit(stored[0][2], ""), atol=1e-6)
    (hits,) = collection.find([Query((tile,))], [vectors])
    assert (hits[0].image_id, hits[0].view) == ("000000.jpg", View("tile", (0.0, 0.0, 0.5, 2 / 64)))
    (vectors,) = collection.embed([Query((Term(like="000000.jpg"),))], AxisEncoder())
    np.testing.assert_allclose(vectors.vectors, unit(stored[0][0], ""), atol=1e-6)


def test_collections_say_what_they_are(write: Any) -> None:
    one, two = (
        write(name, np.eye(DIM)[:n, None], [f"{name}{i}" for i in range(n)]) for name, n in (("s", 2), ("t", 3))
    )
    collection = Collection.open([one.root, two.root], cache=False)
    assert [part.name for part in collection.sets] == ["s", "t"]
    assert (collection.photos, collection.vectors, collection.index) == (5, 1, False)
    assert collection.about.startswith("s: ")
    version = collection.version
    assert Collection.open([one.root, two.root], cache=False).version == version
    assert Collection.open([one.root], cache=False).version != version
    assert collection.warning == ""


def test_a_miniature_on_photos_is_warned_of_with_every_answer(write: Any) -> None:
    encoder = {"name": "coca", "weights": {"name": "coca", "digest": "0" * 16}}
    features = write("s", np.eye(DIM)[:2, None], ["a", "b"], encoder=encoder)
    (hits,) = Collection.open([features], cache=False).answer([Query.of("0")], AxisEncoder())
    assert hits.warning.startswith("MINIATURE MODEL ON PHOTOS")
