"""An export as a whole: what it is of, that it is there or not, and that nothing else is ever replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import QpertError
from pipeline.exports import destination
from pipeline.exports.exporting import Export
from pipeline.exports.formats import FORMATS
from pipeline.exports.spec import ExportSpec
from pipeline.retrieval import similarity
from tests.features.viewed import units

OUTS = {"lance": "out.lance", "csv": "out.csv", "faiss": "out", "npy": "out", "hf": "out"}
ALL = pytest.mark.parametrize("to", OUTS)


@pytest.fixture(autouse=True)
def installed():
    pytest.importorskip("lance")
    pytest.importorskip("faiss")


def plan(features, to, out, **options):
    return Export.plan(ExportSpec(features=[features.root], to=to, out=str(out), **options))


def count(to, out):
    """The photos in an export."""
    if to == "lance":
        import lance

        return lance.dataset(str(out)).count_rows()
    if to == "csv":
        return len(Path(out).read_text().splitlines()) - 1
    if to == "hf":
        return sum(pq.read_metadata(path).num_rows for path in (Path(out) / "data").iterdir())
    return pq.read_metadata(Path(out) / "ids.parquet").num_rows


@ALL
def test_an_export_is_replaced_only_on_request(write_features, tmp_path, to):
    features, out = write_features(units(6, 1, 8)), tmp_path / OUTS[to]
    plan(features, to, out).write()
    with pytest.raises(QpertError, match=f"--out {out} exists; replace it with --force"):
        plan(features, to, out, limit=2)
    assert count(to, out) == 6
    plan(features, to, out, limit=2, force=True).write()
    assert count(to, out) == 2
    assert sorted(os.listdir(tmp_path)) == sorted(["features", OUTS[to]])


@ALL
def test_what_is_not_an_export_is_never_replaced(write_features, tmp_path, to):
    features, out = write_features(units(2, 1, 8)), tmp_path / OUTS[to]
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(QpertError, match="exists and is not an earlier export of this form, so it is not replaced"):
        plan(features, to, out, force=True)
    assert (out / "precious.txt").read_text() == "mine"
    for root in (features.root, f"{features.root}/manifest.json"):
        if to != "lance":
            with pytest.raises(QpertError, match="is not an earlier export"):
                plan(features, to, root, force=True)


@ALL
def test_after_a_failure_nothing_is_left_and_the_earlier_export_is_there(write_features, tmp_path, to, monkeypatch):
    monkeypatch.setattr(similarity, "_BLOCK_CELLS", 80)  # ten photos
    vectors = units(100, 1, 8)
    out = tmp_path / OUTS[to]
    plan(write_features(vectors, name="good"), to, out, limit=3).write()
    vectors[95] = 0
    bad = write_features(vectors, name="bad")
    planned = plan(bad, to, out, force=True, **({"vectors": True} if to == "csv" else {}))
    with pytest.raises(QpertError, match=r"^NaN, infinity or a zero vector"):
        planned.write()
    assert count(to, out) == 3
    assert sorted(os.listdir(tmp_path)) == sorted(["good", "bad", OUTS[to]])


@pytest.mark.parametrize("to", [to for to in OUTS if to != "lance"])
def test_exports_go_to_object_stores(write_features, tmp_path, to):
    fsspec = pytest.importorskip("fsspec")
    features = write_features(units(6, 1, 8))
    out = f"fsspec+memory://{tmp_path.name}/{OUTS[to]}"
    plan(features, to, out).write()
    plan(features, to, out, force=True).write()
    store = fsspec.filesystem("memory")
    if to == "csv":
        assert store.cat(f"/{tmp_path.name}/out.csv").count(b"\n") == 7
        return
    store.get(f"/{tmp_path.name}/out", str(tmp_path / "copy"), recursive=True)
    assert count(to, tmp_path / "copy") == 6
    assert json.loads((tmp_path / "copy" / "export.json").read_text())["photos"] == 6


def test_several_sets_are_exported_together(write_features, tmp_path):
    vectors = units(6, 2, 8)
    names = [f"{number}.jpg" for number in range(6)]
    for part in (slice(0, 2), slice(2, 6)):
        write_features(vectors[part], names[part], name=f"part-{part.start}")
    Export.plan(ExportSpec(features=[f"{tmp_path}/part-*"], to="npy", out=str(tmp_path / "out"))).write()
    np.testing.assert_array_equal(np.load(tmp_path / "out/vectors.npy"), vectors.reshape(12, 8).astype(np.float16))
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["sets"] == [str(tmp_path / "part-0"), str(tmp_path / "part-2")]
    assert (about["rows"], about["photos"], about["row"], about["dim"], about["dtype"]) == (
        12,
        6,
        "vector",
        8,
        "float16",
    )
    assert about["encoder"] == {"name": "coca"}


def test_the_estimate_is_near(write_features, tmp_path):
    features = write_features(units(300, 2, 64))
    for to in ("npy", "faiss", "csv"):
        planned = plan(features, to, tmp_path / f"{to}-out")
        planned.write()
        out = tmp_path / f"{to}-out"
        written = (
            out.stat().st_size
            if to == "csv"
            else next(out.glob("*.[nf]*y")).stat().st_size
            if to == "npy"
            else (out / "index.faiss").stat().st_size
        )
        assert 0.9 * written < planned.bytes < 2 * written


def test_options_that_contradict_each_other_are_refused(write_features, tmp_path):
    features = write_features(units(2, 1, 8), failed=["000000.jpg", "000001.jpg"])
    with pytest.raises(QpertError, match="--vectors is for --to csv"):
        plan(features, "npy", tmp_path / "out", vectors=True)
    with pytest.raises(QpertError, match="leave out --rows vector"):
        plan(features, "npy", tmp_path / "out", pool="mean", rows="vector")
    with pytest.raises(QpertError, match="no photo with an embedding"):
        plan(features, "npy", tmp_path / "out")


def test_a_full_disk_is_noticed_before_writing(write_features, tmp_path, monkeypatch):
    monkeypatch.setattr(destination.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(QpertError, match="the export takes about"):
        plan(write_features(units(4, 1, 8)), "npy", tmp_path / "new" / "out").write()
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_to_is_refused(write_features, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(QpertError, match="is a file; name a folder"):
        plan(write_features(units(4, 1, 8)), "npy", tmp_path / "file" / "out")


def test_links_are_followed(write_features, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    features = write_features(units(4, 1, 8))
    plan(features, "npy", tmp_path / "link").write()
    assert (tmp_path / "link").is_symlink()
    assert count("npy", tmp_path / "real") == 4
    assert plan(features, "npy", tmp_path / "link", force=True).count == 4


def test_every_form_can_be_chosen():
    assert set(FORMATS) == set(OUTS)
