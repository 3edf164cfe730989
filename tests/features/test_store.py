"""A feature store: located once, handed on whole, and laid out as the other commands expect."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.datasets.photos.own_output import OWN_FOLDERS, is_feature_set
from pipeline.errors import QpertError
from pipeline.features.store import FeatureStore
from pipeline.io import locations
from pipeline.vectors.opening import open_snapshot
from tests.features.stored import MARK, make_parts, make_set, some_photos

ROWS = pa.table({"image_id": ["a", "b"]})


def test_a_store_keeps_its_place_in_other_folders_and_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_set(str(tmp_path / "out"), some_photos(tmp_path / "photos", 3))
    monkeypatch.chdir(tmp_path)
    store = FeatureStore("out")
    monkeypatch.chdir(tmp_path / "photos")
    assert store.root == "out"
    for opened in (store, pickle.loads(pickle.dumps(store)), FeatureStore(store.folder)):
        assert opened.manifest().fingerprint == MARK
        assert len(opened.open().ids) == sum(map(len, opened.files(MARK).ids())) == 3


def test_a_store_is_located_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_set(str(tmp_path / "out"), some_photos(tmp_path / "photos", 3))
    store = FeatureStore(str(tmp_path / "out"))
    monkeypatch.setattr(locations, "locate", lambda path: pytest.fail(f"{path} is located again"))
    assert store.mend(MARK) == ()
    assert store.note_committed(MARK).counts() == store.counts(store.manifest())
    assert store.verify().problems == ()
    store.compact()
    store.write_listing(ROWS.schema, ROWS.to_batches)
    assert len(store.open().ids) == 3
    assert store.scores("key").find_manifest() is None
    assert store.tokens.bytes() == 0


def test_a_set_that_does_not_exist(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path / "none"))
    assert store.find_manifest() is None
    assert store.files("f00").names == ()
    assert store.tokens.bytes() == store.forget_failures("f00") == len(store.file_sizes()) == 0
    for call in (store.manifest, store.open, store.compact, store.verify):
        with pytest.raises(QpertError, match=r"holds no features \(no manifest\.json\); make them: qpert index"):
            call()
    assert not (tmp_path / "none").exists()


def test_tables_that_runs_start_from(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path / "a?b=c"))  # Ray would take such a path apart
    store.write_listing(ROWS.schema, ROWS.to_batches)
    scores = store.scores("key")
    scores.write_pairs(ROWS)
    for owner, name in ((store, store.LISTING), (scores, scores.PAIRS)):
        assert pq.read_table(name, filesystem=owner.ray_filesystem()).equals(ROWS)
    assert sorted(str(path.relative_to(store.root)) for path in Path(store.root).rglob("*.parquet")) == [
        "listing/photos.parquet",
        "rerank/key/pairs.parquet",
    ]
    checkpoint = store.checkpoint("f00")
    assert (Path(store.root) / checkpoint).is_dir()


def test_collecting_photos_skips_every_folder_of_a_set(tmp_path: Path) -> None:
    store = FeatureStore(str(tmp_path / "out"))
    make_set(store.root, some_photos(tmp_path / "photos", 2))
    make_parts(store.root, some_photos(tmp_path / "photos", 2), [1, 2], 2)
    make_set(store.root, some_photos(tmp_path / "photos", 2))
    open_snapshot(store.root)  # the first search makes the raw cache
    store.write_listing(ROWS.schema, ROWS.to_batches)
    store.scores("key").write_pairs(ROWS)
    store.tokens.write(["a"], [torch.zeros(1)])
    mark = pa.table({"file": ["run_0-0.parquet"], "image_id": ["0.jpg"]})
    store.remove_rows(MARK, mark.append_column("reason", pa.array(["gone"])))
    store.note_seen(mark.append_column("mtime", pa.array([0], pa.timestamp("us", "UTC"))))
    assert {path.name for path in Path(store.root).iterdir() if path.is_dir()} == set(OWN_FOLDERS)
    assert is_feature_set(store.root)
