from __future__ import annotations

import pickle
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.manifest import Manifest, differences
from pipeline.features.schema import features_schema
from pipeline.features.store import FeatureStore
from tests.payloads import Touch

V, D = 2, 3


def rows(start: int, count: int, failed: int | None = None) -> pa.Table:
    vectors = np.arange(count * V * D, dtype=np.float16).reshape(count, V * D) + start
    mask = np.arange(start, start + count) == (-1 if failed is None else failed)
    embedding = [None if bad else vector for vector, bad in zip(vectors, mask, strict=True)]
    objects = [[{"x0": 0.0, "y0": 0.0, "x1": 0.5, "y1": 0.5, "label": "star", "score": 0.9}]] * count
    columns = {
        "image_id": [f"{start + at}.jpg" for at in range(count)],
        "uri": [f"/photos/{start + at}.jpg" for at in range(count)],
        "width": [64] * count,
        "height": [48] * count,
        "objects": objects,
        "largest_area": [0.25] * count,
        "embedding": embedding,
        "error": ["truncated image" if bad else None for bad in mask],
        "device": ["cpu"] * count,
        "dtype": ["float32"] * count,
        "seconds": [0.01] * count,
        "size": [1000] * count,
        "mtime": [0] * count,
        "digest": ["d"] * count,
        "truncated": [False] * count,
        "taken": [None] * count,
    }
    schema = features_schema()
    arrays = [pa.array(column, field.type) for field, column in zip(schema, columns.values(), strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def set_embedding(out: Path, kind: pa.DataType) -> None:
    """Change type and values of the column `embedding` in all files."""
    for path in (out / "features").iterdir():
        table = pq.read_table(path)
        index = table.schema.get_field_index("embedding")
        vectors = pa.array([[0.5] * 5] * table.num_rows, kind)
        pq.write_table(table.set_column(index, "embedding", vectors), path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    (folder / "features").mkdir(parents=True)
    (folder / "checkpoint" / "f00").mkdir(parents=True)
    for index in range(3):
        pq.write_table(rows(index * 10, 10, failed=13), folder / "features" / f"run_{index}-0.parquet")
    manifest = Manifest(fingerprint="f00", state="complete", vectors=V, dim=D)
    FeatureStore(str(folder)).write_manifest(manifest)
    return folder


def test_blocks_skip_failed_photos_and_keep_the_order(out: Path) -> None:
    features = FeatureSet.open(str(out))
    assert len(features) == 29
    assert features.ids == [f"{n}.jpg" for n in range(30) if n != 13]
    assert features.failures == {"13.jpg": "truncated image"}
    blocks = list(features.iter_blocks(["image_id", "embedding"], rows=8))
    assert [block.num_rows for block in blocks] == [8, 8, 8, 5]
    vectors = np.concatenate([features.embeddings(block) for block in blocks])
    assert vectors.shape == (29, V, D)
    assert vectors.dtype == np.float16
    assert vectors[10].reshape(-1).tolist() == list(range(10, 16))
    assert vectors[13, 0, 0] == 10 + 4 * V * D


def test_a_block_with_failed_photos_has_no_embeddings(out: Path) -> None:
    features = FeatureSet.open(str(out))
    (block,) = features.iter_blocks(failed=True)
    assert block.num_rows == 30
    with pytest.raises(ValueError, match="without an embedding"):
        features.embeddings(block)


def test_embeddings_of_a_wrong_length_are_refused(out: Path) -> None:
    set_embedding(out, pa.list_(pa.float16()))
    features = FeatureSet.open(str(out))
    with pytest.raises(QpertError, match="another length than 1 x 2 x 3"):
        features.embeddings(next(features.iter_blocks(["embedding"])))


def test_fixed_size_lists_of_other_writers_are_read(out: Path) -> None:
    for path in (out / "features").iterdir():
        table = pq.read_table(path).filter(pc.field("error").is_null())
        index = table.schema.get_field_index("embedding")
        vectors = table["embedding"].combine_chunks().flatten()
        fixed = pa.FixedSizeListArray.from_arrays(vectors, V * D)
        pq.write_table(table.set_column(index, "embedding", fixed), path)
    features = FeatureSet.open(str(out))
    blocks = list(features.iter_blocks(["embedding"], rows=20))
    vectors = np.concatenate([features.embeddings(block) for block in blocks])
    assert vectors.shape == (29, V, D)
    assert vectors[13, 0, 0] == 10 + 4 * V * D


def test_duckdb_and_pandas_read_the_files_without_this_package(out: Path) -> None:
    files = f"{out}/features/*.parquet"
    query = f"""select count(*), count(error), sum(len(objects)), max(objects[1].x1), sum(embedding[1])
                from '{files}'"""
    count, failed, objects, edge, first = duckdb.sql(query).fetchall()[0]
    assert (count, failed, objects, edge) == (30, 1, 30, 0.5)
    assert first == sum(start + at * V * D for start in (0, 10, 20) for at in range(10)) - (10 + 3 * V * D)
    frame = pd.read_parquet(out / "features")
    assert list(frame.columns) == features_schema().names
    assert frame["embedding"].iloc[0].tolist() == list(range(6))
    assert frame["embedding"].iloc[13] is None
    assert frame["objects"].iloc[2][0]["label"] == "star"


def test_an_unfinished_run_shows_only_committed_rows(out: Path) -> None:
    manifest = FeatureStore(str(out)).manifest().model_copy(update={"state": "running"})
    FeatureStore(str(out)).write_manifest(manifest)
    assert FeatureStore(str(out)).files_of(manifest).names == ()
    pq.write_table(pa.table({"image_id": ["0.jpg"]}), out / "checkpoint" / "f00" / "run_0.parquet")
    pq.write_table(pa.table({"image_id": ["10.jpg"]}), out / "checkpoint" / "f00" / "run_1.pending.parquet")
    (out / "features" / "run_9-0.parquet").write_bytes(b"PAR1 half a file")
    with pytest.warns(UserWarning, match="not finished"):
        features = FeatureSet.open(str(out))
    assert features.ids == [f"{n}.jpg" for n in range(10)]


def test_counts(out: Path) -> None:
    store = FeatureStore(str(out))
    assert store.counts(store.manifest()) == {
        "photos": 30,
        "failed": 1,
        "objects": 30,
    }


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: (out / "manifest.json").unlink(), "holds no features"),
        (lambda out: (out / "manifest.json").write_text("{}"), "damaged"),
        (lambda out: (out / "manifest.json").write_text('{"fingerprint": "x", "format": 99}'), "upgrade"),
        (lambda out: [file.unlink() for file in (out / "features").iterdir()], "holds no photos"),
        (lambda out: set_embedding(out, pa.list_(pa.float32())), "does not match .* embedding is list.*float"),
        (lambda out: set_embedding(out, pa.list_(pa.float16(), 5)), "does not match .*[[]5[]]"),
    ],
)
def test_sets_that_cannot_be_opened_say_why(out: Path, damage, message: str) -> None:
    damage(out)
    with pytest.raises(QpertError, match=message):
        FeatureSet.open(str(out))


def test_differences_name_what_changed() -> None:
    old = {"encoder": {"name": "coca", "weights": "a"}, "precision": "float16"}
    new = {"encoder": {"name": "coca", "weights": "b"}, "precision": "float16"}
    assert differences(old, new) == ["encoder.weights: a -> b"]
    assert differences(old, old) == []


def test_a_set_may_hold_several_embeddings_of_each_photo(out: Path) -> None:
    manifest = FeatureStore(str(out)).manifest().model_copy(update={"vectors": 1, "variants": ["plain", "perturbed"]})
    FeatureStore(str(out)).write_manifest(manifest)
    with pytest.raises(QpertError, match="several variants; it has: plain; perturbed"):
        FeatureSet.open(str(out))
    with pytest.raises(QpertError, match="no variant 'other'"):
        FeatureSet.open(str(out), "other")
    for number, name in enumerate(manifest.variants):
        features = FeatureSet.open(str(out), name)
        vectors = features.embeddings(next(features.iter_blocks(["embedding"], rows=4)))
        assert vectors.shape == (4, 1, D)
        assert vectors[1, 0].tolist() == [6 + 3 * number, 7 + 3 * number, 8 + 3 * number]


def test_object_embeddings_come_back_by_photo(out: Path) -> None:
    for path in (out / "features").iterdir():
        table = pq.read_table(path)
        counts = [number % 3 for number in range(table.num_rows)]
        values = [[float(number)] * (count * V * D) for number, count in enumerate(counts)]
        column = pa.array(values, pa.list_(pa.float16()))
        pq.write_table(table.append_column("object_embeddings", column), path)
    features = FeatureSet.open(str(out))
    block = next(features.iter_blocks(["object_embeddings"], rows=8))
    vectors = features.object_embeddings(block)
    assert [array.shape for array in vectors] == [(number % 3, V, D) for number in range(8)]
    assert (vectors[5] == 5).all()


@pytest.mark.parametrize("column", ["image_id", "error", "extra"])
def test_programs_in_foreign_features_never_run(tmp_path: Path, column: str) -> None:
    ran, folder = tmp_path / "ran", tmp_path / "out" / "features"
    folder.mkdir(parents=True)
    program = pa.array([pickle.dumps(Touch(str(ran)))], pa.large_binary())
    values = pa.ExtensionArray.from_storage(ArrowPythonObjectType(), program)
    table = pa.Table.from_pylist([{"image_id": "a", "embedding": [1.0]}], schema=features_schema())
    table = table.drop_columns([column] if column in table.column_names else []).append_column(column, values)
    pq.write_table(table, folder / "x-000000.parquet")
    manifest = Manifest(state="complete", fingerprint="f00", vectors=1, dim=1)
    FeatureStore(str(folder.parent)).write_manifest(manifest)
    for use in (
        FeatureSet.open,
        lambda out: list(FeatureStore(out).files_of(manifest).ids()),
        lambda out: FeatureStore(out).counts(manifest),
    ):
        with pytest.raises(QpertError, match=rf"column {column} is ray\.data\.arrow_pickled_object"):
            use(str(folder.parent))
    assert not ran.exists()
