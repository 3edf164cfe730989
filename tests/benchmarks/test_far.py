"""A bucket that is far away: it answers like S3, late, and counts; and what a run from it costs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.benchmarks.far import BYTES, measure_far, write_sources
from pipeline.benchmarks.far_store import FarStore, far_store
from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.shard_reading import read_shard
from pipeline.datasets.photos.source import find_photos
from pipeline.io.locations import Folder, locate

DELAY = 0.05


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("far") / "sources"
    write_sources(folder, 120)
    return folder


def use(monkeypatch: pytest.MonkeyPatch, store: FarStore) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)


def test_the_store_lists_and_serves_ranges_late_and_counts(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with far_store(sources, DELAY) as store:
        use(monkeypatch, store)
        folder = Folder.open("s3://far/photos")
        assert len(folder.files(".jpg")) == 120
        filesystem, path = locate("s3://far/photos/000007.jpg")
        original = (sources / "photos" / "000007.jpg").read_bytes()
        assert len(original) == BYTES
        store.counts()

        def read(_: int) -> bytes:
            with filesystem.open_input_file(path) as file:
                file.seek(1000)
                return bytes(file.read(5000))

        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(read, range(8))) == {original[1000:6000]}
        assert 2 * DELAY <= time.monotonic() - started < 8 * 2 * DELAY  # all at once, not one after the other
        assert store.counts() == {"HEAD": 8, "GET": 8, "bytes": 8 * 5000}
        with pytest.raises(FileNotFoundError):
            filesystem.open_input_file("far/photos/none.jpg")


@pytest.mark.parametrize("kind", ["tars", "parquet"])
def test_a_shard_takes_few_requests_and_every_byte_once(
    sources: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with far_store(sources, 0.0) as store:
        use(monkeypatch, store)
        photos = find_photos(f"s3://far/{kind}")
        assert isinstance(photos, Shards)
        store.counts()
        data = [
            data for shard in photos.shards for table in read_shard(shard, 32) for data in table["data"].to_pylist()
        ]
        counts = store.counts()
    assert data == [path.read_bytes() for path in sorted((sources / "photos").iterdir())]
    # A tar: pieces of 8 MB, and the end. A row group: the file's state, its footer, the photos.
    assert counts["GET"] + counts["HEAD"] <= (5 if kind == "tars" else 3 * len(photos.shards))
    assert counts["bytes"] < 1.02 * 120 * BYTES


def test_the_sources_hold_the_same_photos(sources: Path) -> None:
    assert isinstance(find_photos(str(sources / "photos")), Listing)
    table = pq.read_table(sources / "parquet")
    assert table["jpg"].to_pylist() == [path.read_bytes() for path in sorted((sources / "photos").iterdir())]


def test_reading_alone(tmp_path: Path) -> None:
    (costs,) = measure_far(tmp_path, 40, 0.005, ["tars"], 4, runs=False)
    assert costs.what == "reading alone"
    assert costs.near > 0
    assert costs.far > 0
    assert 1.0 <= costs.bytes_read < 2.1  # finding the photos looks into the first tar
    assert costs.requests < 0.5


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_from_the_bucket_against_one_from_disk(tmp_path: Path) -> None:
    _, costs = measure_far(tmp_path, 160, 0.005, ["parquet"], 4)
    assert costs.near > 0
    assert 0.1 < costs.ratio < 10
    assert 1.0 <= costs.bytes_read < 2.5  # finding the photos reads the first row group
    assert "5 ms away" in str(costs)
