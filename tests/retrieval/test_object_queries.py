"""Names of classes as queries: the same figures as from the full score matrix, by size, and what is not ranked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from pipeline.datasets.boxes.classes import ClassPhotos
from pipeline.errors import QpertError
from pipeline.retrieval import image_scores, similarity
from pipeline.retrieval.object_queries import GROUPS, evaluate_objects
from pipeline.retrieval.similarity import unit

NAMES = ("bat", "cat", "dog")


def random_vectors(n, v, d, seed=0):
    vectors = unit(np.random.default_rng(seed).standard_normal((n, v, d)), "test")
    return unit(vectors.astype(np.float16), "test")


class Texts:
    """Every text has a vector of its own."""

    def __init__(self, dim=16):
        self.dim, self.asked = dim, []

    def __call__(self, texts):
        self.asked = texts
        return random_vectors(len(texts), 1, self.dim, seed=3)[:, 0]


def photos_of(shown, gallery, *, areas=None, absent=None):
    """`shown`: for each class, the photos that show it."""
    shown = [np.array(photos) for photos in shown]
    areas = [np.full(len(photos), 0.5) for photos in shown] if areas is None else [np.array(row) for row in areas]
    absent = None if absent is None else tuple(np.array(photos, np.int64) for photos in absent)
    names = tuple(name.removesuffix(".jpg") for name in gallery)
    return ClassPhotos(tuple(gallery), names, NAMES[: len(shown)], tuple(shown), tuple(areas), absent)


@pytest.mark.parametrize("v", [1, 3])
@pytest.mark.parametrize("block", [7, 1000])
def test_the_figures_are_those_of_the_full_matrix(write_features, monkeypatch, v, block):
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", block * v * 16)
    vectors = random_vectors(60, v, 16)
    features = write_features(vectors, files=4)
    ids = features.ids
    gallery = [name for number, name in enumerate(ids) if number % 5]  # the others are not annotated
    rng = np.random.default_rng(1)
    shown = [np.sort(rng.choice(len(gallery), size, replace=False)) for size in (1, 10, 40)]
    texts = Texts()
    found = evaluate_objects(features, photos_of(shown, gallery), texts, template="a {}!", ks=(5, 1))
    assert texts.asked == ["a bat!", "a cat!", "a dog!"]
    assert (found.classes, found.ks, found.ignored) == (NAMES, (1, 5), 60 - len(gallery))
    assert found.names == ("mAP", "R-precision", "nDCG", "nDCG@1", "nDCG@5", "R@1", "R@5")
    scores = image_scores(vectors, texts(["x"] * 3))[[ids.index(name) for name in gallery]]
    for query, photos in enumerate(shown):
        truth = np.isin(np.arange(len(gallery)), photos)
        values = dict(zip(found.names, found.figures[query, 0], strict=True))
        assert values["mAP"] == pytest.approx(average_precision_score(truth, scores[:, query]), abs=1e-9)
        assert values["nDCG"] == pytest.approx(ndcg_score([truth], [scores[:, query]]), abs=1e-9)
        assert values["nDCG@5"] == pytest.approx(ndcg_score([truth], [scores[:, query]], k=5), abs=1e-9)
    assert found.right[:, 0].tolist() == [1, 10, 40]
    assert found.wrong.tolist() == [len(gallery) - 1, len(gallery) - 10, len(gallery) - 40]


def test_a_size_counts_the_photos_of_that_size_and_leaves_the_others_out(write_features):
    """Photo n scores 1 - n / 10 with the query; 0 and 3 show a large object, 2 a tiny one, 4 one of no known size."""
    angles = np.arccos(1 - np.arange(6) / 10)
    features = write_features(np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None], precision="float32")
    photos = photos_of([[0, 2, 3, 4]], features.ids, areas=[[0.5, 0.005, 0.1, np.nan]])
    found = evaluate_objects(features, photos, lambda texts: np.array([[1.0, 0.0]], np.float32), ks=(1,))
    assert found.right[0].tolist() == [4, 1, 1, 1, 2]
    by_group = dict(zip(GROUPS, found.figures[0], strict=True))
    assert by_group["all"][0] == pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 5) / 4)
    # 2.jpg is behind 1.jpg alone: 0.jpg shows the class as well, and is not in its way.
    for group in ("< 1 %", "< 3 %", "< 10 %"):
        assert by_group[group].tolist() == pytest.approx([1 / 2, 0, 1 / np.log2(3), 0, 0])
    assert by_group[">= 10 %"][0] == pytest.approx((1 + 2 / 3) / 2)
    nothing = photos_of([[0]], features.ids, areas=[[0.5]])
    found = evaluate_objects(features, nothing, lambda texts: np.array([[1.0, 0.0]], np.float32))
    assert np.isnan(found.figures[0, 1:4]).all()
    assert not np.isnan(found.figures[0, 4]).any()


def test_photos_of_which_nothing_is_known_are_not_ranked(write_features):
    angles = np.arccos(1 - np.arange(6) / 10)
    features = write_features(np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None], precision="float32")
    photos = photos_of([[3], [0]], features.ids, absent=[[1, 5], []])
    found = evaluate_objects(features, photos, lambda texts: np.array([[1.0, 0.0]] * len(texts), np.float32), ks=(1,))
    assert (found.classes, found.trivial) == (("bat",), ("cat",))  # no photo is known to show no cat
    assert found.figures[0, 0, 0] == 1 / 2  # behind 1.jpg; 0.jpg and 2.jpg may show a bat
    assert found.wrong.tolist() == [2]


def test_equal_scores_count_against_the_query(write_features):
    features = write_features(np.ones((4, 1, 2)) / 2**0.5)
    found = evaluate_objects(
        features, photos_of([[2]], features.ids), lambda texts: np.array([[1.0, 0.0]], np.float32), ks=(1,)
    )
    assert found.figures[0, 0, 0] == 1 / 4


def with_regions(features, wholes, regions):
    """The features with a region beside the whole photo, where `regions` has one."""
    kinds = [["whole"] if region is None else ["whole", "region"] for region in regions]
    rows = [
        {
            "image_id": name,
            "embedding": np.concatenate([whole, *([] if region is None else [region])]).tolist(),
            "views": [{"kind": kind} for kind in of_photo],
            "error": None,
        }
        for name, whole, region, of_photo in zip(features.ids, wholes, regions, kinds, strict=True)
    ]
    schema = pa.schema(
        {
            "image_id": pa.string(),
            "embedding": pa.list_(pa.float32()),
            "views": pa.list_(pa.struct({"kind": pa.string()})),
            "error": pa.string(),
        }
    )
    dataset = pyarrow.dataset.dataset(pa.Table.from_pylist(rows, schema))
    return replace(features, dataset=dataset, manifest=features.manifest.model_copy(update={"multi": ["regions"]}))


def test_views_of_a_photo_are_combined_as_for_captions(write_features):
    """The region of photo 2 shows the object better than any photo as a whole."""
    wholes = np.array([[cosine, (1 - cosine**2) ** 0.5] for cosine in (0.7, 0.65, 0.6, 0.5)], np.float32)
    regions = [None, None, np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)]
    features = with_regions(write_features(wholes[:, None]), wholes, regions)

    def average_precision(**scoring):
        texts = np.array([[1.0, 0.0]], np.float32)
        return evaluate_objects(features, photos_of([[2]], features.ids), lambda _: texts, **scoring).figures[0, 0, 0]

    assert average_precision(views=("whole",)) == 1 / 3
    assert average_precision() == average_precision(views=("whole", "region")) == 1.0
    assert average_precision(combine="sum") == 1.0
    assert average_precision(combine="gate", gate=0.55) == 1 / 3
    with pytest.raises(QpertError, match="has no views tile"):
        average_precision(views=("tile",))


def test_what_cannot_be_measured_is_refused(write_features):
    features = write_features(random_vectors(3, 1, 16))
    for template in ("a photo", "{} and {}"):
        with pytest.raises(QpertError, match=r"--template needs one \{\} in place of the class"):
            evaluate_objects(features, photos_of([[0]], features.ids), Texts(), template=template)
    with pytest.raises(QpertError, match="every class is shown by every photo"):
        evaluate_objects(features, photos_of([[0, 1, 2]], features.ids), Texts())
    with pytest.raises(QpertError, match="different encoders"):
        evaluate_objects(features, photos_of([[0]], features.ids), Texts(8))
