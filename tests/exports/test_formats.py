"""Exports read back by the tools that they are for, and searched there: the same photos as a search of ours."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import QpertError
from pipeline.exports import faiss_index, hugging_face
from pipeline.exports.exporting import Export
from pipeline.exports.spec import ExportSpec
from pipeline.queries.exact import top_k
from pipeline.retrieval import similarity
from tests.features.viewed import units, write_views

K = 7


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", 300)


@pytest.fixture(params=["one", "several", "views"])
def features(request, write_features, tmp_path):
    """Sets of one vector per photo, of three, and of several views with two each."""
    objects = [{"x0": 0.0, "y0": 0.25, "x1": 0.5, "y1": 1.0, "label": 'a, "b"', "score": 0.5}]
    if request.param == "views":
        kinds = [["crop"] * (number % 4) if number % 5 else None for number in range(60)]
        return write_views(tmp_path / "features", kinds, 2, 16)[0]
    v = {"one": 1, "several": 3}[request.param]
    return write_features(units(60, v, 16), objects=[objects] * 60, failed=["000003.jpg"], files=4)


def export(features, to, out, **options):
    planned = Export.plan(ExportSpec(features=[features.root], to=to, out=str(out), **options))
    planned.write()
    return planned


QUERIES = units(5, 16, seed=9)


def expected(features):
    return [
        [(hit.image_id, pytest.approx(hit.score, abs=1e-3)) for hit in hits] for hits in top_k(features, QUERIES, K)
    ]


def best_photos(ids, scores):
    """The first K photos of vectors, the best vector of each."""
    best = {}
    for image_id, score in sorted(zip(ids, scores, strict=True), key=lambda pair: -pair[1]):
        best.setdefault(image_id, score)
    return list(best.items())[:K]


@pytest.mark.parametrize("rows", ["photo", "vector"])
def test_lancedb_finds_the_same_photos(features, tmp_path, rows):
    lancedb = pytest.importorskip("lancedb")
    planned = export(features, "lance", tmp_path / "photos.lance", rows=rows)
    opened = lancedb.connect(tmp_path).open_table("photos")
    assert opened.count_rows() == planned.count
    for query, hits in zip(QUERIES, expected(features), strict=True):
        found = opened.search(query, vector_column_name="vector").distance_type("cosine").limit(planned.count).to_list()
        assert best_photos([row["image_id"] for row in found], [1 - row["_distance"] for row in found]) == hits
    about = json.loads(opened.schema.metadata[b"qpert"])
    assert (about["to"], about["photos"], about["dim"]) == ("lance", planned.photos, 16)


def test_faiss_finds_the_same_photos(features, tmp_path):
    faiss = pytest.importorskip("faiss")
    planned = export(features, "faiss", tmp_path / "index")
    index = faiss.read_index(str(tmp_path / "index" / "index.faiss"))
    assert (type(index).__name__, index.ntotal, index.metric_type) == (
        "IndexIDMap",
        planned.count,
        faiss.METRIC_INNER_PRODUCT,
    )
    ids = pq.read_table(tmp_path / "index" / "ids.parquet")
    assert ids["id"].to_pylist() == list(range(planned.count))
    scores, numbers = index.search(QUERIES, planned.count)
    for row, found, hits in zip(scores, numbers, expected(features), strict=True):
        assert best_photos(ids["image_id"].take(found).to_pylist(), row) == hits


def test_numpy_maps_the_same_vectors(features, tmp_path):
    planned = export(features, "npy", tmp_path / "vectors")
    matrix = np.load(tmp_path / "vectors" / "vectors.npy", mmap_mode="r", allow_pickle=False)
    assert (matrix.shape, matrix.dtype) == ((planned.count, 16), np.float16)
    ids = pq.read_table(tmp_path / "vectors" / "ids.parquet")["image_id"].to_pylist()
    for query, hits in zip(QUERIES, expected(features), strict=True):
        assert best_photos(ids, matrix.astype(np.float32) @ query) == hits


def test_an_array_of_photos_has_their_vectors_side_by_side(write_features, tmp_path):
    vectors = units(30, 3, 16)
    export(write_features(vectors, name="set"), "npy", tmp_path / "out", rows="photo")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "vectors.npy"), vectors.astype(np.float16))


def test_datasets_loads_the_same_rows(features, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(hugging_face, "_PART_BYTES", 1000)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    planned = export(features, "hf", tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(list((tmp_path / "out" / "data").iterdir())) > 1
    assert len(loaded) == planned.count
    assert loaded["id"][:] == list(range(planned.count))
    ids = loaded["image_id"][:]
    vectors = [np.array(vector, np.float32).reshape(-1, 16) for vector in loaded["vector"][:]]
    for query, hits in zip(QUERIES, expected(features), strict=True):
        assert best_photos(ids, [(vector @ query).max() for vector in vectors]) == hits


def test_duckdb_finds_the_same_photos_in_the_files(features, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    export(features, "hf", tmp_path / "out", rows="vector", precision="float32")
    for query, hits in zip(QUERIES, expected(features), strict=True):
        sql = f"""select image_id, max(array_inner_product(vector::float[16], ?::float[16])) as score
            from '{tmp_path}/out/data/*.parquet' group by image_id order by score desc, image_id limit {K}"""
        assert duckdb.execute(sql, [query.tolist()]).fetchall() == hits


def test_a_table_has_objects_as_json(write_features, tmp_path):
    objects = [{"x0": 0.0, "y0": 0.25, "x1": 0.5, "y1": 1.0, "label": '=a, "b"', "score": 0.1}]
    names = ["=1+1.jpg", "b\n.jpg", "ü.jpg"]
    features = write_features(units(3, 1, 4), names, objects=[objects, [], objects])
    export(features, "csv", tmp_path / "photos.csv", vectors=True)
    with open(tmp_path / "photos.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "image_id", "uri", "width", "height", "taken", "objects", "vector"]
    assert [row["image_id"] for row in rows] == ["'=1+1.jpg", "b\n.jpg", "ü.jpg"]
    assert json.loads(rows[0]["objects"]) == [{"label": '=a, "b"', "score": 0.1, "box": [0, 0.25, 0.5, 1]}]
    assert rows[1]["objects"] == "[]"
    assert rows[0]["taken"] == ""
    stored = np.array([json.loads(row["vector"]) for row in rows])
    np.testing.assert_array_equal(stored.astype(np.float16), units(3, 1, 4)[:, 0].astype(np.float16))


def test_rows_that_a_form_cannot_hold_are_refused(write_features, tmp_path):
    of_three = write_features(units(2, 3, 8))
    of_views = write_views(tmp_path / "views", [["crop"], []], 2, 8)[0]
    with pytest.raises(QpertError, match="a FAISS index has a vector per row"):
        export(of_three, "faiss", tmp_path / "out", rows="photo")
    with pytest.raises(QpertError, match="which are no array with a row per photo"):
        export(of_views, "npy", tmp_path / "out", rows="photo")
    export(of_views, "npy", tmp_path / "out", pool="mean")
    assert np.load(tmp_path / "out" / "vectors.npy").shape == (2, 8)


def test_lance_names_what_it_cannot_do(write_features, tmp_path):
    pytest.importorskip("lance")
    features = write_features(units(2, 1, 8))
    with pytest.raises(QpertError, match=r"LanceDB finds a table by the name of its folder, TABLE\.lance"):
        export(features, "lance", tmp_path / "photos")
    with pytest.raises(QpertError, match=r"takes local paths and s3://, gs:// and az://"):
        export(features, "lance", "fsspec+memory://bucket/photos.lance")


def test_an_unknown_form_of_faiss_is_refused(monkeypatch):
    faiss = pytest.importorskip("faiss")
    serialize = faiss.serialize_index
    monkeypatch.setattr(faiss, "serialize_index", lambda index: np.append(serialize(index), np.uint8(index.ntotal)))
    with pytest.raises(QpertError, match="in a form that is not known; export to npy"):
        faiss_index.file_around(4, 10)
