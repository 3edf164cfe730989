"""The read stage, without Ray: the bytes of a photo, or the reason why they are missing."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.datasets.photos.found_photos import LISTING_SCHEMA, Shards
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.shard_reading import PHOTO_SCHEMA
from pipeline.datasets.photos.skipped import Skipped
from pipeline.datasets.photos.source import find_photos
from pipeline.io.photo_state import digest_of
from pipeline.stages.read import ShardSource, read_photos
from pipeline.workers.reporting import Event, FilesSkipped, Reporter


def listing(*uris: str | None) -> pa.Table:
    rows = [
        {"image_id": str(number), "uri": uri, "size": 5, "mtime": 1_000_001, "error": None}
        for number, uri in enumerate(uris)
    ]
    return pa.Table.from_pylist(rows, schema=LISTING_SCHEMA)


@pytest.mark.timeout(60)
def test_bad_photos_do_not_affect_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    uris = [f"{tmp_path}/a.jpg", None, "http://127.0.0.1/x", "/dev/zero", f"file://{tmp_path}/a.jpg", "zip::file:///x"]
    table = read_photos(listing(*uris), Reporter())
    assert table.schema == PHOTO_SCHEMA
    assert table["data"].to_pylist() == [b"photo", None, None, None, b"photo", None]
    assert table["error"].to_pylist() == [
        None,
        "no path or URI in this row, or no id",
        "scheme not allowed: http (--allow-scheme http)",
        "cannot read the file: it is a device",
        None,
        "chained URLs are not opened",
    ]
    assert table["size"].to_pylist() == [5] * 6
    assert table["mtime"].cast(pa.int64()).to_pylist() == [1_000_001] * 6
    assert table["digest"].to_pylist() == [digest_of(b"photo"), None, None, None, digest_of(b"photo"), None]
    confined = read_photos(listing(*uris[:1]), Reporter(), SourceRules(root="/nowhere"))
    assert confined["error"].to_pylist() == ["outside of --root"]


class LocalReporter(Reporter):
    """Keeps what tars hold besides photos."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = Skipped()

    def send(self, event: Event) -> None:
        if isinstance(event, FilesSkipped):
            self.skipped.update(event.skipped)


def test_rules_reach_the_photos_in_tars(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for name in ("a.jpg", "a.json", "raw/b.jpg", "._a.jpg", "large.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 200 if name == "large.jpg" else 5
            tar.addfile(info, io.BytesIO(b"x" * info.size))
    found = find_photos(str(tmp_path), rules=SourceRules(exclude=("raw",), max_bytes=100))
    assert isinstance(found, Shards)
    reporter = LocalReporter()
    (task,) = ShardSource(found.shards, 8, reporter, rules=found.rules).get_read_tasks(1)
    rows: list[dict[str, Any]] = [row for table in task() for row in table.to_pylist()]
    assert [(row["image_id"], row["data"]) for row in rows] == [("0.tar/a.jpg", b"xxxxx"), ("0.tar/large.jpg", None)]
    assert rows[1]["error"].startswith("file too large: 200 bytes")
    assert reporter.skipped.counts() == {
        "not photos (.json)": 1,
        "not chosen by --include and --exclude": 1,
        "files of macOS": 1,
    }
