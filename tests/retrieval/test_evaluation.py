"""Evaluation of stored features: the join by id, and the same figures as the full score matrix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval import evaluate, evaluation, image_scores, recall_report, report_of, similarity
from pipeline.retrieval.several_sets import join_sets
from pipeline.retrieval.similarity import unit


def random_vectors(n, v, d, seed=0):
    return unit(np.random.default_rng(seed).standard_normal((n, v, d)), "test")


class Texts:
    """Captions whose vectors lie near their image's, so that retrieval is neither perfect nor random."""

    def __init__(self, vectors, per_image=5, noise=1.0, seed=5):
        rng = np.random.default_rng(seed)
        self.vectors = {}
        self.captions = []
        for i, image in enumerate(vectors):
            names = [f"{i}/{c}" for c in range(per_image)]
            for name in names:
                self.vectors[name] = image[rng.integers(len(image))] + noise * rng.standard_normal(image.shape[1]) / 4
            self.captions.append(CaptionedImage(f"{i:06d}.jpg", names))

    def __call__(self, texts):
        return unit([self.vectors[text] for text in texts], "test")


def box(area):
    return [{"x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": area, "label": "thing", "score": 0.5}]


@pytest.mark.parametrize("v", [1, 3])
@pytest.mark.parametrize("block", [7, 1000])
def test_equals_the_full_matrix(write_features, monkeypatch, v, block):
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", block * v * 16)
    vectors = random_vectors(60, v, 16).astype(np.float16).astype(np.float32)
    texts = Texts(vectors)
    areas = [None if i % 7 == 0 else (i % 50) / 50 + 0.01 for i in range(60)]
    objects = [[] if area is None else box(area) for area in areas]
    features = write_features(vectors, objects=objects, files=4)

    report = evaluate(features, texts.captions[::-1], texts, ks=(1, 3)).report

    every = [caption for image in texts.captions for caption in image.captions]
    scores = image_scores(unit(vectors, "test"), texts(every))
    expected = recall_report(scores, np.repeat(np.arange(60), 5), areas, ks=(1, 3))
    assert 0.1 < report.t2i.overall[1] < 0.95  # neither perfect nor random
    assert report == expected


def test_images_without_captions_and_uneven_ones_agree_with_the_full_matrix(write_features):
    vectors = random_vectors(30, 2, 16).astype(np.float16).astype(np.float32)
    texts = Texts(vectors)
    captions = [CaptionedImage(image.image_id, image.captions[: i % 4]) for i, image in enumerate(texts.captions)]
    report = evaluate(write_features(vectors), captions, texts, areas={"000001.jpg": 0.35, "000004.jpg": 0.95}).report
    owners = [i for i, image in enumerate(captions) for _ in image.captions]
    scores = image_scores(unit(vectors, "test"), texts([caption for image in captions for caption in image.captions]))
    areas = [{1: 0.35, 4: 0.95}.get(i) for i in range(30)]
    assert report == recall_report(scores, owners, areas)
    assert report.i2t.queries == 22
    assert (report.i2t.bins[9].queries, report.i2t.bins[3].queries) == (
        0,
        1,
    )  # image 4 has no caption


def test_the_ranks_give_the_report_and_name_the_images(write_features):
    vectors = random_vectors(12, 1, 8)
    texts = Texts(vectors, per_image=2)
    features = write_features(vectors, [f"a/{i:06d}.jpg" for i in range(12)], objects=[box(0.25)] * 12)
    result = evaluate(features, texts.captions[2:], texts)
    assert report_of(result.ranks) == result.report
    assert result.ranks.image_ids == tuple(f"{i:06d}.jpg" for i in range(2, 12))
    assert result.ranks.bins.tolist() == [2] * 10
    assert result.ranks.image_of_text.tolist() == [i // 2 for i in range(20)]


def test_a_gallery_too_large_to_keep_is_read_twice_with_the_same_result(write_features, monkeypatch):
    vectors = random_vectors(40, 2, 8)
    texts = Texts(vectors)
    features = write_features(vectors, files=3)
    read = []
    blocks = evaluation.bounded_blocks
    monkeypatch.setattr(evaluation, "bounded_blocks", lambda *a: read.append(a) or blocks(*a))
    kept = evaluate(features, texts.captions, texts).report
    assert len(read) == 1
    monkeypatch.setattr(evaluation, "_KEPT_CELLS", 40 * 2 * 8 - 1)
    assert evaluate(features, texts.captions, texts).report == kept
    assert len(read) == 3


def test_only_captioned_images_are_the_gallery_and_missing_ones_are_counted(write_features):
    vectors = random_vectors(30, 1, 8)
    texts = Texts(vectors, per_image=2, noise=0)
    features = write_features(vectors, failed=["000003.jpg", "000020.jpg"])
    absent = CaptionedImage("absent.jpg", ["nothing"])
    result = evaluate(features, [*texts.captions[:10], absent], texts)
    assert result.missing == ("absent.jpg",)
    assert result.failed == {"000003.jpg": "truncated image"}
    assert result.ignored == 19
    assert (result.report.images, result.report.texts) == (9, 18)
    assert result.report.overall["t2i"][1] == 1.0


def test_ids_with_folders_are_found_by_their_file_name(write_features):
    vectors = random_vectors(4, 1, 8)
    texts = Texts(vectors, noise=0)
    features = write_features(vectors, [f"images/{i:06d}.jpg" for i in (2, 0, 3, 1)])
    wrong_order = evaluate(features, texts.captions, texts).report
    assert wrong_order.overall["t2i"][1] == 0  # joined by name: photo 2's vector is image 0's
    right = write_features(vectors[[2, 0, 3, 1]], [f"images/{i:06d}.jpg" for i in (2, 0, 3, 1)], name="right")
    assert evaluate(right, texts.captions, texts).report.overall["t2i"][1] == 1


def test_an_exact_id_wins_over_a_file_name(write_features):
    vectors = random_vectors(3, 1, 8)
    texts = Texts(vectors[:1], noise=0)
    features = write_features(vectors, ["000000.jpg", "copy/000000.jpg", "other.jpg"])
    result = evaluate(features, texts.captions, texts)
    assert (result.report.images, result.ignored) == (1, 2)


def test_a_name_that_fits_two_photos_is_refused(write_features):
    vectors = random_vectors(2, 1, 8)
    features = write_features(vectors, ["a/000000.jpg", "b/000000.jpg"])
    with pytest.raises(QpertError, match=r"fits two photos.*a/000000\.jpg and b/000000\.jpg"):
        evaluate(features, Texts(vectors).captions, Texts(vectors))


def test_areas_can_be_given(write_features):
    vectors = random_vectors(3, 1, 8)
    texts = Texts(vectors)
    features = write_features(vectors, objects=[box(0.95)] * 3)
    report = evaluate(features, texts.captions, texts, areas={"000000.jpg": 0.05, "000001.jpg": 0.15}).report
    assert [part.queries for part in report.i2t.bins] == [1, 1] + [0] * 8
    assert report.t2i.unbinned == 5


def test_ties_between_equal_photos_count_against_the_query_in_any_block(write_features, monkeypatch):
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", 11 * 64)
    vectors = np.repeat(random_vectors(1, 1, 64), 40, axis=0)
    texts = Texts(vectors, per_image=1)
    report = evaluate(write_features(vectors), texts.captions, texts).report
    assert report.t2i.median_rank == report.t2i.mean_rank == 40


def test_no_common_photo_is_refused(write_features):
    vectors = random_vectors(2, 1, 8)
    features = write_features(vectors, ["x.jpg", "y.jpg"])
    with pytest.raises(QpertError, match=r"such as x\.jpg.*such as 000000\.jpg"):
        evaluate(features, Texts(vectors).captions, Texts(vectors))


def test_texts_of_another_encoder_are_refused(write_features):
    vectors = random_vectors(2, 1, 8)
    with pytest.raises(QpertError, match="different encoders"):
        evaluate(write_features(vectors), Texts(vectors).captions, lambda texts: np.ones((len(texts), 5), np.float32))


def test_object_embeddings_add_their_best_similarity(write_features: Callable[..., Any]) -> None:
    rng = np.random.default_rng(3)
    images, texts = rng.normal(size=(7, 2, 5)), rng.normal(size=(14, 5)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    features = write_features(images, precision="float32")
    counts = [0, 1, 3, 0, 2, 1, 4]
    of_objects = [rng.normal(size=(count, 2, 5)).astype(np.float32) for count in counts]
    for path in (Path(features.root) / "features").iterdir():
        table = pq.read_table(path)
        column = pa.array([vectors.ravel().tolist() for vectors in of_objects], pa.list_(pa.float32()))
        pq.write_table(table.append_column("object_embeddings", column), path)
    features = FeatureSet.open(features.root)
    captions = [CaptionedImage(name, [f"{2 * n}", f"{2 * n + 1}"]) for n, name in enumerate(features.ids)]
    with_oes = evaluate(features, captions, lambda wanted: texts[[int(name) for name in wanted]], with_objects=True)

    def best(vectors: Any) -> Any:
        units = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        return (units.reshape(-1, 5) @ texts.T).max(axis=0)

    own = np.stack([best(vectors) for vectors in images])
    added = np.stack([best(vectors) if len(vectors) else own[n] for n, vectors in enumerate(of_objects)])
    expected = recall_report(own + added, np.repeat(np.arange(7), 2))
    assert with_oes.report.t2i.overall == expected.t2i.overall
    assert with_oes.report.i2t.mean_rank == expected.i2t.mean_rank
    plain = evaluate(features, captions, lambda wanted: texts[[int(name) for name in wanted]])
    assert plain.report.t2i.mean_rank == recall_report(own, np.repeat(np.arange(7), 2)).t2i.mean_rank
    assert plain.report.t2i.mean_rank != with_oes.report.t2i.mean_rank


@pytest.mark.parametrize("asked", ["all", "zoom_3x"])
def test_copies_of_the_right_photo_do_not_count(write_features, asked):
    """SORCE-1K: three levels in one gallery; a caption is right at its own level, the other two copies are removed."""
    levels = ("full_res", "zoom_2x", "zoom_3x")
    photos = random_vectors(25, 1, 6)
    near = random_vectors(75, 1, 6, seed=3).reshape(3, 25, 1, 6)
    vectors = unit((photos + 0.5 * near).reshape(75, 1, 6), "test").astype(np.float16).astype(np.float32)
    ids = [f"sorce/{level}/{number}.jpg" for level in levels for number in range(25)]
    texts = unit(photos[:, 0] + 0.3 * random_vectors(25, 1, 6, seed=9)[:, 0], "test")
    captions = [
        CaptionedImage(f"{level}/{n}.jpg", [f"{n}"] if asked in ("all", level) else [], f"{n}.jpg")
        for n in range(25)
        for level in levels
    ]
    result = evaluate(write_features(vectors, ids, files=2), captions, lambda names: texts[[int(n) for n in names]])
    scores = (unit(vectors, "test")[:, 0] @ texts.T).reshape(3, 25, 25)  # level, photo, text
    expected_texts, expected_photos = {}, {}
    for level, name in enumerate(levels):
        for n in range(25):
            others = np.delete(scores[:, :, n], n, axis=1)  # all photos without the three copies of the right one
            expected_texts[f"{name}/{n}.jpg"] = 1 + int((others >= scores[level, n, n]).sum())
            wrong = np.delete(scores[level, n], n)
            expected_photos[f"{name}/{n}.jpg"] = 1 + int((wrong >= scores[level, n, n]).sum())
    names = result.ranks.image_ids
    owners = [names[image] for image in result.ranks.image_of_text]
    assert len(owners) == (75 if asked == "all" else 25)
    assert result.ranks.text_ranks.tolist() == [expected_texts[name] for name in owners]
    wanted = [expected_photos[name] if asked in ("all", name.partition("/")[0]) else 0 for name in names]
    assert result.ranks.image_ranks.tolist() == wanted
    assert 1 < np.mean(result.ranks.text_ranks) < 20
    numbers = [name.rpartition("/")[2] for name in names]  # equal for the copies of a photo
    assert len(set(zip(numbers, result.ranks.photos.tolist(), strict=True))) == len(set(numbers)) == 25
    with pytest.raises(QpertError, match="cannot be re-ranked"):
        evaluate(write_features(vectors, ids, name="x"), captions, lambda n: texts[: len(n)], candidates=5)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, 39), max_size=4, unique=True),
    v=st.integers(1, 3),
    block=st.sampled_from([3, 16, 1000]),
    shuffled=st.booleans(),
    seed=st.integers(0, 99),
)
def test_parts_together_are_evaluated_like_the_whole(write_features, tmp_path, cuts, v, block, shuffled, seed):
    """Equal to the last bit where the parts come in the order of the whole, and in all figures in any order."""
    vectors = random_vectors(40, v, 8, seed).astype(np.float16).astype(np.float32)
    vectors[seed % 40] = vectors[(seed + 7) % 40]  # a tie
    names = [f"{i:06d}.jpg" for i in range(40)]
    objects = [box(0.01 + i / 50) if i % 5 else [] for i in range(40)]
    texts = Texts(vectors)
    folder = f"{len(list(tmp_path.iterdir()))}"
    whole = write_features(vectors, names, objects=objects, files=2, name=f"{folder}/whole", failed=names[3:4])
    parts = [
        write_features(
            vectors[part],
            np.array(names)[part],
            objects=[objects[i] for i in part],
            name=f"{folder}/{part[0]}",
            failed=[name for name in names[3:4] if 3 in part],
        )
        for part in np.split(np.arange(40), sorted(cuts))
    ]
    if shuffled:
        np.random.default_rng(seed).shuffle(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_BLOCK_CELLS", block * v * 8)
        together, alone = (evaluate(features, texts.captions, texts) for features in (join_sets(parts), whole))
    assert together.report == alone.report
    assert together.failed == alone.failed
    if not shuffled:
        assert together.ranks.image_ids == alone.ranks.image_ids
        np.testing.assert_array_equal(together.ranks.text_ranks, alone.ranks.text_ranks)
        np.testing.assert_array_equal(together.ranks.image_ranks, alone.ranks.image_ranks)
