"""Buckets that list late: committed files count though they are not listed, and are not taken back for what is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.features import checkpoint
from pipeline.features.compacting import Compacted
from pipeline.features.feature_set import FeatureSet
from pipeline.features.mending import take_back
from pipeline.features.schema import features_schema
from pipeline.features.store import FeatureStore
from pipeline.io.locations import Folder
from pipeline.runs import indexing
from pipeline.runs.resume import inspect
from tests.buckets.faulty_proxy import FaultyProxy, faulty_proxy
from tests.buckets.lagging_listing import LaggingListing
from tests.buckets.s3_server import S3Server
from tests.features.stored import IDENTITY, make_set, some_photos

pytestmark = pytest.mark.cluster


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3.url) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


def written(folder: Folder, name: str, ids: list[str]) -> None:
    """A features file as Ray writes it: announced, written, committed."""
    rows = [{"image_id": image_id, "objects": [], "error": None, "device": "cpu"} for image_id in ids]
    table = pa.Table.from_pylist(rows, schema=features_schema("float16"))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    pending = folder.subfolder(checkpoint.CHECKPOINT, "f00")
    pending.write_atomically(f"{name}.pending.parquet", b"announced")
    folder.subfolder("features").write_atomically(f"{name}-0.parquet", sink.getvalue().to_pybytes())
    pending.filesystem.move(pending.at(f"{name}.pending.parquet"), pending.at(f"{name}.parquet"))


def test_a_run_waits_until_what_it_wrote_is_listed(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "LISTING_PAUSE", 0.2)
    store = FeatureStore("s3://bucket/late")
    proxy.listing = LaggingListing(3.0)
    for number in range(3):
        written(store.folder, f"part{number}", [f"{number}-{photo}" for photo in range(4)])
    assert indexing._close_when_listed(store, "f00", 12)["photos"] == 12
    assert proxy.listing.hidden > 0


def test_a_file_of_the_ledger_counts_though_it_is_not_listed(proxy: FaultyProxy) -> None:
    store = FeatureStore("s3://bucket/hidden")
    written(store.folder, "part0", ["a", "b"])
    assert indexing.close(store, "f00")["photos"] == 2
    proxy.listing = LaggingListing(60.0)
    for path in ("/bucket/hidden/features/part0-0.parquet", "/bucket/hidden/checkpoint/f00/part0.parquet"):
        proxy.listing.comes(path)
    files = store.files("f00")
    assert files.names == ("part0-0.parquet",)
    assert not files.damages


def test_files_that_compaction_deleted_do_not_count_while_they_are_still_listed(
    s3: S3Server, proxy: FaultyProxy, tmp_path: Path
) -> None:
    source, out = some_photos(tmp_path / "photos", 9), str(tmp_path / "out")
    make_set(out, source)
    for name in ("1.jpg", "5.jpg"):
        (source.folder / name).unlink()
    inspect(FeatureStore(out), IDENTITY, source.listing()).write(FeatureStore(out))
    (Path(out) / ".lock").unlink(missing_ok=True)
    uri = s3.upload(Path(out), "bucket", "compacted")
    proxy.listing = LaggingListing(60.0)
    store = FeatureStore(uri)
    assert store.compact() == Compacted(3, 1, 2)
    assert sorted(FeatureSet.open(uri).ids) == source.names()
    assert store.verify().problems == ()
    assert proxy.listing.shown > 0
    resumed = inspect(store, IDENTITY, source.listing())
    assert (resumed.done, resumed.lost, resumed.repeated) == (7, (), False)


def test_what_was_committed_is_not_taken_back_because_its_announcement_is_still_listed(proxy: FaultyProxy) -> None:
    store = FeatureStore("s3://bucket/stale")
    proxy.listing = LaggingListing(0.0)
    folder = store.folder.subfolder(checkpoint.CHECKPOINT, "f00")
    with folder.filesystem.open_output_stream(folder.at("part0.pending.parquet")) as stream:
        stream.write(b"announced")
    proxy.listing.seconds = 60.0
    proxy.listing.written.clear()  # as if that had been long ago
    folder.filesystem.move(folder.at("part0.pending.parquet"), folder.at("part0.parquet"))
    store.folder.subfolder("features").write_atomically("part0-0.parquet", b"features")
    assert [info.base_name for info in folder.files()] == ["part0.pending.parquet"]
    take_back(store.folder, "f00")
    assert store.folder.read("features/part0-0.parquet") == b"features"
    assert folder.read("part0.parquet") == b"announced"
