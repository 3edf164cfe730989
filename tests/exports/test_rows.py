"""The rows of an export: exactly the vectors that are stored, and what they are of."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import QpertError
from pipeline.exports.rows import ExportRows
from pipeline.exports.spec import ExportSpec
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval import similarity
from tests.features.viewed import units, write_views

KINDS = st.lists(st.one_of(st.none(), st.lists(st.sampled_from(["crop", "tile", "object"]), max_size=4)), min_size=1)


def rows_of(features, to="lance", **options):
    return ExportRows.of(features, ExportSpec(features=["x"], to=to, out="y", **options))


def table(rows):
    made = pa.Table.from_batches(list(rows.batches()), rows.schema)
    photos, vectors = rows.count()
    assert made.num_rows == (vectors if rows.per_vector else photos)
    assert made["id"].to_pylist() == list(range(made.num_rows))
    return made


def arrays(column):
    return [np.array(value) for value in column.to_pylist()]


@pytest.mark.parametrize("precision", ["float16", "float32"])
@pytest.mark.parametrize("v", [1, 3])
def test_vectors_are_those_stored_bit_for_bit(write_features, precision, v):
    vectors = units(20, v, 8).astype(precision)
    features = write_features(vectors, precision=precision, failed=["000004.jpg"], files=3)
    kept = np.delete(np.arange(20), 4)
    by_photo, by_vector = table(rows_of(features)), table(rows_of(features, rows="vector"))
    assert by_photo["vector"].type == (
        pa.list_(pa.from_numpy_dtype(precision), 8) if v == 1 else pa.list_(pa.list_(pa.from_numpy_dtype(precision), 8))
    )
    np.testing.assert_array_equal(np.array(arrays(by_photo["vector"])).reshape(19, v, 8), vectors[kept])
    np.testing.assert_array_equal(arrays(by_vector["vector"]), vectors[kept].reshape(-1, 8))
    assert by_vector["image_id"].to_pylist() == [f"{i:06d}.jpg" for i in kept for _ in range(v)]
    assert by_vector["vector_number"].to_pylist() == [*range(v)] * 19


def test_single_precision_is_what_a_search_compares(write_features):
    features = write_features(units(5, 2, 8))
    made = table(rows_of(features, rows="vector", precision="float32"))
    expected = np.concatenate([vectors for _, vectors in similarity.vector_blocks(features)]).reshape(-1, 8)
    np.testing.assert_array_equal(np.array(arrays(made["vector"]), np.float32), expected)
    assert rows_of(features, to="faiss").precision == "float32"


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=KINDS, v=st.integers(1, 2), cells=st.sampled_from([16, 100, 1 << 20]))
def test_views_have_their_own_vectors(tmp_path, kinds, v, cells):
    features, stored = write_views(tmp_path / f"{len(list(tmp_path.iterdir()))}", kinds, v, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_BLOCK_CELLS", cells)
        by_photo, by_vector = table(rows_of(features)), table(rows_of(features, rows="vector"))
    assert len(by_photo) == len(stored)
    for made, expected in zip(arrays(by_photo["vector"]), stored, strict=True):
        np.testing.assert_array_equal(made, expected.reshape(-1, 8))
    flat = [vector for photo in stored for vector in photo.reshape(-1, 8)]
    assert len(by_vector) == len(flat)
    for made, expected in zip(arrays(by_vector["vector"]), flat, strict=True):
        np.testing.assert_array_equal(made, expected)
    names = [["whole", *of_photo] for of_photo in kinds if of_photo is not None]
    assert [view["kind"] for view in by_vector["view"].to_pylist()] == [
        kind for of in names for kind in of for _ in range(v)
    ]
    assert [[view["kind"] for view in views] for views in by_photo["views"].to_pylist()] == names


def test_a_variant_has_its_own_whole_photo(tmp_path):
    kinds = [["crop"], [], ["tile", "crop"]]
    _, stored = write_views(tmp_path / "set", kinds, 2, 8, variants=["plain", "chosen"], variant="plain")
    features = FeatureSet.open(str(tmp_path / "set"), "chosen")
    for made, expected in zip(arrays(table(rows_of(features))["vector"]), stored, strict=True):
        np.testing.assert_array_equal(made, expected[1:].reshape(-1, 8))


def test_the_mean_has_length_one(write_features):
    vectors = units(6, 3, 8)
    made = table(rows_of(write_features(vectors), pool="mean", precision="float32"))
    means = vectors.mean(axis=1)
    np.testing.assert_allclose(arrays(made["vector"]), means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(arrays(made["vector"]), axis=1), 1, atol=1e-6)
    assert made.schema.names[:2] == ["id", "image_id"]


def test_the_mean_of_views_is_over_all_of_them(tmp_path):
    features, stored = write_views(tmp_path / "set", [["crop", "tile"], [], None, ["object"]], 2, 8)
    rows = rows_of(features, pool="mean", precision="float32")
    assert rows.count() == (3, 3)
    for made, expected in zip(arrays(table(rows)["vector"]), stored, strict=True):
        mean = expected.reshape(-1, 8).mean(axis=0)
        np.testing.assert_allclose(made, mean / np.linalg.norm(mean), atol=1e-3)


def test_a_limit_counts_photos(write_features):
    features = write_features(units(9, 2, 8), failed=["000001.jpg"], files=4)
    rows = rows_of(features, rows="vector", limit=4)
    assert rows.count() == (4, 8)
    assert dict.fromkeys(table(rows)["image_id"].to_pylist()) == dict.fromkeys(f"{i:06d}.jpg" for i in (0, 2, 3, 4))


def test_columns_are_chosen_and_null_where_the_set_lacks_them(write_features):
    features = write_features(units(2, 1, 8))
    assert table(rows_of(features)).schema.names == [
        "id",
        "image_id",
        "uri",
        "width",
        "height",
        "taken",
        "objects",
        "vector",
    ]
    made = table(rows_of(features, columns=["digest", "image_id", "taken"]))
    assert made.schema.names == ["id", "image_id", "digest", "taken", "vector"]
    assert made["taken"].type == pa.timestamp("us")
    assert made["taken"].null_count == 2
    with pytest.raises(QpertError, match="there is no column labels; choose among uri, width"):
        rows_of(features, columns=["labels"])


def test_a_table_without_vectors_does_not_read_them(write_features, monkeypatch):
    features = write_features(units(4, 3, 8))
    monkeypatch.setattr(FeatureSet, "embeddings", lambda *_: pytest.fail("read"))
    made = table(rows_of(features, to="csv", rows="vector"))
    assert "vector" not in made.schema.names
    assert made["vector_number"].to_pylist() == [0, 1, 2] * 4


def test_vectors_that_are_none_are_refused(write_features):
    vectors = units(3, 1, 8)
    vectors[1] = 0
    with pytest.raises(QpertError, match="zero vector"):
        list(rows_of(write_features(vectors)).batches())
