"""`--engine lance`: the rows of a table, and that it follows the set."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.building.building_sets import build_indexes
from pipeline.building.lance_build import LanceBuild
from pipeline.building.spec import BuildSpec
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.removing import removed_rows
from pipeline.features.store import FeatureStore

lance = pytest.importorskip("lance")


def unit_vectors(photos: int, v: int = 2, d: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((photos, v, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def build(root: str, **options):
    spec = BuildSpec(features=[root], engine="lance", **options)
    return LanceBuild.of(FeatureSet.open(root), spec).run()


def test_a_row_per_vector(write_features) -> None:
    vectors = unit_vectors(30)
    root = write_features(vectors, files=3, failed=["000004.jpg"]).root
    report = build(root)
    assert (report.photos, report.vectors, report.shards) == (29, 58, 1)
    assert "too few for an index" in report.notes[0]
    rows = lance.dataset(f"{root}/search/lance/all.lance").to_table().sort_by([("image_id", "ascending")])
    assert rows.schema.field("vector").type.list_size == 16
    row = next(row for row in rows.to_pylist() if (row["image_id"], row["number"]) == ("000007.jpg", 1))
    np.testing.assert_array_equal(np.array(row["vector"], np.float16), vectors[7, 1].astype(np.float16))
    assert row["uri"] == "/photos/000007.jpg"
    assert row["file"] == "part000-000000.parquet"
    assert "000004.jpg" not in rows["image_id"].to_pylist()


def test_it_follows_the_set(write_features) -> None:
    root = write_features(unit_vectors(30), files=3).root
    build(root)
    store = FeatureStore(root)
    mark = removed_rows([("part000-000000.parquet", "000003.jpg"), ("part001-000000.parquet", "000012.jpg")], "gone")
    store.remove_rows("0" * 16, mark)
    table = lance.dataset(f"{root}/search/lance/all.lance")
    assert build(root).photos == 28
    table.checkout_latest()
    assert not {"000003.jpg", "000012.jpg"} & set(table.to_table()["image_id"].to_pylist())
    store.restore_rows("0" * 16, mark.slice(0, 1))
    assert build(root).photos == 29
    store.compact()  # other files, the same photos
    report = build(root)
    assert (report.photos, report.vectors) == (29, 58)
    assert build(root).made == 0
    assert build(root, rebuild=True).photos == 29


def test_an_index_finds_what_it_should(write_features) -> None:
    vectors = unit_vectors(2500)
    root = write_features(vectors, files=2).root
    report = build(root, kind="ivf-pq", lists=4, code_bytes=8)
    assert (report.trained, report.kind, report.notes) == (True, "Lance table with IVF_PQ", ())
    table = lance.dataset(f"{root}/search/lance/all.lance")
    assert table.stats.index_stats("vector_idx")["num_unindexed_rows"] == 0
    assert table.stats.index_stats("vector_idx")["indices"][0]["metric_type"] == "cosine"
    query = {"column": "vector", "q": vectors[77, 1], "k": 3, "nprobes": 4, "refine_factor": 20, "metric": "cosine"}
    first = table.to_table(nearest=query).to_pylist()[0]
    assert (first["image_id"], first["number"]) == ("000077.jpg", 1)
    assert first["_distance"] == pytest.approx(0, abs=1e-3)
    assert not build(root, kind="ivf-pq").trained


def test_a_table_of_other_features_is_refused(write_features, tmp_path) -> None:
    one = write_features(unit_vectors(10)).root
    out = str(tmp_path / "t.lance")
    build(one, out=out)
    other = write_features(unit_vectors(10), name="other")
    manifest = other.manifest.model_copy(update={"fingerprint": "1" * 16})
    FeatureStore(other.root).write_manifest(manifest)
    with pytest.raises(QpertError, match=r"is not a table of .* as it is now; --rebuild"):
        build(other.root, out=out)


def test_options_that_do_not_fit_are_refused(write_features) -> None:
    root = write_features(unit_vectors(10)).root
    with pytest.raises(QpertError, match="5 does not divide 16"):
        build(root, code_bytes=5)
    with pytest.raises(QpertError, match="not options of --engine lance"):
        build(root, keep_vectors=False)


@pytest.mark.parametrize(("kind", "name"), [("auto", "IVF_PQ"), ("ivf-rabitq", "IVF_RQ")])
def test_ray_writes_and_indexes_the_same(ray_cpu: None, write_features, kind, name) -> None:
    vectors = unit_vectors(2500)
    root = write_features(vectors, files=5).root
    [report] = build_indexes(BuildSpec(features=[root], engine="lance", kind=kind, shard_size=2**17))
    assert (report.photos, report.vectors, report.kind) == (2500, 5000, f"Lance table with {name}")
    assert report.made > 1
    table = lance.dataset(f"{root}/search/lance/all.lance")
    assert table.stats.index_stats("vector_idx")["num_unindexed_rows"] == 0
    query = {"column": "vector", "q": vectors[78, 0], "k": 3, "nprobes": 20, "refine_factor": 50, "metric": "cosine"}
    first = table.to_table(nearest=query).to_pylist()[0]
    assert (first["image_id"], first["number"]) == ("000078.jpg", 0)
